"""FromArray: a mag that is copied from the array of another layer or dataset, and may be stored in another way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.mag_plan import MagPlan, Origin, identity_of
from wkpipe.plan.origins.array_content import ArrayContent
from wkpipe.plan.origins.from_array_memory import copy_bytes
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels, Others, others_of, region_at


@dataclass(frozen=True)
class FromArray(Origin[Mapping[Mag, ArrayContent]]):
    """Copied from the mag `mag` of the layer `layer` of the dataset at the absolute path `dataset`.

    `box` (first, end) is the region that is copied, in voxels of both mags; all other voxels are zero. `channel` is the channel of
    the source array that the first channel is copied from. With `as_stored`, units that both arrays store alike are copied without
    decoding. `copied_as` is the name that the layer had when it was copied; None if it is the same. The source is the content of each
    array, by the mag that is made.
    """

    dataset: str
    layer: str
    mag: Mag
    box: Box
    channel: int = 0
    as_stored: bool = False
    copied_as: str | None = None

    kind = "copy"
    names_source = True

    @property
    def source(self) -> tuple[str, str, Mag, int]:
        """What is copied, wherever the voxels in it are."""
        return self.dataset, self.layer, self.mag, self.channel

    def units_under(self, plan: MagPlan, unit: Position, source: ArraySpec) -> list[Position]:
        """Return the units of the source array, which has the layout `source`, that a unit is copied from."""
        first, end = plan.unit_box(unit).intersected_with(self.box)
        if not (end - first).is_positive(strictly_positive=True):
            return []
        places = {**self._others(plan, unit), **{axis: (a, b - a) for axis, a, b in zip("xyz", first, end, strict=True)}}
        ranges = []
        for axis, size, grid in zip(source.axes, source.unit_shape, source.unit_grid, strict=True):
            start, length = places.get(axis, (0, 1))
            stop = -(-(start + length) // size)
            ranges.append(range(start // size, stop if axis in "xyz" else min(stop, grid)))
        return list(itertools.product(*ranges))

    def is_of(self, plan: MagPlan, dataset: Path) -> bool:
        """True if the mag was copied from the array in its own place, which is gone: it was only stored in another way."""
        return (self.dataset, self.layer, self.mag) == (str(dataset), plan.layer, plan.mag)

    def is_whole(self, plan: MagPlan, unit: Position, source: ArraySpec) -> bool:
        """True if a unit has the same place in both arrays, and has all voxels that are copied from there."""
        shape = spatial(source, source.unit_shape)
        corner = Vec3Int(spatial(source, unit)) * shape
        first, end = Box(corner, corner + shape).intersected_with(self.box)
        inside = plan.unit_box(unit)
        is_covered = all(a >= b for a, b in zip(first, inside[0], strict=True)) and all(a <= b for a, b in zip(end, inside[1], strict=True))
        return is_covered and self.channel == 0 and self.units_under(plan, unit, source) == [unit]

    def region(self, plan: MagPlan, unit: Position, source: ArraySpec, box: Box) -> tuple[Position, Position]:
        """Return start and shape, in the axes of the source array, of a box that is copied to a unit."""
        return region_at(source, self._others(plan, unit), box.first, box.size)

    def _others(self, plan: MagPlan, unit: Position) -> Others:
        channels = Channels(self.channel, plan.channels.count)
        return {"c": (channels.first, channels.count), **others_of(plan.spec, unit, plan.channels, channels)}

    def inputs(
        self,
        plan: MagPlan,
        unit: Position,
        source: Mapping[Mag, ArrayContent],
        tokens: Mapping[Position, str],  # noqa: ARG002
    ) -> str:
        content = source[plan.mag]
        return identity_of([content.tokens[under] for under in self.units_under(plan, unit, content.spec)])

    def peak_bytes(self, plan: MagPlan, source: Mapping[Mag, ArrayContent], threads: int) -> int:
        return copy_bytes(plan, source[plan.mag], self.box, Channels(self.channel, plan.channels.count), threads)

    @property
    def text(self) -> str:
        return f"copy of {self.layer}/{self.mag}"

    @property
    def how(self) -> str:
        return f"copied from mag {self.mag} of layer {self.layer} of {self.dataset}"

    def renamed(self, dataset: str, old: str, new: str) -> Self:
        if (self.dataset, self.layer) != (dataset, old):
            return self
        first = self.copied_as or old
        return replace(self, layer=new, copied_as=None if first == new else first)

    def as_recorded(self, recorded: Origin[Any]) -> Self:
        if isinstance(recorded, FromArray) and recorded.source == self.source:
            return replace(self, copied_as=recorded.copied_as)
        return self

    def to_json(self) -> dict[str, Any]:
        copied_as = {} if self.copied_as is None else {"copied_as": self.copied_as}
        return {"source": {**self._source_json(self.layer), **copied_as}}

    def identity_json(self) -> dict[str, Any]:
        return {"source": self._source_json(self.copied_as or self.layer)}

    def _source_json(self, layer: str) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "layer": layer,
            "mag": self.mag.to_list(),
            "box": self.box.to_json(),
            "channel": self.channel,
            **({"as_stored": True} if self.as_stored else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        source = values["source"]
        box, as_stored = Box.from_json(source["box"]), source.get("as_stored", False)
        first = source.get("copied_as")
        return cls(source["dataset"], source["layer"], Mag(source["mag"]), box, source["channel"], as_stored, first)

    @classmethod
    def check_json(cls, recipe: JsonNode) -> None:
        super().check_json(recipe)
        source = recipe.child("source")
        for key in ("dataset", "layer", *(["copied_as"] if "copied_as" in source.value else [])):
            source.child(key).text()
        for corner in source.child("box").items(2):
            for item in corner.items(3):
                item.exact_integer(0)
        source.child("channel").exact_integer(0)
        if (as_stored := source.get("as_stored")) is not None and as_stored.value is not True:
            raise as_stored.error("true")
