"""The default chunk and shard shapes (x, y, z)."""

from __future__ import annotations

from dataclasses import dataclass

from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Vec3Int

CHUNK_EDGE = 32
SHARD_EDGE = 1024
FLAT_SHARD_EDGE = 4096
FLAT_DEPTH = 32
"""Layers of at most this depth get flat shards."""
RAW_WKW_BYTES = 32 << 20
RAW_WKW_EXCESS = 8
"""Uncompressed WKW files larger than `RAW_WKW_BYTES` have at most this many times the bytes of the chunks in them."""


@dataclass(frozen=True)
class Shapes:
    """The shapes of an array's chunks and storage shards."""

    chunk: Vec3Int
    shard: Vec3Int

    def for_raw_wkw(self, first: Vec3Int, end: Vec3Int, voxel_bytes: int) -> Shapes:
        """Return the shapes for an uncompressed WKW mag whose box is (first, end), with shards that are not larger than needed.

        Such a file has the size of all its chunks, with data or without. Chunks that are not written take no space on the
        disk, but they are read, checked and sent like the others.
        """
        shard = self.shard
        while shard.x > self.chunk.x and self._is_too_large(shard, first, end, voxel_bytes):
            shard = shard // 2
        return Shapes(self.chunk, shard)

    def _is_too_large(self, shard: Vec3Int, first: Vec3Int, end: Vec3Int, voxel_bytes: int) -> bool:
        if max(end) * 2 <= shard.x:
            return True
        files = (end.ceildiv(shard) - first // shard).prod() * shard.prod()
        chunks = (end.ceildiv(self.chunk) - first // self.chunk).prod() * self.chunk.prod()
        return shard.prod() * voxel_bytes > RAW_WKW_BYTES and files > RAW_WKW_EXCESS * chunks


def default_shapes(
    data_format: DataFormat, depth: int, chunk: Vec3Int | None = None, shard: Vec3Int | None = None, from_slices: bool = False
) -> Shapes:
    """Return the shapes for a layer that is `depth` mag-1 voxels deep; given ones win.

    WKW takes cubes only. Zarr 2 has no shards. Zarr 3 gets shards of 1024³, and flat ones (4096 × 4096 × 32) for
    layers that are converted from slices or not deeper than 32; a layer of depth 1 keeps chunks of depth 1.
    """
    flat_chunk = Vec3Int(CHUNK_EDGE, CHUNK_EDGE, 1) if depth == 1 else Vec3Int.full(CHUNK_EDGE)
    if data_format is DataFormat.WKW:
        chunk = chunk or Vec3Int.full(CHUNK_EDGE)
        return Shapes(chunk, shard or Vec3Int.full(SHARD_EDGE).pairmax(chunk))
    chunk = chunk or (flat_chunk if shard is None else flat_chunk.pairmin(shard))
    if data_format is DataFormat.ZARR:
        return Shapes(chunk, shard or chunk)
    if shard is None and (from_slices or depth <= FLAT_DEPTH):
        shard = Vec3Int(FLAT_SHARD_EDGE, FLAT_SHARD_EDGE, chunk.z).pairmax(chunk)
    return Shapes(chunk, shard or Vec3Int.full(SHARD_EDGE).pairmax(chunk))
