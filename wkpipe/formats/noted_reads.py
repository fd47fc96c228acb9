"""NotedReads: what was read of a block of chunk files for its voxels, so that its digest needs no second read."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Sequence
from typing import Final

import google_crc32c
import numpy as np

from wkpipe.formats.base import ArraySpec, Position, UnitProof
from wkpipe.formats.proving import proof_of_files
from wkpipe.storage.commit import FileProof
from wkpipe.storage.digest import BLOCK_BYTES, digest_of, digest_of_small_file

_ENTRY: Final = struct.Struct("<qqI16s")
"""The state of a file and, once it is read, its mtime in nanoseconds, its CRC-32C and the digest of its bytes."""

ENTRY_BYTES: Final = _ENTRY.size

MOST_CELLS: Final = 1 << 17
"""Reads of units with more chunks than this are not noted: of blocks of 1024³ voxels, those with chunks smaller than 20³."""

_SIZE_PLUS_1: Final = np.dtype({"names": ["state"], "formats": ["<i8"], "offsets": [0], "itemsize": ENTRY_BYTES})
_UNREAD, _UNCLEAR = 0, -1  # a larger state is the size of the file + 1


def is_noted(spec: ArraySpec) -> bool:
    """True if reads of an array of chunk files are noted: its units have few enough chunks."""
    chunks = [min(n, -(-size // c)) for n, size, c in zip(spec.chunks_per_unit, spec.shape, spec.chunk_shape, strict=True)]
    return not spec.is_sharded and math.prod(chunks) <= MOST_CELLS


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
