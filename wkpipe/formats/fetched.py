"""Chunks that were read and not decoded yet: reading waits for the disk, decoding for the CPU, and each in threads of its own.

Chunks are decoded some at a time, each batch in one call that does not hold Python's lock, and put into place by one
copy where they fill a box. A batch is small enough to stay in the CPU's cache until it is copied.
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
"""Decoded bytes of the chunks that are decoded or encoded by one call."""

LARGE_CHUNK_BYTES = 64 << 10


@dataclass(frozen=True)
class Piece:
    """Stored chunks of a box of chunks, all of one file or each of a file of its own.

    Attributes:
        first: the box's first chunk, counted from the array's origin.
        grid: how many chunks the box has along every axis.
        cells: the places of the stored chunks in the box, the first axis fastest; None where all are stored.
        data: their bytes, among others.
        offsets: where each one's bytes begin in `data`.
        sizes: how many bytes each one has.
        shard: the open storage shard; None where chunks are files.
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
    """Decodes the stored chunks `start` to `stop` of a piece: an array (chunks, *stored shape)."""

    def __call__(self, piece: Piece, start: int, stop: int) -> Voxels: ...


@dataclass(frozen=True)
class FetchedRegion:
    """The stored chunks of a region, to be decoded by `voxels`.

    Attributes:
        first, end: the region, in voxels from the array's origin, cut off where the array ends.
        shape: what `voxels` returns; may reach beyond the array.
        stored_axes: for each axis of the array, its place among those of a decoded chunk.
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
        """Decode the chunks; return the region as a Fortran-contiguous array.

        Raises:
            DamagedShard: a chunk can not be decoded; names the file.
        """
        covered = sum(self._voxels_of(piece) for piece in self.pieces if piece.cells is None)
        out = np.empty(self.shape, self.dtype, order="F") if covered == math.prod(self.shape) else self.filled(self.shape)
        self.decode_into(out)
        return out

    def decode_into(self, out: Voxels) -> None:
        """Decode the chunks into an array of the region's shape; what is not stored stays as it is."""
        for piece in self.pieces:
            low = tuple(p * c - a for p, c, a in zip(piece.first, self.chunk_shape, self.first, strict=True))
            high = tuple(a + g * c for a, g, c in zip(low, piece.grid, self.chunk_shape, strict=True))
            is_inside = min(low) >= 0 and all(h <= b - a for h, a, b in zip(high, self.first, self.end, strict=True))
            if piece.cells is None and is_inside:
                self._place_box(piece, out[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
            else:
                self._place_singly(piece, out)

    def _voxels_of(self, piece: Piece) -> int:
        """Return how many voxels of the region a piece covers."""
        edges = zip(piece.first, piece.grid, self.chunk_shape, self.first, self.end, strict=True)
        return math.prod(min((p + g) * c, b) - max(p * c, a) for p, g, c, a, b in edges)

    def _place_box(self, piece: Piece, out: Voxels) -> None:
        """Decode a box of chunks that lies in the region as a whole: batch by batch, each with one copy."""
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
        """Decode chunks some of which are missing, or reach beyond the region."""
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
    """Return how many chunks are decoded by one call; large ones are worth a call each."""
    return 1 if chunk_bytes >= LARGE_CHUNK_BYTES else max(1, BATCH_BYTES // chunk_bytes)


def boxes_of(grid: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a grid into boxes of at most `most` cells (at least one), in order, the first axis fastest.

    Each box is a run of the cells in that order: whole lines, planes and so on, or a part of one line.
    """
    steps = []
    for n in grid:
        step = min(n, max(1, most))
        most = most // n if step == n else 1
        steps.append(step)
    ranges = [range(0, n, step) for n, step in zip(grid, steps, strict=True)]
    for corner in itertools.product(*reversed(ranges)):
        yield tuple(slice(a, min(a + step, n)) for a, step, n in zip(reversed(corner), steps, grid, strict=True))
