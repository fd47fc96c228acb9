"""BlockSource: the interface of everything that can be converted.

A source is an array of voxels that is stored in blocks. A block can only be decoded as a whole: a tile or a strip of a TIFF, a whole
plane of a PNG. The conversion reads boxes whose borders are borders of blocks, so that each block is decoded once; see
`wkpipe.engine.blocks`. A source is a value: it is planned once, and read in any process and from any thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from wkpipe.metadata.units import VoxelSize

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

AXES = ("t", "c", "z", "y", "x")


class AxisSizes(NamedTuple):
    """One number for each of `AXES`: a size (1 if an array does not have the axis) or a position."""

    t: int
    c: int
    z: int
    y: int
    x: int


class SourceBox(NamedTuple):
    """A box of a source along all of its axes, from `first` to `end` (exclusive).

    >>> box = SourceBox.of((0, 0, 0, 0, 4), (1, 1, 2, 3, 10))
    >>> box.shape.x, box.volume
    (6, 36)
    """

    first: AxisSizes
    end: AxisSizes

    @classmethod
    def of(cls, first: Iterable[int], end: Iterable[int]) -> SourceBox:
        """Return the box between two positions."""
        return cls(AxisSizes(*first), AxisSizes(*end))

    @property
    def shape(self) -> AxisSizes:
        """The number of voxels along each axis."""
        return AxisSizes(*(b - a for a, b in zip(self.first, self.end, strict=True)))

    @property
    def volume(self) -> int:
        """The number of voxels."""
        return math.prod(self.shape)

    def is_within(self, sizes: AxisSizes) -> bool:
        """True if the box does not end before it begins, and is inside an array of these sizes."""
        return all(0 <= a <= b <= n for a, b, n in zip(self.first, self.end, sizes, strict=True))


class Channel(NamedTuple):
    """What a source says about one of its channels: its name, its display colour (red, green, blue, 0 to 255) and display range."""

    name: str | None = None
    color: tuple[int, int, int] | None = None
    shown: tuple[float, float] | None = None


UNKNOWN = Channel()
"""A channel of which a source says nothing."""


class BlockSource(Protocol):
    """An array of voxels that is stored in blocks. Boxes, sizes and the voxels that are read have the axes `AXES`."""

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of `AXES` along which the array may have more than one voxel."""

    @property
    def sizes(self) -> AxisSizes:
        """The number of voxels along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the voxels, little-endian."""

    @property
    def blocks(self) -> AxisSizes:
        """The shape of a stored block."""

    @property
    def block_offset(self) -> AxisSizes:
        """Where the first block begins that is not cut off by the array's border, along each axis: less than a block."""

    @property
    def is_in_order(self) -> bool:
        """True if the voxels that are read follow each other in memory: c varies fastest, then x, y, z."""

    @property
    def voxel_size(self) -> VoxelSize | None:
        """The size of a voxel; None if the source does not say."""

    @property
    def channel_info(self) -> tuple[Channel, ...] | None:
        """Name and colour of each channel; None if the source does not say."""

    def read(self, box: SourceBox) -> Voxels:
        """Return the voxels of a box, little-endian. Several threads may call it at once.

        Raises:
            ValueError: the box reaches beyond the array.
            UnreadableInput: the stored data are missing, have changed since they were inspected, or cannot be decoded.
        """

    def scratch_bytes(self, box: SourceBox) -> int:
        """Return an upper estimate of the memory that `read` needs at its peak beside its result."""

    def identity(self, box: SourceBox) -> str:
        """Return a hash that changes when the stored data of a box change; no voxel is read."""
