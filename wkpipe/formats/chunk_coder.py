"""How one chunk's voxels become bytes: memory order, byte order, codec and fill value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.formats.base import EncodedChunks, Ints, Position, Voxels
from wkpipe.formats.codecs import Codec
from wkpipe.formats.fetched import BATCH_BYTES
from wkpipe.storage.digest import digest_of


def has_any(voxels: Voxels) -> bool:
    """Tell whether a voxel is not zero; a NaN that signals is one like any other, and nothing to warn of."""
    with np.errstate(invalid="ignore"):
        return bool(voxels.any())


class ChunkCoder:
    """Encodes and decodes the chunks of one array. Thread-safe.

    Args:
        chunk_shape: in array order.
        stored_dtype: with the byte order of the file.
        order: the axes from the one that varies slowest in the file to the one that varies fastest.
        codec: from bytes to stored bytes.
        fill_value: what a chunk that is not stored holds.
    """

    def __init__(self, chunk_shape: Position, stored_dtype: np.dtype[Any], order: Position, codec: Codec, fill_value: int | float) -> None:
        self.chunk_shape = chunk_shape
        self.dtype = stored_dtype.newbyteorder("<")
        self.order = order
        self.codec = codec
        self.size = math.prod(chunk_shape) * stored_dtype.itemsize
        self.max_encoded_size = codec.max_encoded_size(self.size)
        self.fill = self.dtype.type(fill_value)
        self.fill_is_zero = bool(self.fill == 0)
        self._fill_is_nan = bool(self.fill != self.fill)
        self._stored_dtype = stored_dtype
        self._stored_shape = tuple(chunk_shape[axis] for axis in order)
        self.stored_axes = tuple(order.index(axis) for axis in range(len(order)))
        """For each axis of the array, its place among those of a stored chunk."""

    def filled(self, shape: Sequence[int]) -> Voxels:
        """Return a new Fortran-contiguous array of the fill value; zeros come from untouched pages."""
        if self.fill_is_zero:
            return np.zeros(tuple(shape), self.dtype, order="F")
        return np.full(tuple(shape), self.fill, self.dtype, order="F")

    def is_fill(self, chunk: Voxels) -> bool:
        """Tell whether an array holds nothing but the fill value (-0.0 counts as 0.0)."""
        if self.fill_is_zero:
            return not has_any(chunk)
        if self._fill_is_nan:
            return bool(np.isnan(chunk).all())
        return bool((chunk == self.fill).all())

    def encode(self, chunk: Voxels) -> bytes | None:
        """Return the stored bytes of a whole chunk, None where it holds nothing but the fill value."""
        if chunk.shape != self.chunk_shape or chunk.dtype != self.dtype:
            raise ValueError(f"a chunk is {self.dtype} {self.chunk_shape}, not {chunk.dtype} {chunk.shape}")
        return None if self.is_fill(chunk) else self.encode_any(chunk)

    def encode_any(self, chunk: Voxels) -> bytes:
        """Return the stored bytes of a whole chunk, whatever it holds."""
        return self.codec.encode(np.ascontiguousarray(chunk.transpose(self.order), dtype=self._stored_dtype))

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        """Encode the chunks of a box of whole chunks.

        Args:
            voxels: the box, Fortran-contiguous, in array order.
            cells: which chunks of the box, in the order wanted: (chunks, axes), counted in chunks.
            positions: the same chunks' positions as the result is to tell them.
        """
        grid = [n // c for n, c in zip(voxels.shape, self.chunk_shape, strict=True)]
        axes = range(len(grid))
        split = voxels.reshape([n for c, g in zip(self.chunk_shape, grid, strict=True) for n in (c, g)], order="F")
        turned = split.transpose([2 * axis + 1 for axis in reversed(axes)] + [2 * axis for axis in self.order])
        chunks = np.ascontiguousarray(turned, dtype=self._stored_dtype).reshape(math.prod(grid), -1)
        strides = np.cumprod([1, *grid[:-1]])
        order = cells @ strides
        # Nearly always the first voxel tells that a chunk is not mere fill.
        maybe = np.nonzero(chunks[order, 0] == self.fill)[0] if not self._fill_is_nan else range(len(order))
        fill = [int(i) for i in maybe if self.is_fill(chunks[order[i]])]
        sizes = np.zeros(len(order), np.int64)
        stored = np.delete(np.arange(len(order)), fill)
        raw = chunks.view(np.uint8)
        frames: list[bytes] = []
        step = max(1, BATCH_BYTES // self.size)
        for start in range(0, len(stored), step):
            frames += self.codec.encode_many(raw, order[stored[start : start + step]].tolist())
        sizes[stored] = [len(frame) for frame in frames]
        return EncodedChunks(positions, sizes, b"".join(frames), b"".join(map(digest_of, frames)))

    def decode(self, data: bytes) -> Voxels:
        """Return the chunk's voxels as a read-only view, in array order.

        Raises:
            CodecError: the bytes are not those of a chunk of this size.
        """
        raw = self.codec.decode(data, self.size)
        return np.frombuffer(raw, self._stored_dtype).reshape(self._stored_shape).transpose(self.stored_axes)

    def decode_many(self, data: Voxels, offsets: Ints, sizes: Ints) -> Voxels:
        """Return the voxels of chunks as (chunks, *stored shape); see `Codec.decode_many`.

        Raises:
            CodecError: one of them is damaged.
        """
        raw = self.codec.decode_many(data, offsets, sizes, self.size)
        return raw.view(self._stored_dtype).reshape(len(offsets), *self._stored_shape)
