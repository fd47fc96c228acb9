"""What a survey finds in a layer: mags that are read, units that are doubtful or pending, and what is on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.spec_json import spec_from_json, spec_to_json
from wkpipe.plan.state.pending import MagState
from wkpipe.plan.state.reasons import MagReasons
from wkpipe.storage.place import Place
from wkpipe.storage.record import Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.places import place_at


@dataclass(frozen=True)
class FoundMag:
    """A mag that exists and is only read, maybe outside of the dataset; `path` is absolute."""

    mag: Mag
    path: Path
    spec: ArraySpec

    @property
    def place(self) -> Place:
        """The place of its array."""
        return place_at(self.path)

    def to_json(self) -> dict[str, Any]:
        return {"mag": self.mag.to_list(), "path": str(self.path), "spec": spec_to_json(self.spec)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FoundMag:
        return cls(Mag(values["mag"]), Path(values["path"]), spec_from_json(values["spec"]))


@dataclass(frozen=True)
class DoubtfulMag:
    """The units of one mag that must be proven, each with its stored bytes."""

    layer: str
    mag: Mag
    spec: ArraySpec
    units: Mapping[Position, int]


@dataclass(frozen=True)
class PendingMag:
    """A mag with its pending units and its source."""

    plan: MagPlan
    units: Sequence[Position]
    source: Any
    least_slices: int = 1

    @property
    def least_units(self) -> int:
        """The least number of units of a range, so that a job converts no fewer slices than the user wants."""
        shape = spatial(self.plan.spec, self.plan.spec.unit_shape)
        per_layer = self.plan.box.size.with_z(1).ceildiv(shape).prod()
        return 1 if self.least_slices <= 1 else per_layer * -(-self.least_slices // shape.z)


@dataclass(frozen=True)
class Stored:
    """The files of a mag: the bytes of `proven` of its `units`, of which `filled` have files; and the earlier bytes of pending ones."""

    bytes: int
    proven: int
    filled: int
    units: int
    replaced: int = 0


@dataclass
class LayerSurvey:
    """The pending work in one layer, and what was found there.

    `doubtful` units are proven first. `forgotten` mags are no longer the ones that their records describe. `contents` are the
    digests of the surveyed mags (see `wkpipe.stored.published`), if no unit of the layer is pending or doubtful.
    """

    pending: list[PendingMag] = field(default_factory=list)
    found: list[FoundMag] = field(default_factory=list)
    adopted: dict[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: list[MagReasons] = field(default_factory=list)
    doubtful: list[DoubtfulMag] = field(default_factory=list)
    forgotten: list[tuple[str, Mag]] = field(default_factory=list)
    stored: dict[tuple[str, Mag], Stored] = field(default_factory=dict)
    contents: dict[Mag, str] = field(default_factory=dict)

    def add_doubtful(self, layer: str, mag: Mag, spec: ArraySpec, state: MagState) -> None:
        """Add the doubtful units of a mag, if there are any, to those that are proven first."""
        if state.doubtful:
            self.doubtful.append(DoubtfulMag(layer, mag, spec, state.doubtful))
