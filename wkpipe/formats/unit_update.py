"""UnitUpdate: replace some chunks of a unit and keep the others; readers see the old unit or the new one."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from wkpipe.formats.base import ArraySpec, EncodedChunks, Ints, Position, StoredArray, UnitProof, Voxels
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.formats.wkw import WkwArray
from wkpipe.formats.wkw_header import SIZE as WKW_HEADER_SIZE
from wkpipe.formats.wkw_header import WkwHeader
from wkpipe.geometry import SPATIAL_AXES
from wkpipe.geometry.grid import morton_order
from wkpipe.storage.proof import FILL
from wkpipe.storage.scratch import Scratch

_BLOCK = 1024
"""The positions that are handled at once."""


def chunk_positions(spec: ArraySpec) -> Iterator[Ints]:
    """Yield the positions (count, axes) of the chunks of a unit, in chunks and in array order, block by block; x, y, z in Morton order."""
    grid = spec.chunks_per_unit
    spatial = [spec.axes.index(axis) for axis in SPATIAL_AXES]
    others = [range(1 if i in spatial else n) for i, n in enumerate(grid)]
    cells = morton_order(tuple(grid[i] for i in spatial))
    for other in itertools.product(*others):
        for start in range(0, len(cells), _BLOCK):
            part = cells[start : start + _BLOCK]
            block = np.tile(np.array(other, np.int64), (len(part), 1))
            block[:, spatial] = part
            yield block


class UnitUpdate(ABC):
    """Replace chunks of one unit. A context manager: leaving it without a commit leaves the unit as it was.

    `encode` and `stored` may be called from many threads. Chunks are given to `put` in the order of `positions`.
    """

    @abstractmethod
    def positions(self, first: Position, end: Position) -> Iterator[Ints]:
        """Yield the chunks that the caller must give to `put`: at least those from `first` to `end` (in chunks), block by block."""

    @abstractmethod
    def encode(self, chunk: Voxels) -> bytes | None:
        """Encode a chunk; None if it holds nothing but the fill value."""

    @abstractmethod
    def stored(self, chunks: Ints) -> EncodedChunks:
        """Return chunks that stay as they are."""

    @abstractmethod
    def put(self, chunks: EncodedChunks) -> None:
        """Add chunks: newly encoded ones, or some as they were stored."""

    @abstractmethod
    def commit(self) -> UnitProof:
        """Make the unit durable and visible."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written; do nothing after `commit`."""

    def __enter__(self) -> UnitUpdate:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def update_of(array: StoredArray, unit: Position, scratch: Scratch) -> UnitUpdate:
    """Start an update of a unit.

    Raises:
        InputRefused: the array has a codec that wkpipe only reads.
    """
    if isinstance(array, ChunkFilesArray):
        return ChunkFilesUpdate(array, unit, scratch)
    if isinstance(array, WkwArray):
        return WkwUpdate(array, unit, scratch)
    return ShardUpdate(array, unit, scratch)


class ShardUpdate(UnitUpdate):
    """Rewrite a storage shard; chunks that stay are copied as they are stored, without decoding."""

    def __init__(self, array: StoredArray, unit: Position, scratch: Scratch) -> None:
        self.array = array
        self.unit = unit
        self._writer = array.unit_writer(unit, scratch)

    def positions(self, first: Position, end: Position) -> Iterator[Ints]:  # noqa: ARG002  (the whole file is written)
        return chunk_positions(self.array.spec)

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._writer.encode(chunk)

    def stored(self, chunks: Ints) -> EncodedChunks:
        return self.array.stored_chunks(self.unit, chunks)

    def put(self, chunks: EncodedChunks) -> None:
        self._writer.append_all(chunks)

    def commit(self) -> UnitProof:
        return self._writer.commit()

    def discard(self) -> None:
        self._writer.discard()


class WkwUpdate(ShardUpdate):
    """Rewrite a WKW file, which stores blocks of zeros too and may be compressed in another way than new files of its array."""

    def __init__(self, array: WkwArray, unit: Position, scratch: Scratch) -> None:
        super().__init__(array, unit, scratch)
        self._wkw = array

    @functools.cached_property
    def _has_same_codec(self) -> bool:
        return has_same_codec(self._wkw, self.unit)

    def stored(self, chunks: Ints) -> EncodedChunks:
        found = super().stored(chunks)  # it checks the file's header
        if not self._has_same_codec:
            return EncodedChunks.of(chunks, list(map(self._encoded_again, chunks.tolist())))
        return without_zeros(self._wkw, found)

    def _encoded_again(self, chunk: Position) -> bytes | None:
        spec = self.array.spec
        corner = [(u * k + p) * n for u, k, p, n in zip(self.unit, spec.chunks_per_unit, chunk, spec.chunk_shape, strict=True)]
        return self.encode(self.array.read(corner, spec.chunk_shape))


def has_same_codec(array: WkwArray, unit: Position) -> bool:
    """True if the file of a unit, if there is one, is compressed as new files of its array are."""
    (key,) = array.unit_keys(unit) or [""]
    file = array.place.open(key) if key else None
    return file is None or WkwHeader.parse(file.read(0, WKW_HEADER_SIZE)).block_type == array.header.block_type


def without_zeros(array: WkwArray, found: EncodedChunks) -> EncodedChunks:
    """Return stored blocks without those of zeros, which WKW files store too."""
    zero = array.zero_block(array.header) if array.header.is_compressed else b""

    def is_zero(encoded: bytes) -> bool:
        return encoded == zero if zero else not np.frombuffer(encoded, np.uint8).any()

    if not any(data is not None and is_zero(data) for _, data, _ in found.each()):
        return found
    return EncodedChunks.of(found.positions, [None if data is None or is_zero(data) else data for _, data, _ in found.each()])


class ChunkFilesUpdate(UnitUpdate):
    """Replace only the touched files of a block of chunk files: a block has tens of thousands of files."""

    def __init__(self, array: ChunkFilesArray, unit: Position, scratch: Scratch) -> None:
        self._array = array
        self._unit = unit
        self._base = tuple(u * n for u, n in zip(unit, array.spec.chunks_per_unit, strict=True))
        self._place = array.place.writing(scratch)
        self._group = self._place.group()
        self._gone: list[str] = []

    def positions(self, first: Position, end: Position) -> Iterator[Ints]:
        # The order of single files does not matter.
        grid = [b - a for a, b in zip(first, end, strict=True)]
        count = math.prod(grid)
        for start in range(0, count, _BLOCK):
            yield np.stack(np.unravel_index(np.arange(start, min(start + _BLOCK, count)), grid), axis=1) + np.array(first, np.int64)

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._array.coder.encode(chunk)

    def stored(self, chunks: Ints) -> EncodedChunks:
        return self._array.stored_chunks(self._unit, chunks)

    def put(self, chunks: EncodedChunks) -> None:
        for chunk, encoded, digest in chunks.each():
            key = self._array.names.key([b + p for b, p in zip(self._base, chunk, strict=True)])
            if encoded is None:
                self._gone.append(key)
            else:
                self._group.add(key, encoded, digest)

    def commit(self) -> UnitProof:
        self._group.commit()
        gone = [key for key in self._gone if self._place.has(key)]
        if gone:
            self._place.remove(gone)
        return self._array.prove_unit(self._unit) or FILL

    def discard(self) -> None:
        self._group.discard()
