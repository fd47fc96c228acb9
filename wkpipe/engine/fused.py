"""Make cubes with the native engine: stored chunks of the finer mag in, encoded chunks out, without voxels in Python.

What it does not do is done by NumPy, cube by cube, with the same bytes: factors beyond 4, cubes at borders where voxels are mirrored,
chunks that have channels of other layers, and damaged chunks, for which NumPy's way has the words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.engine.cubes import Cube, UnitGrid
from wkpipe.engine.handover import Handover, Sampling
from wkpipe.formats.base import ArraySpec, EncodedChunks, Ints, StoredArray
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.formats.fetched import FetchedRegion, Piece
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.native.chunks import NUMBER_KINDS, NativeChunks, NativeCodec
from wkpipe.native.library import CubeJob, int3
from wkpipe.sampling.native_kernels import NUMBERS, has_kernel


@dataclass(frozen=True)
class Fused:
    """The native engine for the cubes of one unit.

    Attributes:
        chunks: the engine for the chunks of source and target.
        target: the array that is written.
        sampling: how it is sampled.
        source_chunk: the shape of a source chunk, in x, y, z.
        per_axis: how many source chunks a target chunk is made of along x, y, z.
        channels: the values of a voxel: all that the other axes of a chunk have.
    """

    chunks: NativeChunks
    source: ChunkedArray
    target: ChunkedArray
    sampling: Sampling
    source_chunk: Vec3Int
    per_axis: Vec3Int
    channels: int

    @classmethod
    def of(cls, source: StoredArray, target: StoredArray, sampling: Sampling) -> Fused | None:
        """Return the engine; None if NumPy makes all cubes."""
        if not (
            isinstance(source, ChunkedArray) and isinstance(target, ChunkedArray) and has_kernel(sampling.interpolation, sampling.factors)
        ):
            return None
        codec = target.coder.native_codec
        if codec is None or source.coder.native_codec is None or source.coder.dtype != target.coder.dtype:
            return None
        lead = target.spec.chunk_shape[:-3]
        if not (_is_xyz_last(source.spec) and _is_xyz_last(target.spec)) or source.spec.chunk_shape[:-3] != lead:
            return None
        fine, coarse = (Vec3Int(array.spec.chunk_shape[-3:]) for array in (source, target))
        if any(fine % sampling.factors) or any(coarse % (fine // sampling.factors)):
            return None
        chunks = NativeChunks.of(codec, source.coder.size, target.coder.size)
        per_axis = coarse // (fine // sampling.factors)
        return None if chunks is None else cls(chunks, source, target, sampling, fine, per_axis, math.prod(lead))

    def encoded(
        self, grid: UnitGrid, cube: Cube, fetched: FetchedRegion, positions: Ints, coarser: Handover | None
    ) -> EncodedChunks | None:
        """Make a cube from its source; None if NumPy must make it. The voxels of the `coarser` mag are put in their place."""
        first, shape = grid.region(cube)
        factors, (low, high) = self.sampling.factors, self.sampling.bounds
        is_inside = all(a <= f * n and f * (n + s) <= b for a, b, f, n, s in zip(low, high, factors, first, shape, strict=True))
        if not is_inside:
            return None
        corner = grid.origin + cube.first * grid.chunk
        codec = self._codec_of(fetched)
        if codec is None or not codec.is_read:
            return None
        addresses, sizes = self._frames(cube, corner, fetched)
        order = (positions - positions[0])[:, -3:] @ np.array([1, cube.grid.x, cube.grid.x * cube.grid.y], np.int64)
        job = CubeJob(
            mode=NUMBERS[self.sampling.interpolation],
            kind=codec.kind,
            dtype=NUMBER_KINDS[self.target.coder.dtype.kind],
            itemsize=self.target.coder.dtype.itemsize,
            channels=self.channels,
            factors=int3(factors),
            chunk=int3(grid.chunk),
            per_axis=int3(self.per_axis),
            grid=int3(cube.grid),
            low=int3(first - corner),
            high=int3(first + shape - corner),
            addresses=addresses.ctypes.data,
            sizes=sizes.ctypes.data,
            order=order.ctypes.data,
        )
        if coarser is not None and not coarser.take(job, first, shape, grid.chunk):
            return None
        made = self.chunks.sample(job, len(order), self.target.coder.max_encoded_size)
        return None if made is None else EncodedChunks.of_bytes(positions, *made)

    def _codec_of(self, fetched: FetchedRegion) -> NativeCodec | None:
        """Return how the chunks of a cube's source are stored; None if not all alike, or if they have values of other channels, too."""
        first, end, lead = fetched.first[:-3], fetched.end[:-3], self.source.spec.chunk_shape[:-3]
        is_whole = all(a % n == 0 and b - a == n for a, b, n in zip(first, end, lead, strict=True))
        coders = {self.source.coder_of(piece).native_codec for piece in fetched.pieces}
        return coders.pop() if is_whole and len(coders) == 1 else None

    def _frames(self, cube: Cube, corner: Vec3Int, fetched: FetchedRegion) -> tuple[Ints, Ints]:
        """Return where the stored chunks of a cube's source are in memory (0: not stored) and their sizes, the first axis fastest."""
        grid = cube.grid * self.per_axis
        first = corner * self.sampling.factors // self.source_chunk
        addresses, sizes = (np.zeros(tuple(grid), np.int64, order="F") for _ in range(2))
        for piece in fetched.pieces:
            places, shape = _places(piece, first)
            addresses[places] = (piece.data.ctypes.data + piece.offsets).reshape(shape, order="F")
            sizes[places] = piece.sizes.reshape(shape, order="F")
        return addresses, sizes


def _is_xyz_last(spec: ArraySpec) -> bool:
    return spec.axes[-3:] == tuple(SPATIAL_AXES)


def _places(piece: Piece, first: Vec3Int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Return the places (x, y, z) of a piece's stored chunks, counted from the chunk `first` of the array, and the shape that they have."""
    corner, grid = [a - b for a, b in zip(piece.first[-3:], first, strict=True)], piece.grid[-3:]
    if piece.cells is None:
        return tuple(slice(a, a + n) for a, n in zip(corner, grid, strict=True)), grid
    inside = np.unravel_index(piece.cells, grid, order="F")
    return tuple(a + cells for a, cells in zip(corner, inside, strict=True)), piece.cells.shape
