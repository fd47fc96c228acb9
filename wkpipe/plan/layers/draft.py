"""Draft: a plan in the making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wkpipe.geometry import Mag
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.state.found import DoubtfulMag, LayerSurvey, PendingMag, Stored
from wkpipe.plan.state.reasons import MagReasons
from wkpipe.storage.record import Record
from wkpipe.stored.locations import Locations

if TYPE_CHECKING:  # slow to import, and needed by conversions only
    from wkpipe.images import AccountLine


@dataclass
class Draft:
    """A plan in the making; `name` is the name of the dataset."""

    locations: Locations
    name: str
    layers: list[LayerPlan] = field(default_factory=list)
    pending: dict[str, Sequence[PendingMag]] = field(default_factory=dict)
    adopted: dict[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: list[MagReasons] = field(default_factory=list)
    stored: dict[tuple[str, Mag], Stored] = field(default_factory=dict)
    doubtful: list[DoubtfulMag] = field(default_factory=list)
    contents: dict[str, Mapping[Mag, str]] = field(default_factory=dict)
    forgotten: list[tuple[str, Mag]] = field(default_factory=list)
    reset: list[tuple[str, Mag]] = field(default_factory=list)
    unpublish: list[tuple[str, Mag]] = field(default_factory=list)
    remove_target: bool = False
    new_dataset: Mapping[str, Any] | None = None
    conversion: Mapping[str, Any] | None = None
    accounts: Sequence[AccountLine] = ()
    images: dict[tuple[str, Mag], Mapping[str, Any]] = field(default_factory=dict)

    def add(self, layer: LayerPlan, survey: LayerSurvey) -> None:
        self.layers.append(layer)
        self.pending[layer.name] = survey.pending
        self.adopted |= survey.adopted
        self.notes += survey.notes
        self.reasons += survey.reasons
        self.doubtful += survey.doubtful
        self.forgotten += survey.forgotten
        self.stored |= survey.stored
        self.contents[layer.name] = survey.contents
