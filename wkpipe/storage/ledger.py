"""The ledger: which units of a mag are proven, by which parameters, from which input, with which content.

A ledger is a directory of segments. A segment is written by one process in one attempt and never changed after it:
every line is one record, ``<crc32c of the JSON, 8 hex digits> <JSON>\\n``, synced before the next unit begins. A line
that a crash cut short fails its CRC and is left out: the unit then counts as not proven and is made again. The newest
record of a unit holds. `fold` merges all segments into one, atomically, so that reading stays quick.

Records name units by position, never by path, so that a copied or moved dataset keeps its proofs.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.storage import disk
from wkpipe.storage.access import unreadable
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.proof import Position
from wkpipe.storage.record import Record

SEGMENT_SUFFIX = ".segment"

LINES_AT_ONCE = 4096
"""How many lines are written in one go: a dataset may have a million units, their lines need not be in memory together."""

BISECTED_FROM = 1 << 20
"""Sorted segments of more bytes than this are not read to find some units, but searched: a job needs a few of a million."""

SORTED = "sorted"
"""The name for a writer that is given all records of its segment at once, sorted by unit."""

_FOLDED = "-folded-"
_IS_SORTED = re.compile(rf"\d{{6}}-(folded|{SORTED})-[0-9a-f]{{8}}{re.escape(SEGMENT_SUFFIX)}")
_UNIT_AT = len('00000000 {"unit":[')
"""Where the unit's position begins in a line."""

MOST_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class Ledger:
    """The newest record of every unit, and how many damaged lines were left out."""

    records: Mapping[Position, Record]
    damaged_lines: int = 0

    @classmethod
    def load(cls, directory: Path, only: Iterable[Position] | None = None) -> Ledger:
        """Read all segments of a ledger; one that does not exist is empty.

        With `only`, records of other units are passed over unread: what a job does must not grow with the dataset.
        """
        wanted = None if only is None else frozenset(only)
        while True:
            segments = _segments(directory)
            try:
                ledger = cls._merged(_lines(segments, wanted))
            except FileNotFoundError:
                continue  # folded meanwhile
            except PermissionError as error:
                raise unreadable(Path(error.filename or directory), "ask its owner for the right to read it") from None
            folded = [segment for segment in _segments(directory) if _FOLDED in segment.name]
            if set(folded) <= set(segments):
                return ledger

    @classmethod
    def _merged(cls, lines: Iterable[bytes]) -> Ledger:
        records: dict[Position, Record] = {}
        damaged = 0
        for line in lines:
            record = Record.from_line(line)
            if record is None:
                damaged += 1
            elif record.unit not in records or records[record.unit].age <= record.age:
                records[record.unit] = record
        return cls(records, damaged)

    def get(self, unit: Position) -> Record | None:
        return self.records.get(unit)

    def __bool__(self) -> bool:
        return bool(self.records)


def _segments(directory: Path) -> list[Path]:
    try:
        return sorted(
            Path(entry.path)
            for entry in os.scandir(directory)
            if entry.name.endswith(SEGMENT_SUFFIX) and entry.is_file(follow_symlinks=False)
        )
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise InputRefused(f"{directory}: something that is no directory is in the place of the ledger; remove it") from None


def _unit_text(unit: Position) -> bytes:
    """Return how a unit stands in its lines."""
    return ",".join(map(str, unit)).encode()


def _lines(segments: Iterable[Path], wanted: frozenset[Position] | None) -> Iterator[bytes]:
    """Yield the lines of segments; with `wanted`, those of these units alone.

    Raises:
        FileNotFoundError: a segment is gone.
    """
    texts = None if wanted is None else frozenset(map(_unit_text, wanted))
    for segment in segments:
        if wanted is not None and _IS_SORTED.fullmatch(segment.name) and os.stat(segment).st_size > BISECTED_FROM:
            found = _bisected(segment, wanted)
            if found is not None:
                yield from found
                continue
        with open(segment, "rb") as file:
            while line := file.readline(MOST_LINE_BYTES):
                if texts is None or line[_UNIT_AT : line.find(b"]", _UNIT_AT)] in texts:
                    yield line
                if not line.endswith(b"\n"):  # cut short by a crash; or no ledger at all
                    break


def _bisected(segment: Path, wanted: Iterable[Position]) -> list[bytes] | None:
    """Return the lines of some units of a sorted segment; None where a line on the way is damaged, so that the search may go astray."""
    found = []
    with open(segment, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for unit in wanted:
            low, high = 0, len(data)  # both begin a line
            while low < high:
                start = max(low, data.rfind(b"\n", low, (low + high) // 2) + 1)
                end = data.find(b"\n", start, start + MOST_LINE_BYTES) + 1
                record = Record.from_line(data[start:end])
                if record is None:
                    return None
                if record.unit == unit:
                    found.append(data[start:end])
                    break
                low, high = (end, high) if record.unit < unit else (low, start)
    return found


class LedgerWriter:
    """Appends records to a segment of its own; each record is durable when `add` returns."""

    def __init__(self, directory: Path, epoch: int, name: str = "") -> None:
        self._path = directory / f"{epoch:06d}-{name or 'write'}-{uuid.uuid4().hex[:8]}{SEGMENT_SUFFIX}"
        self._epoch = epoch
        self._descriptor = -1

    def add(self, *records: Record) -> None:
        """Append records, stamped with the epoch and the time."""
        if not records:
            return
        if self._descriptor < 0:
            disk.make_directory(self._path.parent)
            self._descriptor = disk.open_append(self._path)
            disk.sync_directory(self._path.parent)
        now = time.time_ns()
        lines = (replace(record, epoch=self._epoch, time_ns=now + i).to_line() for i, record in enumerate(records))
        while data := b"".join(itertools.islice(lines, LINES_AT_ONCE)):
            disk.write(self._descriptor, data, self._path)
        disk.sync(self._descriptor, self._path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fold(directory: Path, epoch: int, scratch: Scratch) -> None:
    """Merge all segments into one, without lines that do not count; the old ones are removed after the new one is durable."""
    segments = _segments(directory)
    ledger = Ledger.load(directory) if segments else Ledger({})
    if len(segments) < 2 and not ledger.damaged_lines:
        return
    records = ledger.records
    data = b"".join(records[unit].to_line() for unit in sorted(records))
    replace_file(directory / f"{epoch:06d}{_FOLDED}{uuid.uuid4().hex[:8]}{SEGMENT_SUFFIX}", data, scratch)
    for segment in segments:
        disk.unlink(segment)
    disk.sync_directory(directory)
