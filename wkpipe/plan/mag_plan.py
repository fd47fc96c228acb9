"""MagPlan: the units of one mag of one layer, and the Origin of its voxels."""

from __future__ import annotations

import abc
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

from wkpipe.errors import InputRefused
from wkpipe.formats import open_array
from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.geometry.grid import morton_order
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.spec_json import spec_to_json
from wkpipe.stored.axes import spatial, with_spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.locations import Locations

S = TypeVar("S")


class Origin(abc.ABC, Generic[S]):
    """Where the voxels of a mag come from; `S` is the type of its source: the layout of an array, images, or a server's dataset.

    A subclass is a frozen dataclass in `wkpipe.plan.origins`. The step that makes its mags is a module of `wkpipe.steps`. No
    other code asks what kind of origin a mag has.
    """

    kind: ClassVar[str]
    """The name of the origin in recipes, and of the rule whose jobs make such mags."""

    by_slice: ClassVar[bool] = False
    """True if units are made slice by slice (z, then y, then x), as images are stored; else they are made in Morton order."""

    names_source: ClassVar[bool] = False
    """True if the recipe of a mag from outside names its source; else the dataset's conversion does."""

    bytes_per_second: ClassVar[float] = 250e6
    """Bytes of decoded source per second and thread (decode, kernel, encode together); only used to size tasks."""

    @property
    def source_mag(self) -> Mag | None:
        """The mag of the same layer that this one is made from; None if the voxels come from outside of the dataset."""
        return None

    def parting(self, plan: MagPlan, source: S) -> Callable[[Position, Position], bool] | None:  # noqa: ARG002
        """Return what is True if two tasks may make two units that follow each other; None if they always may."""
        return None

    def fits(self, mag: Mag) -> bool:  # noqa: ARG002 (those that read a mag use it)
        """Return True if `mag` can have this origin."""
        return True

    def factors(self, mag: Mag) -> Vec3Int:  # noqa: ARG002 (those that read a mag use it)
        """Return how many source voxels one voxel of `mag` spans along x, y, z; at least 1."""
        return Vec3Int.ones()

    def source_ranges(self, plan: MagPlan, unit: Position, source: S) -> list[range]:  # noqa: ARG002
        """Return the units of `source_mag` that a unit is computed from: one range for each axis, which depends on this axis only."""
        return []

    @abc.abstractmethod
    def inputs(self, plan: MagPlan, unit: Position, source: S, tokens: Mapping[Position, str]) -> str | None:
        """Return the identity of what a unit is made from; None if a source unit has no token yet. `tokens` are those of `source_mag`."""

    @abc.abstractmethod
    def peak_bytes(self, plan: MagPlan, source: S, threads: int) -> int:
        """Predict the peak memory of making units of a mag, without what every job takes."""

    @property
    @abc.abstractmethod
    def text(self) -> str:
        """The origin in a table: ``images`` or ``1-1-1 median``."""

    @property
    @abc.abstractmethod
    def how(self) -> str:
        """The origin as a participle: ``converted`` or ``downsampled from 1-1-1 by median``."""

    @abc.abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the keys of the origin in a recipe, besides ``kind``."""

    def identity_json(self) -> dict[str, Any]:
        """Return the same keys with the values that they had when the mag was made, whatever was renamed since."""
        return self.to_json()

    def renamed(self, dataset: str, old: str, new: str) -> Self:  # noqa: ARG002 (those that name a layer use it)
        """Return the origin after the layer `old` of the dataset at the path `dataset` got the name `new`."""
        return self

    def as_recorded(self, recorded: Origin[Any]) -> Self:  # noqa: ARG002 (those that name a layer use it)
        """Return the origin with what a recipe of the same mag says of earlier names."""
        return self

    @classmethod
    @abc.abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the origin that a recipe describes."""

    @classmethod
    def check_json(cls, recipe: JsonNode) -> None:
        """Check the keys of the origin in a recipe.

        Raises:
            MetadataError: a key is missing, has another type, or belongs to another origin.
        """
        if "from_mag" in recipe.value:
            raise recipe.child("from_mag").error(f"no mag because the kind is {cls.kind}")
        if (source := recipe.get("source")) is not None:
            source.members()


@dataclass(frozen=True)
class MagPlan:
    """One mag to make or to keep up to date: where its voxels come from, and how its array is laid out.

    `box` (first, end) is the region to be written, in voxels of `mag`. `made_as` is the name that the layer had when the mag was made;
    None if it is the same.
    """

    layer: str
    mag: Mag
    spec: ArraySpec
    box: Box
    origin: Origin[Any]
    made_as: str | None = None

    @property
    def first_name(self) -> str:
        """The name of the layer when the mag was made: where its voxels come from, and its records, know it by this name."""
        return self.made_as or self.layer

    @property
    def channels(self) -> Channels:
        """The channels of this mag's array: all belong to the layer."""
        return Channels(0, self.spec.shape[self.spec.axes.index("c")] if "c" in self.spec.axes else 1)

    @property
    def factors(self) -> Vec3Int:
        """How many source voxels one voxel spans."""
        return self.origin.factors(self.mag)

    @property
    def source_mag(self) -> Mag | None:
        """The mag of the same layer that this one is made from; None if the voxels come from outside of the dataset."""
        return self.origin.source_mag

    @property
    def is_converted(self) -> bool:
        """True if the voxels come from the source of the dataset's conversion or download."""
        return self.source_mag is None and not self.origin.names_source

    @functools.cached_property
    def params(self) -> str:
        """The hash of everything that defines voxels and layout; the same hash and inputs mean the same bytes.

        The layer's name is in it, as it was when the mag was made: so the records of the mag outlive a new name.
        """
        values = {**self._own_json(self.first_name), **self.origin.identity_json()}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # -- units --------------------------------------------------------------------------------------------------

    def units(self) -> list[Position]:
        """Return all units that the box touches, in the order in which they are made.

        That order is slice by slice if the origin is stored so. Else it is Morton order: neighbours stay together, and a range
        of units needs few units of the source mag.
        """
        first, grid = self._grid()
        if not grid.is_positive(strictly_positive=True):
            return []
        check_count(f"layer {self.layer}, mag {self.mag}", grid)
        if self.origin.by_slice:
            slices = itertools.product(*(range(low, low + n) for low, n in zip(reversed(first), reversed(grid), strict=True)))
            return units_at(self.spec, [(x, y, z) for z, y, x in slices])
        return units_at(self.spec, (morton_order(grid.to_tuple()) + first.to_tuple()).tolist())

    def unit_count(self) -> int:
        """Return how many units the box touches, without listing them."""
        _, grid = self._grid()
        others = (n for axis, n in zip(self.spec.axes, self.spec.unit_grid, strict=True) if axis not in "xyz")
        return grid.prod() * math.prod(others) if grid.is_positive(strictly_positive=True) else 0

    def _grid(self) -> tuple[Vec3Int, Vec3Int]:
        """Return the first unit that the box touches and how many there are, along x, y, z."""
        shape = spatial(self.spec, self.spec.unit_shape)
        first = self.box.first // shape
        return first, self.box.end.ceildiv(shape) - first

    def unit_box(self, unit: Position) -> Box:
        """Return the part of the box that is inside a unit, in voxels of this mag."""
        shape = spatial(self.spec, self.spec.unit_shape)
        first = spatial(self.spec, unit) * shape
        return Box(first, first + shape).intersected_with(self.box)

    def source_units(self, unit: Position, source: Any) -> list[Position]:
        """Return the units of the source mag's array (of the layout `source`) that a unit is computed from."""
        if self.source_mag is None:
            return []
        # Along every axis they depend only on the unit's place along this axis: a million units have few such places.
        known = self._source_ranges.setdefault((source.axes, source.unit_shape), {})
        places = [(axis, unit[self.spec.axes.index(axis)]) for axis in source.axes]
        try:
            return list(itertools.product(*[known[place] for place in places]))
        except KeyError:
            ranges = self.origin.source_ranges(self, unit, source)
            known.update(zip(places, ranges, strict=True))
            return list(itertools.product(*ranges))

    @functools.cached_property
    def _source_ranges(self) -> dict[tuple[tuple[str, ...], Position], dict[tuple[str, int], range]]:
        return {}

    # -- serialised ---------------------------------------------------------------------------------------------

    def renamed(self, dataset: str, old: str, new: str) -> Self:
        """Return the plan after the layer `old` of the dataset at the path `dataset`, which is the plan's, got the name `new`."""
        plan = replace(self, origin=self.origin.renamed(dataset, old, new))
        if self.layer != old:
            return plan
        return replace(plan, layer=new, made_as=None if self.first_name == new else self.first_name)

    def as_recorded(self, recipe: MagPlan | None) -> Self:
        """Return the plan with what the recipe of the same mag says of earlier names, which are part of its identity."""
        if recipe is None:
            return self
        return replace(self, made_as=recipe.made_as, origin=self.origin.as_recorded(recipe.origin))

    def to_json(self) -> dict[str, Any]:
        made_as = {} if self.made_as is None else {"made_as": self.made_as}
        return {**self._own_json(self.layer), **made_as, **self.origin.to_json()}

    def _own_json(self, layer: str) -> dict[str, Any]:
        return {
            "layer": layer,
            "mag": self.mag.to_list(),
            "spec": spec_to_json(self.spec),
            "box": self.box.to_json(),
            "kind": self.origin.kind,
        }


def planned_array(plan: MagPlan, locations: Locations) -> StoredArray:
    """Open the array of a mag that a plan makes; its metadata exist since the start of the run."""
    spec = plan.spec
    return open_array(locations.array(plan.layer, plan.mag), spec.data_format, spec.axes, spec.shape, spec.compression)


def units_at(spec: ArraySpec, cells: Sequence[Sequence[int]], channels: Channels | None = None) -> list[Position]:
    """Return the units at positions x, y, z (in units), for every position on the other axes; `channels` bounds those on c."""
    others = [range(n) if axis not in "xyz" else range(1) for axis, n in zip(spec.axes, spec.unit_grid, strict=True)]
    if channels is not None and "c" in spec.axes:
        others[spec.axes.index("c")] = channels.unit_range(spec)
    if math.prod(map(len, others)) * len(cells) > MOST_UNITS:
        raise InputRefused(f"an array of shape {spec.shape} has too many storage shards, at most {MOST_UNITS} are possible")
    return [with_spatial(spec, other, cell) for other in itertools.product(*others) for cell in cells]


MOST_UNITS = 1 << 22
"""4 million storage shards, or 4 PB of uint8 at the default size: planning takes some µs and 0.4 kB for each."""


def check_count(where: str, grid: Vec3Int) -> None:
    """Refuse a box that no real dataset has, before its units are listed.

    Raises:
        InputRefused: the box has more than `MOST_UNITS` units.
    """
    if grid.prod() > MOST_UNITS:
        raise InputRefused(
            f"its box spans {grid.prod():.3g} storage shards, at most {MOST_UNITS} are possible", where=where, fix="check the layer's box"
        )


def identity_of(tokens: Sequence[str]) -> str:
    """Return the identity of a unit's inputs: the tokens of what it is made from, hashed in their order."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16]
