"""What identifies the content of a unit of proof (see `wkpipe.formats.base` for the word)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Position: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class UnitFacts:
    """What can be seen of a unit's files without reading them: how many, their bytes in all, the newest mtime."""

    files: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class UnitProof:
    """What identifies the content of a unit: `UnitFacts` and a checksum.

    For a storage shard `crc32c` is the CRC-32C of the file. For a block of chunk files it is the CRC-32C of a table
    with one line ``<chunk key> <size> <crc32c, 8 hex digits>\\n`` per file, sorted by key (the path below the array).
    A unit that holds nothing but the fill value has no files: `files` = `size` = `crc32c` = `mtime_ns` = 0.
    """

    files: int
    size: int
    crc32c: int
    mtime_ns: int

    @property
    def is_fill(self) -> bool:
        return self.files == 0
