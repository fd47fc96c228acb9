"""FromMag: a mag that is downsampled from a finer one of its layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from wkpipe.engine.handover import Sampling
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag_memory import downsample_bytes
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.sampling import InterpolationMode, halo
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class FromMag(FromOtherMag):
    """Downsampled from the finer mag `mag`.

    `box` (first, end, in voxels of the finer mag) is the region whose voxels are trusted; what is outside is mirrored.
    """

    box: Box
    interpolation: InterpolationMode

    kind = "downsample"

    def factors(self, mag: Mag) -> Vec3Int:
        return self.mag.factors_to(mag)

    def fits(self, mag: Mag) -> bool:
        return self.mag != mag and all(fine <= coarse for fine, coarse in zip(self.mag, mag, strict=True))

    def sampling(self, mag: Mag) -> Sampling:
        """Return how a coarser mag is sampled."""
        return Sampling(self.factors(mag), self.box, self.interpolation)

    def hull(self, mag: Mag, first: Vec3Int, end: Vec3Int) -> Box:
        factors = self.factors(mag)
        before, after = halo(self.interpolation, factors)
        columns = zip(first, end, factors, before, after, *self.box, strict=True)
        edges = [_seen(a * f - more, b * f + less, low, high) for a, b, f, more, less, low, high in columns]
        return Box(Vec3Int(*(a for a, _ in edges)), Vec3Int(*(b for _, b in edges)))

    def units_under(self, plan: MagPlan, unit: Position, source: ArraySpec) -> list[Position]:
        """Return the source units whose first voxel (in the trusted box) the unit is computed from, without a margin."""
        first, end = (corner * self.factors(plan.mag) for corner in plan.unit_box(unit))
        shape = spatial(source, source.unit_shape)
        corners = [(found, (spatial(source, found) * shape).pairmax(self.box.first)) for found in plan.source_units(unit, source)]
        return [found for found, corner in corners if all(a <= c < b for a, c, b in zip(first, corner, end, strict=True))]

    def updated(self, box: Box, channel: int) -> Self:
        return replace(self, box=box, channel=channel)

    def peak_bytes(self, plan: MagPlan, source: ArraySpec, threads: int) -> int:
        return downsample_bytes(plan, source, self.sampling(plan.mag), self.channels(plan), threads)

    @property
    def text(self) -> str:
        return f"{self.mag} {self.interpolation}"

    @property
    def how(self) -> str:
        return f"downsampled from {self.mag} by {self.interpolation.value}"

    def _how_json(self) -> dict[str, Any]:
        return {"source_box": self.box.to_json(), "interpolation": self.interpolation.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        mode = InterpolationMode(values["interpolation"])
        return cls(Mag(values["from_mag"]), Box.from_json(values["source_box"]), mode, channel=values.get("from_channel", 0))

    @classmethod
    def check_json(cls, recipe: JsonNode) -> None:
        super().check_json(recipe)
        for corner in recipe.child("source_box").items(2):
            for item in corner.items(3):
                item.exact_integer(0)


def _seen(first: int, end: int, low: int, high: int) -> tuple[int, int]:
    """Return the trusted voxels, of those from `low` to `high` along one axis, that stand for the voxels from `first` to `end`.

    Mirrored voxels are as far inside the border as the wanted ones are outside of it.
    """
    mirrored_first, mirrored_end = max(2 * high - end, low), min(2 * low - first, high)
    return min(max(first, low), mirrored_first), max(min(end, high), mirrored_end)
