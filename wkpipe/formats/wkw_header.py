"""WkwHeader: the 16 bytes at the start of every WKW file.

| bytes | meaning |
|---|---|
| 0-2 | ``WKW`` |
| 3 | version, 1 |
| 4 | low nibble: log2 of voxels per block edge; high nibble: log2 of blocks per file edge |
| 5 | block type: 1 raw, 2 LZ4, 3 LZ4-HC |
| 6 | voxel type |
| 7 | bytes per voxel, all channels |
| 8-15 | offset of the first block, little-endian; 0 in header.wkw |
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.codecs import Codec, Lz4, NoCodec

SIZE = 16
_LAYOUT = struct.Struct("<3s5BQ")
_VOXEL_TYPES = {
    number + 1: np.dtype(name)
    for number, name in enumerate(("uint8", "uint16", "uint32", "uint64", "float32", "float64", "int8", "int16", "int32", "int64"))
}
_CODECS: dict[int, Codec] = {1: NoCodec(), 2: Lz4(high=False), 3: Lz4(high=True)}


class BadHeader(Exception):
    """The bytes are not a WKW header; the message says why, the caller adds the file."""


@dataclass(frozen=True)
class WkwHeader:
    """The header of a WKW file; edges are in voxels per block and blocks per file, both powers of two."""

    block_edge: int
    file_edge: int
    block_type: int
    dtype: np.dtype[Any]
    channels: int
    data_offset: int = 0

    @classmethod
    def parse(cls, raw: bytes) -> WkwHeader:
        """Read the 16 bytes of a header.

        Raises:
            BadHeader: the bytes are not a header.
        """
        if len(raw) < SIZE:
            raise BadHeader(f"found {len(raw)} bytes, a WKW header has {SIZE}")
        magic, version, edges, block_type, voxel_type, voxel_size, data_offset = _LAYOUT.unpack(raw[:SIZE])
        if magic != b"WKW" or version != 1:
            raise BadHeader(f"found {raw[:4].hex()}, a WKW header starts with {b'WKW'.hex()}01")
        if block_type not in _CODECS:
            raise BadHeader(f"block type: found {block_type}, expected 1, 2 or 3")
        dtype = _VOXEL_TYPES.get(voxel_type)
        if dtype is None:
            raise BadHeader(f"voxel type: found {voxel_type}, expected 1 to {len(_VOXEL_TYPES)}")
        if voxel_size == 0 or voxel_size % dtype.itemsize:
            raise BadHeader(f"voxel size: found {voxel_size}, expected a multiple of {dtype.itemsize}")
        return cls(1 << (edges & 15), 1 << (edges >> 4), block_type, dtype, voxel_size // dtype.itemsize, data_offset)

    def pack(self, data_offset: int = 0) -> bytes:
        """Return the 16 bytes; `data_offset` is 0 in header.wkw."""
        voxel_type = next(number for number, dtype in _VOXEL_TYPES.items() if dtype == self.dtype)
        edges = (self.block_edge.bit_length() - 1) | (self.file_edge.bit_length() - 1) << 4
        return _LAYOUT.pack(b"WKW", 1, edges, self.block_type, voxel_type, self.channels * self.dtype.itemsize, data_offset)

    @property
    def codec(self) -> Codec:
        return _CODECS[self.block_type]

    @property
    def is_compressed(self) -> bool:
        return self.block_type != 1

    @property
    def block_bytes(self) -> int:
        """The bytes of one decoded block."""
        return self.block_edge**3 * self.channels * self.dtype.itemsize

    @property
    def blocks(self) -> int:
        """The number of blocks in a file."""
        return self.file_edge**3

    @property
    def first_block_offset(self) -> int:
        """The offset of the first block in a file that wkpipe writes: after the header and, if compressed, the jump table."""
        return SIZE + (8 * self.blocks if self.is_compressed else 0)

    def fits(self, other: WkwHeader) -> bool:
        """True if a file with the header `other` can belong to the array; the compression may differ."""
        mine = (self.block_edge, self.file_edge, self.dtype, self.channels)
        return mine == (other.block_edge, other.file_edge, other.dtype, other.channels)


BLOCK_TYPES = {"none": 1, "lz4": 2, "lz4hc": 3}
"""The block types by the name of the compression."""
