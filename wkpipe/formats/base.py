"""What every storage format offers: reading any region, and streaming one unit of proof at a time.

Words: a *chunk* is what is compressed at once; a *storage shard* is one file that holds many chunks; a *unit* (of
proof) is what is written, committed and recorded at once: a storage shard, or, where every chunk is a file of its
own (Zarr 2, unsharded Zarr 3), an aligned block of about 1024³ voxels of chunk files.

All positions and shapes are in array order, one value per entry of `ArraySpec.axes`, and count voxels of the array's
own mag from its origin. All blocks of voxels are numpy arrays with these axes, Fortran-contiguous where wkpipe makes
them: the first axis lies closest in memory, as in the files.
"""

from __future__ import annotations

import enum
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np

from wkpipe.storage.commit import Scratch
from wkpipe.storage.digest import DIGEST_BYTES, table_stamp
from wkpipe.storage.proof import MTIME, MTIMES, Position, Stamp, UnitFacts, UnitProof

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

__all__ = [
    "NO_COMPRESSION",
    "ArraySpec",
    "Compression",
    "DataFormat",
    "EncodedChunks",
    "Fetched",
    "Ints",
    "Position",
    "StoredArray",
    "UnitFacts",
    "UnitProof",
    "UnitWriter",
    "Voxels",
]

UNIT_EDGE = 1024


class DataFormat(enum.StrEnum):
    """The storage formats, by their names in datasource-properties.json."""

    WKW = "wkw"
    ZARR = "zarr"
    ZARR3 = "zarr3"
    N5 = "n5"
    PRECOMPUTED = "neuroglancerPrecomputed"

    @property
    def is_writable(self) -> bool:
        """Whether wkpipe writes this format; the others are read only."""
        return self in (DataFormat.WKW, DataFormat.ZARR, DataFormat.ZARR3)


@dataclass(frozen=True)
class Compression:
    """How chunks are compressed: ``none``, ``zstd``, ``lz4``, ``lz4hc``, or the name of another codec that is only read."""

    kind: str
    level: int | None = None

    @property
    def is_on(self) -> bool:
        return self.kind != "none"


NO_COMPRESSION = Compression("none")


@dataclass(frozen=True)
class ArraySpec:
    """How one mag of one layer lies on disk. Shapes are in array order; `dtype` is little-endian."""

    data_format: DataFormat
    axes: tuple[str, ...]
    shape: Position
    dtype: np.dtype[Any]
    chunk_shape: Position
    shard_shape: Position
    compression: Compression
    fill_value: int | float = 0

    @property
    def is_sharded(self) -> bool:
        """Whether one file holds a whole shard; else every chunk is a file of its own."""
        return self.data_format is DataFormat.WKW or self.chunk_shape != self.shard_shape

    @property
    def has_checksums(self) -> bool:
        """Whether decoding a chunk notices any change of its bytes: Zarr 3 as wkpipe writes it, with zstd's checksum."""
        return self.data_format is DataFormat.ZARR3 and self.compression.kind == "zstd"

    @property
    def unit_shape(self) -> Position:
        """The shape of a unit of proof; see the module's text."""
        if self.is_sharded:
            return self.shard_shape
        return tuple(
            chunk * max(1, UNIT_EDGE // chunk) if axis in "xyz" else chunk for axis, chunk in zip(self.axes, self.chunk_shape, strict=True)
        )

    @property
    def unit_grid(self) -> Position:
        """How many units the array has along every axis."""
        return tuple(-(-n // u) for n, u in zip(self.shape, self.unit_shape, strict=True))

    @property
    def chunks_per_unit(self) -> Position:
        """How many chunks a unit has along every axis."""
        return tuple(u // c for u, c in zip(self.unit_shape, self.chunk_shape, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """The size of one chunk, decoded."""
        return math.prod(self.chunk_shape) * self.dtype.itemsize


@dataclass(frozen=True)
class EncodedChunks:
    """Some chunks of a unit: their positions (chunks, axes) within it, and each one's bytes in `data`, one after the other.

    A size of 0 stands for a chunk that holds nothing but the fill value. `digests` holds one `digest_of` of 16 bytes for
    each of the others, in the same order: who encodes a chunk digests it too.
    """

    positions: Ints
    sizes: Ints
    data: bytes
    digests: bytes

    @classmethod
    def fill(cls, positions: Ints) -> EncodedChunks:
        """Return chunks that hold nothing but the fill value."""
        return cls(positions, np.zeros(len(positions), np.int64), b"", b"")

    def each(self) -> Iterator[tuple[Position, bytes | None, bytes | None]]:
        """Yield position, bytes and digest of every chunk; None stands for the fill value."""
        end = at = 0
        for position, size in zip(self.positions.tolist(), self.sizes.tolist(), strict=True):
            if not size:
                yield tuple(position), None, None
                continue
            start, end, at = end, end + size, at + DIGEST_BYTES
            yield tuple(position), self.data[start:end], self.digests[at - DIGEST_BYTES : at]


class UnitWriter(ABC):
    """Writes one unit as a stream of encoded chunks; nothing is visible before `commit`.

    `encode` and `encode_grid` may be called from many threads; the other methods from one. Used as a context manager, leaving without
    a commit discards what was written. The same chunks appended in the same order give the same bytes.
    """

    @abstractmethod
    def encode(self, chunk: Voxels) -> bytes | None:
        """Encode one whole chunk (`chunk_shape`); None where it holds nothing but the fill value."""

    @abstractmethod
    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        """Encode the chunks of a box of whole chunks; `voxels` is Fortran-contiguous.

        `cells` (chunks, axes) tells which chunks of the box, in the order they are to have; `positions` are the same
        chunks' positions within the unit.
        """

    @abstractmethod
    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        """Append an encoded chunk at its position within the unit (in chunks); each position at most once.

        `digest` is that of `encoded`, where it is known already.

        Positions that are never appended hold the fill value. Formats that prescribe an order of chunks in the file
        keep early ones aside in a file without a name, so that any order is allowed and memory stays bounded.
        """

    def append_all(self, encoded: EncodedChunks) -> None:
        """Append chunks in their order; see `append`."""
        for position, data, digest in encoded.each():
            self.append(position, data, digest)

    @abstractmethod
    def commit(self) -> UnitProof:
        """Make the unit durable and visible, replacing an earlier one; see `wkpipe.storage.commit`.

        Files of the earlier unit that the new one does not have (now fill) are removed.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written; harmless after `commit`."""

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class Fetched(Protocol):
    """A region's chunks that were read and not decoded yet."""

    @property
    def nbytes(self) -> int:
        """The bytes that were read."""

    def voxels(self) -> Voxels:
        """Decode them; see `StoredArray.read`."""


@dataclass(frozen=True)
class _ReadLater:
    """A region of an array that can not read and decode apart."""

    array: StoredArray
    start: Sequence[int]
    shape: Sequence[int]

    @property
    def nbytes(self) -> int:
        return 0

    def voxels(self) -> Voxels:
        return self.array.read(self.start, self.shape)


def facts_of_file(status: os.stat_result) -> UnitFacts:
    """Return what can be seen of a storage shard without reading it."""
    return UnitFacts(1, status.st_size, Stamp(MTIME, status.st_mtime_ns), status.st_mtime_ns)


def facts_of_files(found: Mapping[str, os.stat_result]) -> UnitFacts | None:
    """Return what can be seen of a block of chunk files, by key, without reading them; None if there are none."""
    if not found:
        return None
    stamp = Stamp(MTIMES, table_stamp({key: (status.st_size, status.st_mtime_ns) for key, status in found.items()}))
    newest = max(status.st_mtime_ns for status in found.values())
    return UnitFacts(len(found), sum(status.st_size for status in found.values()), stamp, newest)


class StoredArray(ABC):
    """One mag's array, opened. Reading is thread-safe."""

    survives_fork: ClassVar[bool] = True
    """Whether it may be read by a process that was forked from the one that opened it."""

    def __init__(self, path: Path, spec: ArraySpec) -> None:
        self.path = path
        self.spec = spec

    @property
    def encoder(self) -> str:
        """The name of what decides the bytes of the chunks that are written: parameters and library; empty if nothing can be."""
        return ""

    @property
    def notices_damage(self) -> bool:
        """Whether reading notices any change of the stored bytes, those of indices included."""
        return False

    # -- reading ------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        """Return a region as a Fortran-contiguous array.

        Chunks and files that are not there, and positions outside of the array, read as the fill value.

        Raises:
            DamagedShard: a stored chunk or shard can not be decoded; names the file.
            ValueError: a negative start or size.
        """

    def fetch(self, start: Sequence[int], shape: Sequence[int]) -> Fetched | None:
        """Read the stored bytes of a region that fits into memory, to be decoded later; None where nothing is stored.

        Raises: as `read`.
        """
        return None if self.is_fill(start, shape) else _ReadLater(self, start, shape)

    @abstractmethod
    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        """Tell from file names and shard indices alone whether a region has no stored chunk (False if in doubt)."""

    @abstractmethod
    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        """Return the stored bytes of a chunk (position in chunks, from the array's origin); None where absent."""

    # -- units --------------------------------------------------------------------------------------------------

    @abstractmethod
    def stored_units(self) -> Iterator[Position]:
        """Yield the positions (in units) that have at least one file, found by listing directories."""

    @abstractmethod
    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        """Return the existing files of a unit, sorted by chunk key."""

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        """Return what can be seen of a unit without reading it; None where it has no file."""
        return facts_of_files({path.relative_to(self.path).as_posix(): path.stat() for path in self.unit_files(unit)})

    @abstractmethod
    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        """Read a unit's files and return their proof; None where it has no file."""

    @abstractmethod
    def check_unit(self, unit: Sequence[int]) -> None:
        """Decode every chunk of a unit.

        Raises:
            DamagedShard: something can not be decoded; names the file and, where known, the chunk.
        """

    # -- writing ------------------------------------------------------------------------------------------------

    @abstractmethod
    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        """Start to write a unit anew.

        Raises:
            InputRefused: the array has a codec that wkpipe only reads.
        """

    @abstractmethod
    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        """Change the array's shape in its metadata; stored data stay as they are."""
