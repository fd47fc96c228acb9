"""UnitUpdate: some chunks of a unit are replaced, the others stay; readers see the old unit or the new one."""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitProof, Voxels
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.formats.wkw import WkwArray
from wkpipe.formats.wkw_header import SIZE as WKW_HEADER_SIZE
from wkpipe.formats.wkw_header import WkwHeader
from wkpipe.geometry.grid import morton_order
from wkpipe.storage.commit import PendingGroup, Scratch, remove_files
from wkpipe.storage.proof import FILL
from wkpipe.stored.axes import spatial, with_spatial


def chunk_positions(spec: ArraySpec) -> Iterator[Position]:
    """Yield the positions of a unit's chunks (in chunks, array order), x, y, z in Morton order."""
    grid = spec.chunks_per_unit
    others = [range(n) if axis not in "xyz" else range(1) for axis, n in zip(spec.axes, grid, strict=True)]
    cells = morton_order(spatial(spec, grid).to_tuple())
    for other in itertools.product(*others):
        for start in range(0, len(cells), 1024):
            for cell in cells[start : start + 1024].tolist():
                yield with_spatial(spec, other, cell)


class UnitUpdate(ABC):
    """Replaces chunks of one unit. Used as a context manager, leaving without a commit leaves the unit as it was.

    `encode` may be called from many threads. Chunks are given to `put` in the order of `positions`.
    """

    @abstractmethod
    def positions(self, first: Position, end: Position) -> Iterator[Position]:
        """Yield the chunks that the caller must hand to `put`: at least those from `first` to `end` (in chunks)."""

    @abstractmethod
    def encode(self, chunk: Voxels) -> bytes | None:
        """Encode a chunk; None where it holds nothing but the fill value."""

    @abstractmethod
    def stored(self, chunk: Position) -> bytes | None:
        """Return the encoded bytes of a chunk that stays as it is; None where it holds nothing but the fill value."""

    @abstractmethod
    def put(self, chunk: Position, encoded: bytes | None) -> None:
        """Take a chunk, encoded anew or as it was stored."""

    @abstractmethod
    def commit(self) -> UnitProof:
        """Make the unit durable and visible."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written; harmless after `commit`."""

    def __enter__(self) -> UnitUpdate:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def update_of(array: StoredArray, unit: Position, scratch: Scratch) -> UnitUpdate:
    """Begin to update a unit.

    Raises:
        InputRefused: the array has a codec that wkpipe only reads.
    """
    if isinstance(array, ChunkFilesArray):
        return ChunkFilesUpdate(array, unit, scratch)
    if isinstance(array, WkwArray):
        return WkwUpdate(array, unit, scratch)
    return ShardUpdate(array, unit, scratch)


class ShardUpdate(UnitUpdate):
    """Writes a storage shard anew; chunks that stay are copied as they are stored, without decoding them."""

    def __init__(self, array: StoredArray, unit: Position, scratch: Scratch) -> None:
        self.array = array
        self.unit = unit
        self._base = tuple(u * n for u, n in zip(unit, array.spec.chunks_per_unit, strict=True))
        self._writer = array.unit_writer(unit, scratch)
        self._exists = bool(array.unit_files(unit))

    def positions(self, first: Position, end: Position) -> Iterator[Position]:  # noqa: ARG002  (the whole file is written)
        return chunk_positions(self.array.spec)

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._writer.encode(chunk)

    def stored(self, chunk: Position) -> bytes | None:
        return self._read_stored(self._absolute(chunk)) if self._exists else None

    def _absolute(self, chunk: Position) -> Position:
        return tuple(b + p for b, p in zip(self._base, chunk, strict=True))

    def _read_stored(self, chunk: Position) -> bytes | None:
        return self.array.read_encoded(chunk)

    def put(self, chunk: Position, encoded: bytes | None) -> None:
        self._writer.append(chunk, encoded)

    def commit(self) -> UnitProof:
        return self._writer.commit()

    def discard(self) -> None:
        self._writer.discard()


class WkwUpdate(ShardUpdate):
    """A WKW file stores blocks of zeros too, and may be compressed otherwise than new files of its array are."""

    def __init__(self, array: WkwArray, unit: Position, scratch: Scratch) -> None:
        super().__init__(array, unit, scratch)
        self._header = array.header
        self._zero = array.zero_block(array.header) if array.header.is_compressed else b""

    @functools.cached_property
    def _has_same_codec(self) -> bool:
        # Asking the array for a block makes it check the file's header first.
        self.array.read_encoded(self._absolute((0,) * len(self.unit)))
        (path,) = self.array.unit_files(self.unit)
        with path.open("rb") as file:
            return WkwHeader.parse(file.read(WKW_HEADER_SIZE)).block_type == self._header.block_type

    def _read_stored(self, chunk: Position) -> bytes | None:
        if not self._has_same_codec:
            shape = self.array.spec.chunk_shape
            return self.encode(self.array.read([p * n for p, n in zip(chunk, shape, strict=True)], shape))
        encoded = self.array.read_encoded(chunk)
        if encoded is None or encoded == self._zero:
            return None
        return encoded if self._header.is_compressed or np.frombuffer(encoded, np.uint8).any() else None


class ChunkFilesUpdate(UnitUpdate):
    """Replaces just the touched files of a block of chunk files: a block has tens of thousands of them."""

    def __init__(self, array: ChunkFilesArray, unit: Position, scratch: Scratch) -> None:
        self._array = array
        self._unit = unit
        self._base = tuple(u * n for u, n in zip(unit, array.spec.chunks_per_unit, strict=True))
        self._scratch = scratch
        self._group = PendingGroup(scratch)
        self._gone: list[Path] = []

    def positions(self, first: Position, end: Position) -> Iterator[Position]:
        # The order of single files does not matter.
        return itertools.product(*(range(a, b) for a, b in zip(first, end, strict=True)))

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._array.coder.encode(chunk)

    def stored(self, chunk: Position) -> bytes | None:
        raise ValueError(f"{self._array.path}: chunk {chunk} is not touched, so its file stays")

    def put(self, chunk: Position, encoded: bytes | None) -> None:
        path = self._array.path / self._array.names.key([b + p for b, p in zip(self._base, chunk, strict=True)])
        if encoded is None:
            self._gone.append(path)
        else:
            self._group.add(path, encoded)

    def commit(self) -> UnitProof:
        self._group.commit()
        gone = [path for path in self._gone if path.exists()]
        if gone:
            remove_files(gone, self._scratch)
        return self._array.prove_unit(self._unit) or FILL

    def discard(self) -> None:
        self._group.discard()
