"""What every storage format offers: read any region, and write one unit of proof at a time as a stream.

`wkpipe.formats.spec` has the words. All positions and shapes are in array order, one value per entry of `ArraySpec.axes`, and
count voxels of the array's own mag from its origin. All blocks of voxels are numpy arrays with these axes. Those that wkpipe creates are
Fortran-contiguous: the first axis varies fastest in memory, as in the files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from wkpipe.formats.spec import NO_COMPRESSION, ArraySpec, Compression, DataFormat, Flags, Ints, Voxels, unit_name
from wkpipe.formats.unit_writer import EncodedChunks, UnitWriter
from wkpipe.storage.digest import table_stamp
from wkpipe.storage.place import Facts, Place
from wkpipe.storage.proof import MTIMES, Position, Stamp, UnitFacts, UnitProof
from wkpipe.storage.scratch import Scratch

__all__ = [
    "NO_COMPRESSION",
    "ArraySpec",
    "Compression",
    "DataFormat",
    "EncodedChunks",
    "Fetched",
    "Flags",
    "Ints",
    "Position",
    "StoredArray",
    "UnitFacts",
    "UnitProof",
    "UnitWriter",
    "Voxels",
    "unit_name",
]


class Fetched(Protocol):
    """The chunks of a region, read but not decoded yet."""

    @property
    def nbytes(self) -> int:
        """The number of bytes that were read."""

    def voxels(self) -> Voxels:
        """Decode the chunks; see `StoredArray.read`."""


@dataclass(frozen=True)
class _ReadLater:
    """A region of an array that reads and decodes in one step."""

    array: StoredArray
    start: Sequence[int]
    shape: Sequence[int]

    @property
    def nbytes(self) -> int:
        return 0

    def voxels(self) -> Voxels:
        return self.array.read(self.start, self.shape)


def facts_of_file(facts: Facts) -> UnitFacts:
    """Return what the file system says of a storage shard."""
    return UnitFacts(1, facts.size, facts.stamp, facts.modified_ns)


def facts_of_files(found: Mapping[str, Facts]) -> UnitFacts | None:
    """Return what the file system says of a block of chunk files, by key; None if there are none."""
    if not found:
        return None
    stamp = Stamp(MTIMES, table_stamp({key: (facts.size, facts.modified_ns) for key, facts in found.items()}))
    newest = max(facts.modified_ns for facts in found.values())
    return UnitFacts(len(found), sum(facts.size for facts in found.values()), stamp, newest)


class StoredArray(ABC):
    """The open array of one mag. Reading is thread-safe."""

    survives_fork: ClassVar[bool] = True
    """True if a process forked from the one that opened the array may read it."""

    def __init__(self, place: Place, spec: ArraySpec) -> None:
        self.place = place
        self.path = place.path()
        self.spec = spec

    @property
    def encoder(self) -> str:
        """The parameters and the library that decide the bytes of written chunks, as a name; empty if the array is read only."""
        return ""

    @property
    def notices_damage(self) -> bool:
        """True if reading notices every change of the stored bytes, including those of indices."""
        return False

    # -- reading ------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        """Return a region as a Fortran-contiguous array.

        Missing chunks and files, and positions outside the array, read as the fill value.

        Raises:
            DamagedShard: a stored chunk or shard cannot be decoded; names the file.
            ValueError: a negative start or size.
        """

    def fetch(self, start: Sequence[int], shape: Sequence[int]) -> Fetched | None:
        """Read the stored bytes of a region that fits into memory, to decode them later; None if nothing is stored.

        Raises: as `read`.
        """
        return None if self.is_fill(start, shape) else _ReadLater(self, start, shape)

    @abstractmethod
    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        """True if file names and shard indices show that a region has no stored chunk; False if in doubt."""

    @abstractmethod
    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        """Return the stored bytes of a chunk (position in chunks, from the array's origin); None if absent."""

    # -- units --------------------------------------------------------------------------------------------------

    def stored_chunks(self, unit: Sequence[int], chunks: Ints) -> EncodedChunks:
        """Return the stored bytes of chunks (count, axes) of a unit, which count from the unit's first chunk."""
        corner = np.array(unit, np.int64) * self.spec.chunks_per_unit
        return EncodedChunks.of(chunks, [self.read_encoded(chunk) for chunk in (chunks + corner).tolist()])

    @abstractmethod
    def stored_units(self) -> Iterator[Position]:
        """Yield the positions of units that have at least one file, found by listing directories."""

    @abstractmethod
    def unit_keys(self, unit: Sequence[int]) -> list[str]:
        """Return the keys of a unit's existing files in the array's place, sorted."""

    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        """Return a unit's existing files, sorted by their keys."""
        return [self.place.path(key) for key in self.unit_keys(unit)]

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        """Return what the file system says of a unit; None if it has no file."""
        found = {key: self.place.facts(key) for key in self.unit_keys(unit)}
        return facts_of_files({key: facts for key, facts in found.items() if facts is not None})

    @abstractmethod
    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        """Read a unit's files and return their proof; None if it has no file."""

    def note_reads(self, units: Iterable[Position]) -> None:  # noqa: B027  (most formats note nothing)
        """Note, from now on, what is read of some units, in forked processes too, for `proof_of_reads`."""

    def proof_of_reads(self, unit: Position) -> UnitProof | None:  # noqa: ARG002
        """Return the proof of those files of a unit that were read since `note_reads`, once; None if it is not known."""
        return None

    @abstractmethod
    def check_unit(self, unit: Sequence[int]) -> None:
        """Decode every chunk of a unit.

        Raises:
            DamagedShard: a chunk cannot be decoded; names the file and, if known, the chunk.
        """

    # -- writing ------------------------------------------------------------------------------------------------

    @abstractmethod
    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        """Start to write a unit from scratch.

        Raises:
            InputRefused: the array has a codec that wkpipe only reads.
        """

    @abstractmethod
    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        """Change the shape in the array's metadata; stored data stay as they are."""
