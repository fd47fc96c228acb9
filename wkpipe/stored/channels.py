"""Channels: the channels of a mag's array that belong to its layer.

Several layers may share one array: each mag names the layer's first channel (``channelIndex``). So the channels of a
layer have different places in the arrays of its mags. All code that goes from one mag of a layer to another uses
`others_of`, which converts places on the axis c from one array to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.stored.axes import with_spatial

Others = Mapping[str, tuple[int, int]]
"""The start and size along each axis of an array other than x, y, z."""


@dataclass(frozen=True)
class Channels:
    """The channels of a layer in the array of one mag: `count` of them, beginning with `first`.

    >>> Channels(2, 1).end
    3
    """

    first: int
    count: int

    @classmethod
    def of(cls, layer: LayerProperties, entry: MagProperties) -> Channels:
        """Return the channels of a layer in the array of one of its mags."""
        return cls(entry.channel_index, layer.num_channels)

    @property
    def end(self) -> int:
        return self.first + self.count

    def unit_range(self, spec: ArraySpec) -> range:
        """Return the positions, along the axis c, of the units that hold some of the channels."""
        if "c" not in spec.axes:
            return range(1)
        size = spec.unit_shape[spec.axes.index("c")]
        return range(self.first // size, -(-self.end // size))

    def has(self, spec: ArraySpec, unit: Sequence[int]) -> bool:
        """True if a unit holds some of the channels."""
        return "c" not in spec.axes or unit[spec.axes.index("c")] in self.unit_range(spec)

    def those_of(self, spec: ArraySpec, units: Iterable[Position]) -> Iterator[Position]:
        """Yield the units that hold some of the channels."""
        return (unit for unit in units if self.has(spec, unit))

    def share(self, spec: ArraySpec) -> float:
        """Return the share of these channels in the voxels of their units; the rest belongs to other layers."""
        if "c" not in spec.axes:
            return 1.0
        axis, units = spec.axes.index("c"), self.unit_range(spec)
        size = spec.unit_shape[axis]
        return self.count / max(self.count, min(units.stop * size, spec.shape[axis]) - units.start * size)


def others_of(spec: ArraySpec, unit: Sequence[int], own: Channels, seen: Channels) -> Others:
    """Return the region of a unit in the array of another mag, along the axes other than x, y, z.

    `own` are the layer's channels in the unit's array, `seen` the same channels in the other array, which may be the same.
    """
    found = {}
    for axis, at, size, whole in zip(spec.axes, unit, spec.unit_shape, spec.shape, strict=True):
        if axis in SPATIAL_AXES:
            continue
        first, end = at * size, min((at + 1) * size, whole)
        if axis == "c":
            shift = seen.first - own.first
            first, end = max(first, own.first) + shift, min(end, own.end) + shift
        found[axis] = first, max(0, end - first)
    return found


def region_at(spec: ArraySpec, others: Others, first: Vec3Int, shape: Vec3Int) -> tuple[Position, Position]:
    """Return start and shape, in array order, of a box (x, y, z) at a place on the other axes."""
    starts, shapes = zip(*(others.get(axis, (0, 1)) for axis in spec.axes), strict=True)
    return with_spatial(spec, starts, first), with_spatial(spec, shapes, shape)
