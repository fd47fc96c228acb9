"""What was read of units for their voxels, so that their digests need no second read: of chunk files, and of shards."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import google_crc32c
import numpy as np

from wkpipe.formats.base import ArraySpec, Flags, Ints, Position, UnitProof, Voxels
from wkpipe.formats.proving import proof_of_files
from wkpipe.storage.commit import FileProof
from wkpipe.storage.digest import BLOCK_BYTES, DIGEST_BYTES, digest_of, digest_of_small_file

_ENTRY: Final = struct.Struct("<qqI16s")
"""The state of a file and, once it is read, its mtime in nanoseconds, its CRC-32C and the digest of its bytes."""

ENTRY_BYTES: Final = _ENTRY.size

MOST_CELLS: Final = 1 << 17
"""Reads of units with more chunks than this are not noted: of blocks of 1024³ voxels, those with chunks smaller than 20³."""

MOST_CHUNKS: Final = 1 << 20
"""Reads of storage shards that have room for more chunks than this, all together, are not noted."""

_CHUNK: Final = np.dtype({"names": ["state", "digest"], "formats": ["<i8", ("u1", DIGEST_BYTES)], "offsets": [0, 8], "itemsize": 24})
"""The mtime of a chunk's file in nanoseconds, or one of the states below, and the digest of its bytes."""

_SIZE_PLUS_1: Final = np.dtype({"names": ["state"], "formats": ["<i8"], "offsets": [0], "itemsize": ENTRY_BYTES})
_UNREAD, _UNCLEAR = 0, -1  # a larger state is the size of the file + 1


def is_noted(spec: ArraySpec) -> bool:
    """True if reads of an array of chunk files are noted: its units have few enough chunks."""
    chunks = [min(n, -(-size // c)) for n, size, c in zip(spec.chunks_per_unit, spec.shape, spec.chunk_shape, strict=True)]
    return not spec.is_sharded and math.prod(chunks) <= MOST_CELLS


def noted_bytes_of_shards(spec: ArraySpec, shards: int) -> int:
    """Return the bytes in which reads of some storage shards are noted; 0 if they are not."""
    chunks = shards * math.prod(spec.chunks_per_unit)
    return chunks * _CHUNK.itemsize if chunks <= MOST_CHUNKS else 0


class NotedReads:
    """The facts of the chunk files of one unit that were read, in memory that forked workers share.

    Parameters
    ----------
    first
        The first chunk of the unit.
    grid
        The number of its chunks along every axis; what is read of others is not noted.
    """

    def __init__(self, first: Position, grid: Position) -> None:
        self._first, self._grid = first, grid
        self._table = mmap.mmap(-1, max(1, math.prod(grid)) * ENTRY_BYTES)

    def note(self, position: Sequence[int], data: bytes, mtime_ns: int) -> None:
        """Note the content of a chunk file of the unit. If it is read again, it must be the same."""
        cell = 0
        for place, first, count in zip(position, self._first, self._grid, strict=True):
            if not 0 <= place - first < count:
                return
            cell = cell * count + place - first
        if len(data) > BLOCK_BYTES:
            return  # its digest is not that of its bytes
        entry = _ENTRY.pack(len(data) + 1, mtime_ns, google_crc32c.value(data), digest_of(data))
        start = cell * ENTRY_BYTES
        before = self._table[start : start + ENTRY_BYTES]
        if before == entry:
            return
        self._table[start : start + ENTRY_BYTES] = entry if not any(before) else _ENTRY.pack(_UNCLEAR, 0, 0, b"")

    def proof(self, key: Callable[[Sequence[int]], str]) -> UnitProof | None:
        """Return the proof of the files that were read; None if the content of one of them is not clear."""
        states = np.frombuffer(self._table, _SIZE_PLUS_1)["state"]
        if (states == _UNCLEAR).any():
            return None
        files = {}
        cells = np.flatnonzero(states != _UNREAD)
        positions = np.stack(np.unravel_index(cells, self._grid), axis=1) + np.array(self._first, np.int64)
        for cell, position in zip(cells.tolist(), positions.tolist(), strict=True):
            size, mtime_ns, crc, digest = _ENTRY.unpack_from(self._table, cell * ENTRY_BYTES)
            files[key(position)] = FileProof(size - 1, crc, mtime_ns, digest_of_small_file(size - 1, digest))
        return proof_of_files(files)


class NotedChunks:
    """The digests of those chunks of some storage shards that were read, in memory that forked workers share.

    Parameters
    ----------
    units
        The shards; what is read of others is not noted.
    grid
        The number of chunks of a shard along every axis.
    """

    def __init__(self, units: Iterable[Position], grid: Position) -> None:
        self._rows = {unit: row for row, unit in enumerate(units)}
        self._grid = grid
        chunks = math.prod(grid)
        memory = mmap.mmap(-1, max(1, len(self._rows) * chunks * _CHUNK.itemsize))
        self._table = np.frombuffer(memory, _CHUNK, len(self._rows) * chunks).reshape(len(self._rows), chunks)

    def note(self, unit: Position, positions: tuple[Ints, ...], chunks: Iterable[memoryview], mtime_ns: int) -> None:
        """Note the content of chunks of a shard, at `positions` along each axis of its grid. If one is read again, it must be the same."""
        if (row := self._rows.get(unit)) is None:
            return
        places = np.ravel_multi_index(positions, self._grid)
        entries = np.empty(len(places), _CHUNK)
        entries["state"] = mtime_ns
        entries["digest"] = np.frombuffer(b"".join(map(digest_of, chunks)), np.uint8).reshape(-1, DIGEST_BYTES)
        before = self._table[row, places]
        if before["state"].any():  # asked first: comparing entries is slow
            entries["state"][(before["state"] != _UNREAD) & (before != entries)] = _UNCLEAR
        self._table[row, places] = entries

    def known(self, unit: Position, mtime_ns: int) -> tuple[Flags, Voxels] | None:
        """Return which chunks of a shard were read, in index order, and the digest of each.

        None if they are not all of a file with this mtime, or if the content of one is not clear.
        """
        if (row := self._rows.get(unit)) is None:
            return None
        states = self._table[row]["state"]
        is_known = states != _UNREAD
        return (is_known, self._table[row]["digest"]) if (states[is_known] == mtime_ns).all() else None
