"""Chunks that were read but not decoded yet: reading waits for the disk, decoding for the CPU, each in its own threads.

Chunks are decoded in batches. Each batch is one call that releases the GIL; chunks that fill a box are put into place by
one copy. A batch is small enough to stay in the CPU's cache until it is copied.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from wkpipe.formats.base import Ints, Position, Voxels

BATCH_BYTES = 512 << 10
"""The decoded bytes of the chunks that one call decodes or encodes."""

LARGE_CHUNK_BYTES = 256 << 10
"""Chunks of labels with 4 bytes have half of it: four at once, instead of one, take a third less time to be put side by side."""


@dataclass(frozen=True)
class Piece:
    """The stored chunks of a box of chunks: all in one file, or each in its own.

    Attributes:
        first: the box's first chunk, counted from the array's origin.
        grid: the number of chunks of the box along every axis.
        cells: the places of the stored chunks in the box, the first axis fastest; None if all are stored.
        data: a buffer with their bytes.
        offsets: where the bytes of each chunk begin in `data`.
        sizes: the number of bytes of each chunk.
        shard: the open storage shard; None if chunks are files.
    """

    first: Position
    grid: Position
    cells: Ints | None
    data: Voxels
    offsets: Ints
    sizes: Ints
    shard: Any = None

    def position(self, index: int) -> Position:
        """Return the position of the stored chunk `index`, in chunks from the array's origin."""
        cell = index if self.cells is None else int(self.cells[index])
        inside = np.unravel_index(cell, self.grid, order="F")
        return tuple(int(f + i) for f, i in zip(self.first, inside, strict=True))


class Decode(Protocol):
    """Decode the stored chunks `start` to `stop` of a piece into an array (chunks, *stored shape)."""

    def __call__(self, piece: Piece, start: int, stop: int) -> Voxels: ...


@dataclass(frozen=True)
class FetchedRegion:
    """The stored chunks of a region; `voxels` decodes them.

    Attributes:
        first, end: the region, in voxels from the array's origin, limited to the array.
        shape: the shape that `voxels` returns; it may reach beyond the array.
        stored_axes: for each axis of the array, its place among the axes of a decoded chunk.
    """

    first: Position
    end: Position
    shape: Position
    chunk_shape: Position
    stored_axes: Position
    pieces: Sequence[Piece]
    decode: Decode
    filled: Callable[[Sequence[int]], Voxels]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return sum(piece.data.nbytes for piece in self.pieces)

    def voxels(self) -> Voxels:
        """Decode the chunks and return the region as a Fortran-contiguous array.

        Raises:
            DamagedShard: a chunk cannot be decoded; names the file.
        """
        covered = sum(self._voxels_of(piece) for piece in self.pieces if piece.cells is None)
        out = np.empty(self.shape, self.dtype, order="F") if covered == math.prod(self.shape) else self.filled(self.shape)
        self.decode_into(out)
        return out

    def decode_into(self, out: Voxels) -> None:
        """Decode the chunks into an array of the region's shape; voxels that are not stored stay as they are."""
        for piece in self.pieces:
            low = tuple(p * c - a for p, c, a in zip(piece.first, self.chunk_shape, self.first, strict=True))
            high = tuple(a + g * c for a, g, c in zip(low, piece.grid, self.chunk_shape, strict=True))
            is_inside = min(low) >= 0 and all(h <= b - a for h, a, b in zip(high, self.first, self.end, strict=True))
            if piece.cells is None and is_inside:
                self._place_box(piece, out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
            else:
                self._place_singly(piece, out)

    def _voxels_of(self, piece: Piece) -> int:
        """Return the number of voxels of the region that a piece covers."""
        edges = zip(piece.first, piece.grid, self.chunk_shape, self.first, self.end, strict=True)
        return math.prod(min((p + g) * c, b) - max(p * c, a) for p, g, c, a, b in edges)

    def _place_box(self, piece: Piece, out: Voxels) -> None:
        """Decode a box of chunks that is wholly in the region: batch by batch, each with one copy."""
        axes = range(len(piece.grid))
        # Splitting axes gives a view: (chunk, grid) for every axis in turn.
        places = out.reshape([n for axis in axes for n in (self.chunk_shape[axis], piece.grid[axis])], order="F")
        grid_first = len(piece.grid) - 1
        order = [place for axis in axes for place in (grid_first + 1 + self.stored_axes[axis], grid_first - axis)]
        size = math.prod(self.chunk_shape) * self.dtype.itemsize
        start = 0
        for box in boxes_of(piece.grid, batch_length(size)):
            shape = [s.stop - s.start for s in box]
            stop = start + math.prod(shape)
            blocks = self.decode(piece, start, stop)
            blocks = blocks.reshape(*reversed(shape), *blocks.shape[1:]).transpose(order)
            np.copyto(places[tuple(part for s in box for part in (slice(None), s))], blocks)
            start = stop

    def _place_singly(self, piece: Piece, out: Voxels) -> None:
        """Decode chunks one by one: some are missing, or reach beyond the region."""
        count = len(piece.sizes)
        step = batch_length(math.prod(self.chunk_shape) * self.dtype.itemsize)
        for start in range(0, count, step):
            blocks = self.decode(piece, start, min(start + step, count))
            for index, block in enumerate(blocks, start):
                target, source = [], []
                for p, c, a, b in zip(piece.position(index), self.chunk_shape, self.first, self.end, strict=True):
                    low, high = max(p * c, a), min((p + 1) * c, b)
                    target.append(slice(low - a, high - a))
                    source.append(slice(low - p * c, high - p * c))
                out[tuple(target)] = block.transpose(self.stored_axes)[tuple(source)]


def batch_length(chunk_bytes: int) -> int:
    """Return the number of chunks that one call decodes; large chunks get a call each."""
    return 1 if chunk_bytes >= LARGE_CHUNK_BYTES else max(1, BATCH_BYTES // chunk_bytes)


def boxes_of(grid: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a grid into boxes of at most `most` cells (at least one), in order, the first axis fastest.

    Each box is a run of cells in that order: whole lines, whole planes, or a part of one line.
    """
    steps = []
    for n in grid:
        step = min(n, max(1, most))
        most = most // n if step == n else 1
        steps.append(step)
    ranges = [range(0, n, step) for n, step in zip(grid, steps, strict=True)]
    for corner in itertools.product(*reversed(ranges)):
        yield tuple(slice(a, min(a + step, n)) for a, step, n in zip(reversed(corner), steps, grid, strict=True))
