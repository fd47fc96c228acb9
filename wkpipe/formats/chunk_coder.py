"""Turn the voxels of a chunk into bytes and back: memory order, byte order, codec and fill value."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.formats.base import EncodedChunks, Ints, Position, Voxels
from wkpipe.formats.codecs import Codec
from wkpipe.native.chunks import NUMBER_KINDS, NativeChunks, NativeCodec


def has_any(voxels: Voxels) -> bool:
    """True if any voxel is not zero; a signalling NaN counts, and gives no warning."""
    with np.errstate(invalid="ignore"):
        return bool(voxels.any())


class ChunkCoder:
    """Encode and decode the chunks of one array. Thread-safe.

    Args:
        chunk_shape: in array order.
        stored_dtype: the dtype with the byte order of the file.
        order: the axes from the one that varies slowest in the file to the one that varies fastest.
        codec: from bytes to stored bytes.
        fill_value: the value of chunks that are not stored.
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
        self.stored_dtype = stored_dtype
        self._stored_shape = tuple(chunk_shape[axis] for axis in order)
        self.stored_axes = tuple(order.index(axis) for axis in range(len(order)))
        """For each axis of the array, its place among the axes of a stored chunk."""

    @functools.cached_property
    def native_codec(self) -> NativeCodec | None:
        """The codec of the native engine if it has these chunks: the first axis fastest, fill value 0; else None."""
        is_plain = self.dtype.kind in NUMBER_KINDS and self.dtype == self.stored_dtype and self.fill_is_zero
        is_in_order = len(self.order) >= len("xyz") and self.order == tuple(reversed(range(len(self.order))))
        return self.codec.native(self.size) if is_plain and is_in_order else None

    @functools.cached_property
    def _native(self) -> NativeChunks | None:
        """The native engine that encodes these chunks, loaded when the first are; None if NumPy and the codec do it."""
        codec = self.native_codec
        return None if codec is None else NativeChunks.of(codec, self.size, self.size)

    def filled(self, shape: Sequence[int]) -> Voxels:
        """Return a new Fortran-contiguous array of the fill value; zeros use no memory until they are written."""
        if self.fill_is_zero:
            return np.zeros(tuple(shape), self.dtype, order="F")
        return np.full(tuple(shape), self.fill, self.dtype, order="F")

    def is_fill(self, chunk: Voxels) -> bool:
        """True if an array holds nothing but the fill value (-0.0 counts as 0.0)."""
        if self.fill_is_zero:
            return not has_any(chunk)
        if self._fill_is_nan:
            return bool(np.isnan(chunk).all())
        return bool((chunk == self.fill).all())

    def encode(self, chunk: Voxels) -> bytes | None:
        """Return the stored bytes of a whole chunk; None if it holds nothing but the fill value."""
        if chunk.shape != self.chunk_shape or chunk.dtype != self.dtype:
            raise ValueError(f"a chunk is {self.dtype} {self.chunk_shape}, not {chunk.dtype} {chunk.shape}")
        stored = np.ascontiguousarray(chunk.transpose(self.order), dtype=self.stored_dtype)
        # Nearly always the first voxel shows that a chunk is not all fill value; asking a view for all its voxels is slow.
        is_maybe_fill = self._fill_is_nan or stored.item(0) == self.fill
        return None if is_maybe_fill and self.is_fill(stored) else self.codec.encode(stored)

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        """Encode chunks of a box of whole chunks.

        Args:
            voxels: the box, Fortran-contiguous, in array order.
            cells: the chunks of the box to encode, in the order of the result: (chunks, axes), counted in chunks.
            positions: the positions of the same chunks, as the result gives them.
        """
        grid = [n // c for n, c in zip(voxels.shape, self.chunk_shape, strict=True)]
        strides = np.cumprod([1, *grid[:-1]])
        order = cells @ strides
        if self._native is not None and math.prod(grid[:-3]) == 1:
            channels = math.prod(self.chunk_shape[:-3])
            native = self._native.encode(voxels, channels, self.chunk_shape[-3:], grid[-3:], order, self.max_encoded_size)
            return EncodedChunks.of_bytes(positions, *native)
        axes = range(len(grid))
        split = voxels.reshape([n for c, g in zip(self.chunk_shape, grid, strict=True) for n in (c, g)], order="F")
        turned = split.transpose([2 * axis + 1 for axis in reversed(axes)] + [2 * axis for axis in self.order])
        chunks = np.ascontiguousarray(turned, dtype=self.stored_dtype).reshape(math.prod(grid), -1)
        # Nearly always the first voxel shows that a chunk is not all fill value.
        maybe = np.nonzero(chunks[order, 0] == self.fill)[0] if not self._fill_is_nan else range(len(order))
        fill = [int(i) for i in maybe if self.is_fill(chunks[order[i]])]
        sizes = np.zeros(len(order), np.int64)
        stored = np.delete(np.arange(len(order)), fill)
        raw = chunks.view(np.uint8)
        data, sizes[stored] = self.codec.encode_many(raw, order[stored].tolist())
        return EncodedChunks.of_bytes(positions, sizes, data)

    def decode(self, data: bytes) -> Voxels:
        """Return the voxels of a chunk as a read-only view, in array order.

        Raises:
            CodecError: the bytes are not those of a chunk of this size.
        """
        raw = self.codec.decode(data, self.size)
        return np.frombuffer(raw, self.stored_dtype).reshape(self._stored_shape).transpose(self.stored_axes)

    def decode_many(self, data: Voxels, offsets: Ints, sizes: Ints) -> Voxels:
        """Return the voxels of chunks as (chunks, *stored shape); see `Codec.decode_many`.

        Raises:
            CodecError: a chunk is damaged.
        """
        raw = self.codec.decode_many(data, offsets, sizes, self.size)
        return raw.view(self.stored_dtype).reshape(len(offsets), *self._stored_shape)
