"""FromCoarser: a mag that is upsampled from a coarser one of its layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser_memory import upsample_bytes
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class FromCoarser(FromOtherMag):
    """Upsampled from the coarser mag `mag`: each of its voxels fills the block that it covers."""

    kind = "upsample"

    def repeats(self, mag: Mag) -> Vec3Int:
        """Return how many voxels of a finer mag one source voxel fills along x, y, z."""
        return mag.factors_to(self.mag)

    def fits(self, mag: Mag) -> bool:
        return self.mag != mag and all(fine <= coarse for fine, coarse in zip(mag, self.mag, strict=True))

    def hull(self, mag: Mag, first: Vec3Int, end: Vec3Int) -> Box:
        repeats = self.repeats(mag)
        return Box(first // repeats, end.ceildiv(repeats))

    def units_under(self, plan: MagPlan, unit: Position, source: ArraySpec) -> list[Position]:
        repeats, shape = self.repeats(plan.mag), spatial(source, source.unit_shape)
        first, end = plan.unit_box(unit)
        corners = [(found, (spatial(source, found) * shape * repeats).pairmax(plan.box.first)) for found in plan.source_units(unit, source)]
        return [found for found, corner in corners if all(a <= c < b for a, c, b in zip(first, corner, end, strict=True))]

    def updated(self, box: Box, channel: int) -> Self:  # noqa: ARG002 (every source voxel is inside the layer's box)
        return replace(self, channel=channel)

    def peak_bytes(self, plan: MagPlan, source: ArraySpec, threads: int) -> int:
        return upsample_bytes(plan, source, self.repeats(plan.mag), self.channels(plan), threads)

    @property
    def text(self) -> str:
        return f"{self.mag} upsampled"

    @property
    def how(self) -> str:
        return f"upsampled from {self.mag}"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(Mag(values["from_mag"]), channel=values.get("from_channel", 0))
