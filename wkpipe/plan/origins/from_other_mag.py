"""FromOtherMag: the base of the origins of mags that are made from another mag of their layer."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.mag_plan import MagPlan, Origin, identity_of
from wkpipe.stored.channels import Channels, Others, others_of


@dataclass(frozen=True)
class FromOtherMag(Origin[ArraySpec]):
    """Made from the mag `mag`; `channel` is the channel of its array that the first channel is made from."""

    mag: Mag
    channel: int = field(default=0, kw_only=True)

    @property
    def source_mag(self) -> Mag:
        return self.mag

    @abc.abstractmethod
    def hull(self, mag: Mag, first: Vec3Int, end: Vec3Int) -> Box:
        """Return the box of source voxels that a box (first, end) of `mag` is computed from."""

    @abc.abstractmethod
    def units_under(self, plan: MagPlan, unit: Position, source: ArraySpec) -> list[Position]:
        """Return the source units whose first voxel the unit is computed from: each source unit belongs to one unit of the mag."""

    @abc.abstractmethod
    def updated(self, box: Box, channel: int) -> Self:
        """Return the same origin for the layer's present box, in voxels of the source mag, and its present first channel."""

    def channels(self, plan: MagPlan) -> Channels:
        """Return the channels of the source mag's array that a mag is made from."""
        return Channels(self.channel, plan.channels.count)

    def others(self, plan: MagPlan, unit: Position) -> Others:
        """Return the place, along the axes other than x, y, z, of what a unit is computed from in the source mag's array."""
        return others_of(plan.spec, unit, plan.channels, self.channels(plan))

    def source_ranges(self, plan: MagPlan, unit: Position, source: ArraySpec) -> list[range]:
        first, end = self.hull(plan.mag, *plan.unit_box(unit))
        low, high = dict(zip("xyz", first, strict=True)), dict(zip("xyz", end, strict=True))
        for axis, (start, size) in self.others(plan, unit).items():
            low[axis], high[axis] = start, start + size
        return [range(low[axis] // size, -(-high[axis] // size)) for axis, size in zip(source.axes, source.unit_shape, strict=True)]

    def inputs(self, plan: MagPlan, unit: Position, source: ArraySpec, tokens: Mapping[Position, str]) -> str | None:
        names = [tokens.get(source_unit) for source_unit in plan.source_units(unit, source)]
        known = [name for name in names if name is not None]
        return identity_of(known) if len(known) == len(names) else None

    def to_json(self) -> dict[str, Any]:
        values = {"from_mag": self.mag.to_list(), **self._how_json()}
        return values | ({"from_channel": self.channel} if self.channel else {})  # a key with 0 would change the hash of recipes

    def _how_json(self) -> dict[str, Any]:
        """Return the keys that are particular to the origin."""
        return {}

    @classmethod
    def check_json(cls, recipe: JsonNode) -> None:
        if "from_mag" not in recipe.value:
            raise recipe.child("from_mag").error(f"a mag because the kind is {cls.kind}")
        if "from_channel" in recipe.value:
            recipe.child("from_channel").exact_integer(1)
