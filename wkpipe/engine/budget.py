"""The engine's budget: how much it reads, computes and keeps at once. The memory model uses these same values."""

from __future__ import annotations

import math
from typing import NamedTuple

from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Vec3Int
from wkpipe.storage.commit import WRITE_BYTES
from wkpipe.storage.digest import DIGEST_BYTES
from wkpipe.stored.axes import spatial

CUBE_BYTES = 4 << 20
"""Source bytes of the cube that a thread works on: small enough for the CPU's cache, large enough to hide overheads."""

LARGE_CUBE_BYTES = 2 * CUBE_BYTES
"""The same in large units, where a cube more or less for a thread does not matter: half as many calls from Python."""

LARGE_UNIT_CUBES = 64
"""A unit is large if it has as many large cubes."""

LARGE_CUBE_CHUNKS = 64
"""The most chunks of a large cube: each takes some memory for its place and size."""

SLAB_BYTES = 4 * CUBE_BYTES
"""Cubes of a single chunk with more source bytes than this are computed in slabs of this size."""

INDEX_BYTES_PER_CHUNK = 16

INDEX_CACHE_BYTES = 32 << 20
"""Indices of source shards that are kept open."""

WRITER_BYTES_PER_CHUNK = 88
"""What a writer of a storage shard keeps of a chunk: its entry and digest, and their copies while the index is encoded."""

CHUNK_BYTES = 32
"""The bookkeeping for one chunk of a source shard that was read: its place and size."""

FILE_CHUNK_BYTES = 350
"""The bookkeeping for one chunk file that was read."""

FILE_BYTES = 1100
"""What a chunk file takes until its unit is committed: its names, size and checksum (measured: 900 to 1000)."""

WINDOW_CUBE_BYTES = 2 << 20
"""Voxels of a cube that is read from a window of decoded rows: a thread holds some four copies of it while it is encoded."""

IMAGE_CUBE_BYTES = 8 << 20
"""Voxels of the cube of images that a thread reads and encodes, unless a cube of whole blocks is larger: opening a file takes time."""

WINDOW_BYTES = 256 << 20
"""Decoded rows of images that later cubes need are kept in memory up to this size, else in a file without a name."""

WINDOW_CUBES = 8
"""Rows are kept if they are smaller than this many cubes of whole blocks; else each thread reads cubes of whole blocks."""

CONNECTIONS = 4
"""Requests at once of a download job: they wait for the server most of the time."""


def cube_bytes_of(source_bytes_per_chunk: int, chunks: int) -> int:
    """Return how many source bytes the cubes of a unit with that many chunks have, unless a single chunk is made from more."""
    is_large = chunks * source_bytes_per_chunk >= LARGE_UNIT_CUBES * LARGE_CUBE_BYTES
    return LARGE_CUBE_BYTES if is_large and LARGE_CUBE_CHUNKS * source_bytes_per_chunk >= LARGE_CUBE_BYTES else CUBE_BYTES


def connections_of(threads: int) -> int:
    """Return how many requests at once a download job with `threads` cores has."""
    return max(CONNECTIONS, threads)


def in_flight(threads: int) -> int:
    """Return how many cubes may be in work or waiting to be appended at once."""
    return 1 if threads == 1 else 2 * threads


MOST_AHEAD = 3
"""How many cubes a worker may read ahead if reading is slow."""


class Ahead(NamedTuple):
    """How far a worker may read ahead.

    Attributes:
        most: how many cubes.
        held_bytes: the stored bytes of these and of the one in work; if not even three fit, none is read ahead.
    """

    most: int
    held_bytes: int


def ahead_of(source_bytes_per_chunk: int, cube_bytes: int) -> Ahead:
    """Return how far a worker may read ahead: not at all if cubes are read in parts."""
    return Ahead(MOST_AHEAD if source_bytes_per_chunk <= SLAB_BYTES else 0, 3 * cube_bytes + cube_bytes // 8)


def stored_bytes_held(stored: int, ahead: Ahead) -> int:
    """Return the most bytes that a worker holds: a cube of up to `stored` bytes, and those that it reads ahead."""
    return max(stored, min(stored * (1 + ahead.most), ahead.held_bytes))


def slots(workers: int, ahead: Ahead) -> int:
    """Return how many results may exist at once: for each worker two finished ones, one in work, and those read ahead."""
    return workers * (3 + ahead.most)


MOST_PARTS = 16
"""The most results of forked workers that are written together."""


def writing_slots(slot_bytes: int) -> int:
    """Return how many results may exist besides those in work: twice as many as are written together."""
    return 2 * min(MOST_PARTS, 1 + WRITE_BYTES // slot_bytes)


HANDOVER_BYTES = 32 << 20
"""The largest mag that is sampled along with the finer one, and kept until its turn to be written."""

LEAST_CUBES = 2
"""A worker is worth starting for this many cubes."""


def slot_bytes(spec: ArraySpec, chunks: int) -> int:
    """Return the most that some encoded chunks can take, with their sizes and digests."""
    return chunks * (8 + DIGEST_BYTES + spec.chunk_bytes + spec.chunk_bytes // 128 + 1024)


def source_bytes(spec: ArraySpec, factors: Vec3Int) -> int:
    """Return the bytes of decoded source that one chunk is computed from."""
    return spec.chunk_bytes * factors.prod()


def index_bytes(spec: ArraySpec) -> int:
    """Return the memory of one storage shard's index of chunks; chunk files have none."""
    return math.prod(spec.chunks_per_unit) * INDEX_BYTES_PER_CHUNK if spec.is_sharded else 0


def writer_bytes(spec: ArraySpec, size: Vec3Int) -> int:
    """Return the bytes that the writer of a unit keeps for its chunks when it writes a box of this size."""
    if spec.is_sharded:
        return math.prod(spec.chunks_per_unit) * WRITER_BYTES_PER_CHUNK
    chunk, unit = spatial(spec, spec.chunk_shape), spatial(spec, spec.unit_shape)
    # One more chunk for boxes that begin or end within one.
    return (size.ceildiv(chunk) + 1).pairmin(unit // chunk).prod() * FILE_BYTES
