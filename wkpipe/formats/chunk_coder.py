"""How one chunk's voxels become bytes: memory order, byte order, codec and fill value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.formats.base import Position, Voxels
from wkpipe.formats.codecs import Codec


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
        self._back = tuple(order.index(axis) for axis in range(len(order)))

    def filled(self, shape: Sequence[int]) -> Voxels:
        """Return a new Fortran-contiguous array of the fill value; zeros come from untouched pages."""
        if self.fill_is_zero:
            return np.zeros(tuple(shape), self.dtype, order="F")
        return np.full(tuple(shape), self.fill, self.dtype, order="F")

    def is_fill(self, chunk: Voxels) -> bool:
        """Tell whether an array holds nothing but the fill value (-0.0 counts as 0.0)."""
        if self.fill_is_zero:
            return not chunk.any()
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

    def decode(self, data: bytes) -> Voxels:
        """Return the chunk's voxels as a read-only view, in array order.

        Raises:
            CodecError: the bytes are not those of a chunk of this size.
        """
        raw = self.codec.decode(data, self.size)
        return np.frombuffer(raw, self._stored_dtype).reshape(self._stored_shape).transpose(self._back)
