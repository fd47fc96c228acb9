"""BlockAxis: where the chunks, the units and the native blocks of images have common borders along one axis of a mag."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

LEAST_BLOCKS = 4
"""The blocks along a unit from which on those at its borders may be decoded twice, so that units can be made apart."""


@dataclass(frozen=True)
class BlockAxis:
    """One axis of a mag's box (`first`, `end`) that is made from blocks; all in voxels of the mag.

    chunk, unit, block: their lengths. offset: the place in the box of a border of blocks, less than a block.

    >>> axis = BlockAxis(0, 1000, 32, 256, 96, 0)
    >>> axis.whole, axis.group, axis.extent
    (96, 3, 768)
    """

    first: int
    end: int
    chunk: int
    unit: int
    block: int
    offset: int

    @functools.cached_property
    def is_aligned(self) -> bool:
        """True if borders of blocks are where those of units and chunks can be.

        Otherwise they may still meet somewhere; but those of images that are cropped, mirrored or moved by any number of voxels hardly do.
        """
        return (self.first + self.offset) % self.block == 0

    @functools.cached_property
    def _is_one_block(self) -> bool:
        return self.block >= self.end - self.first

    @functools.cached_property
    def splits_blocks(self) -> bool:
        """True if groups are units, wherever their borders are: the blocks there are decoded twice, and are small."""
        return not self.is_aligned and not self._is_one_block and self.block * LEAST_BLOCKS <= self.unit

    @functools.cached_property
    def group(self) -> int:
        """How many units are between two borders of units that are borders of blocks, at most."""
        every = -(-self.end // self.unit) - self.first // self.unit
        if self.splits_blocks:
            return 1
        is_one = self._is_one_block or not self.is_aligned
        return every if is_one else min(every, math.lcm(self.unit, self.block) // self.unit)

    @functools.cached_property
    def first_group(self) -> int:
        """The first unit of the first group."""
        unit = self.first // self.unit
        return unit // self.group * self.group if self.is_aligned and self.group * self.unit % self.block == 0 else unit

    @functools.cached_property
    def whole(self) -> int:
        """The least length of whole chunks and of whole blocks; all chunks of a group if there is no less."""
        every = min(self._chunks, self.group * self.unit)
        return every if self._is_one_block or not self.is_aligned else min(math.lcm(self.chunk, self.block), every)

    @functools.cached_property
    def _chunks(self) -> int:
        """The length of all chunks that the box touches."""
        return -(-self.end // self.chunk) * self.chunk - self.first // self.chunk * self.chunk

    def group_of(self, unit: int) -> int:
        """Return the first unit of the group of a unit."""
        return unit - (unit - self.first_group) % self.group

    @functools.cached_property
    def _step(self) -> int:
        """The distance of the borders at which cubes may begin."""
        return self.whole if self.is_aligned and self.whole % self.block == 0 else self.chunk

    @functools.cached_property
    def extent(self) -> int:
        """The length of the cubes of a group, at most."""
        return min(self.group * self.unit, -(-self.end // self.chunk) * self.chunk - self.first // self._step * self._step)

    def origin(self, unit: int) -> int:
        """Return where the first cube of the group of a unit begins."""
        return max(self.group_of(unit) * self.unit, self.first // self._step * self._step) // self._step * self._step

    @functools.cached_property
    def has_even_steps(self) -> bool:
        """True if reading on by whole blocks that are at least a chunk always ends with a chunk, wherever it began."""
        nested = self.block % self.chunk == 0 or self.chunk % self.block == 0
        return nested and self.first % self.chunk == 0 and self.is_aligned

    def border(self, place: int) -> int:
        """Return the last border of blocks at or before a place in the box; the box begins with one."""
        return max(self.first, place - (place - self.first - self.offset) % self.block)
