"""What identifies the content of a unit of proof (`wkpipe.formats.base` explains the term)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

Position: TypeAlias = tuple[int, ...]

UNKNOWN_CRC: Final = -1

MTIME: Final = "mtime"  # of a file, in nanoseconds
MTIMES: Final = "mtimes"  # of a block of chunk files: keys, sizes and mtimes, hashed
ETAG: Final = "etag"  # of an object in an object store


class Stamp(NamedTuple):
    """The stamp of a unit's files, its kind and value: a place gives them another one after every change."""

    kind: str
    value: int | str


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """The facts of a unit's files that are known without reading them: their number, total size in bytes, and stamp.

    `mtime_ns` is the newest mtime: records of the first version identify a block of chunk files with it.
    """

    files: int
    size: int
    stamp: Stamp
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class UnitProof:
    """What identifies the content of a unit.

    `digest` is the identity of the content, see `wkpipe.storage.digest`; empty if it is not known. For a storage
    shard `crc32c` is the CRC-32C (RFC 3720) of the file. For a block of chunk files it is that of a table with one line
    ``<chunk key> <size> <crc32c, 8 hex digits>\\n`` per file, sorted by key (the path below the array); -1: not known.
    Transports use it; it proves nothing. A unit that has only the fill value has no files: `FILL`.
    """

    files: int
    size: int
    crc32c: int
    stamp: Stamp
    digest: str = ""

    @property
    def is_fill(self) -> bool:
        return self.files == 0

    @property
    def is_known(self) -> bool:
        """True if the content is known, so that other files can be compared with it."""
        return self.is_fill or bool(self.digest)

    def matches(self, facts: UnitFacts | None) -> bool:
        """True if files with these facts can be the recorded ones: number, size and stamp agree, or both are absent."""
        if facts is None:
            return self.is_fill
        if (facts.files, facts.size) != (self.files, self.size):
            return False
        return self.stamp == facts.stamp or self.stamp == (MTIME, facts.mtime_ns)

    def has_content_of(self, other: UnitProof | None) -> bool:
        """True if both are known to have the same content."""
        if other is None:
            return self.is_fill
        return self.is_known and (self.files, self.size, self.digest) == (other.files, other.size, other.digest)


FILL: Final = UnitProof(0, 0, 0, Stamp(MTIME, 0))


def unread(facts: UnitFacts | None) -> UnitProof:
    """Return the proof of files that were not read: it is valid until their stamp changes."""
    return FILL if facts is None else UnitProof(facts.files, facts.size, UNKNOWN_CRC, facts.stamp)


def is_other_content(recorded: UnitProof, found: UnitProof) -> bool:
    """True if files surely differ from the recorded content; a recorded CRC-32C can prove a difference, but never equality."""
    if (recorded.files, recorded.size) != (found.files, found.size):
        return True
    if recorded.digest and found.digest:
        return recorded.digest != found.digest
    return UNKNOWN_CRC not in (recorded.crc32c, found.crc32c) and recorded.crc32c != found.crc32c
