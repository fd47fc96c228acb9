"""Rows of images that are decoded once and kept for all cubes that need them: in memory, or in an unnamed file if they are large."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from wkpipe.images.source import BlockSource, SourceBox, Voxels
from wkpipe.storage import disk
from wkpipe.storage.scratch import Scratch

Each = Callable[[Callable[[int], None], Iterable[int]], None]
"""Calls a function with each of some numbers, in parallel."""


READ_BYTES = 64 << 20
"""Voxels that are read at once, unless a row of blocks has more: opening a file takes time."""


def read_width(source: BlockSource, rows: int) -> int:
    """Return how many columns of some rows of a plane are read at once: whole blocks."""
    column = rows * source.sizes.c * source.dtype.itemsize
    return max(1, READ_BYTES // (column * source.blocks.x)) * source.blocks.x


def read_columns(source: BlockSource, first: int, end: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield first and end of the columns between two that are read at once, for a number of rows; they end with blocks."""
    width, offset = read_width(source, rows), source.block_offset.x
    while first < end:
        last = min(first + width - (first - offset) % source.blocks.x, end)
        yield first, last
        first = last


class Window:
    """Decoded rows of some planes of a source at one time; the window moves down. Made by `window`."""

    def __init__(self, source: BlockSource, planes: SourceBox, voxels: Voxels) -> None:
        self._source, self._planes, self._voxels = source, planes, voxels
        self._first = self._end = planes.first.y

    @property
    def end(self) -> int:
        """The end of the decoded rows (exclusive)."""
        return self._end

    def move(self, first: int, end: int, each: Each) -> None:
        """Keep the decoded rows from `first` on and decode the rows up to `end`, plane by plane; rows before `first` are passed over."""
        kept, begin = self._end - first, max(self._end, first)
        if kept > 0:
            self._voxels[:, :kept] = self._voxels[:, first - self._first : self._end - self._first]
        self._first, self._end = first, end
        low, high = self._planes

        def decode(z: int) -> None:
            for x, x_end in read_columns(self._source, low.x, high.x, end - begin):
                part = self._source.read(SourceBox(low._replace(z=z, y=begin, x=x), high._replace(z=z + 1, y=end, x=x_end)))
                self._voxels[z - low.z, begin - first : end - first, x - low.x : x_end - low.x] = part[0, :, 0].transpose(1, 2, 0)

        each(decode, range(low.z, high.z))

    def read(self, box: SourceBox) -> Voxels:
        """Return the voxels of a box within the window, with the axes of `source.read`; valid until the window moves."""
        _, c, z, y, x = (a - b for a, b in zip(box.first, self._planes.first._replace(y=self._first), strict=True))
        shape = box.shape
        part = self._voxels[z : z + shape.z, y : y + shape.y, x : x + shape.x, c : c + shape.c]
        return part.transpose(3, 0, 1, 2)[np.newaxis]


@contextmanager
def window(source: BlockSource, planes: SourceBox, rows: int, is_in_memory: bool, scratch: Scratch) -> Iterator[Window]:
    """Provide a window of up to `rows` rows over the planes of a box; it starts empty, at the first row."""
    _, c, z, y, x = planes.shape
    shape = (z, min(rows, y), x, c)
    if is_in_memory:
        yield Window(source, planes, np.empty(shape, source.dtype))
        return
    descriptor = scratch.unlinked_file()
    try:
        disk.reserve(descriptor, math.prod(shape) * source.dtype.itemsize, scratch.directory)
        with os.fdopen(os.dup(descriptor), "r+b") as file:
            voxels: Voxels = np.memmap(file, dtype=source.dtype, mode="r+", shape=shape)
        yield Window(source, planes, voxels)
    finally:
        os.close(descriptor)
