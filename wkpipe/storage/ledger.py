"""The ledger: the proven units of a mag, with their parameters, inputs and content.

A ledger is a directory of segments. A segment is written as a whole and never changes: one for each unit, durable before
the next unit begins, which the writer merges. Every line is one record (`wkpipe.storage.lines`). A damaged line is ignored:
the unit then counts as not proven and is made again. The newest record of a unit counts. `fold` merges all segments into one,
atomically, so that reading stays quick.

Records name units by position, never by path, so that a copied or moved dataset keeps its proofs.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from wkpipe.errors import DamagedShard, InputRefused, UnreadableInput
from wkpipe.storage.access import unreadable
from wkpipe.storage.lines import MOST_LINE_BYTES, lines_of
from wkpipe.storage.local import as_place
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Opened, Place
from wkpipe.storage.proof import Position
from wkpipe.storage.record import Record

SEGMENT_SUFFIX = ".segment"

LINES_AT_ONCE = 4096
"""How many lines are written at once: a dataset may have a million units, and their lines need not be in memory together."""

BISECTED_FROM = 1 << 20
"""Larger sorted segments are searched by bisection instead of read: a job needs a few of a million units."""

SORTED = "sorted"
"""The name of a writer that adds all records of its segment at once, sorted by unit."""

_FOLDED = "-folded-"
_IS_FOLDED = re.compile(rf"\d{{6}}{_FOLDED}[0-9a-f]{{8}}{re.escape(SEGMENT_SUFFIX)}")
_IS_SORTED = re.compile(rf"\d{{6}}-(folded|{SORTED})-[0-9a-f]{{8}}{re.escape(SEGMENT_SUFFIX)}")
_UNIT_AT = len('00000000 {"unit":[')
"""Where the unit's position begins in a line."""

_MERGED_TOGETHER: Final = 16
"""A writer merges this many segments of equal size into one, so each record is written again once per power of this number."""

_WINDOW_BYTES: Final = 4096
"""How much is read to find one line; most lines have a few hundred bytes."""


@dataclass(frozen=True)
class Ledger:
    """The newest record of every unit, and the number of damaged lines that were ignored."""

    records: Mapping[Position, Record]
    damaged_lines: int = 0

    @classmethod
    def load(cls, where: Place | Path, only: Iterable[Position] | None = None) -> Ledger:
        """Read all segments of a ledger; one that does not exist is empty.

        With `only`, records of other units are skipped unread: a job's work must not grow with the dataset.

        Raises:
            UnreadableInput: a segment cannot be read; names its owner.
            InputRefused: there is something other than a directory where the ledger should be.
        """
        place = as_place(where)
        wanted = None if only is None else frozenset(only)
        reader = _SegmentReader(place, wanted)
        reader.read_all()
        return cls(reader.records, reader.damaged_lines)

    def get(self, unit: Position) -> Record | None:
        return self.records.get(unit)

    def with_newer(self, records: Iterable[Record]) -> Ledger:
        """Return the ledger with newer records, which may not be written yet."""
        return Ledger({**self.records, **{record.unit: record for record in records}}, self.damaged_lines)

    def __bool__(self) -> bool:
        return bool(self.records)


def _segments(place: Place) -> list[str]:
    """Return the keys of all segments, sorted."""
    segments = sorted(name for name in place.names() if name.endswith(SEGMENT_SUFFIX))
    if not segments:
        with contextlib.suppress(DamagedShard):  # a directory, as it should be
            if place.facts("") is not None:
                raise InputRefused(where=place.path(), found="something that is not a directory", expected="a ledger", fix="remove it")
    return segments


class _SegmentReader:
    """The segments of a ledger that were read so far.

    A writer may merge segments while they are listed and read: the records of a segment that is gone are in a merged one.
    """

    def __init__(self, place: Place, wanted: frozenset[Position] | None) -> None:
        self._place = place
        self._wanted = wanted
        self._texts = None if wanted is None else frozenset(map(_unit_text, wanted))
        self._read: set[str] = set()
        self.records: dict[Position, Record] = {}
        self.damaged_lines = 0

    def read_all(self) -> None:
        """Read all segments, each once, until there are no merged ones that were missed."""
        segments, gone = _segments(self._place), list[str]()
        while segments or gone:
            gone = [segment for segment in segments if not self._is_read(segment)]
            segments = [segment for segment in _segments(self._place) if _FOLDED in segment and segment not in self._read]

    def _is_read(self, segment: str) -> bool:
        """Read a segment; False if it is gone."""
        file = _opened(self._place, segment)
        if file is None:
            return False
        self._read.add(segment)
        for line in self._lines(file, segment):
            record = Record.from_line(line)
            if record is None:
                self.damaged_lines += 1
            elif record.unit not in self.records or self.records[record.unit].age <= record.age:
                self.records[record.unit] = record
        return True

    def _lines(self, file: Opened, segment: str) -> Iterator[bytes]:
        """Yield the lines of a segment; if some units are wanted, only theirs."""
        if self._wanted is not None and _IS_SORTED.fullmatch(segment) and file.size > BISECTED_FROM:
            found = _bisected(file, self._wanted)
            if found is not None:
                yield from found
                return
        for line in lines_of(file):
            if self._texts is None or line[_UNIT_AT : line.find(b"]", _UNIT_AT)] in self._texts:
                yield line


def _opened(place: Place, segment: str) -> Opened | None:
    """Open a segment; None if it was merged into another one."""
    try:
        return place.open(segment)
    except UnreadableInput:
        raise unreadable(place.path(segment), "ask its owner for the right to read it") from None


def _unit_text(unit: Position) -> bytes:
    """Return a unit's position as its lines hold it."""
    return ",".join(map(str, unit)).encode()


def _bisected(file: Opened, wanted: Iterable[Position]) -> list[bytes] | None:
    """Return the lines of some units of a sorted segment; None if the search meets a damaged line, which could mislead it."""
    found = []
    for unit in wanted:
        low, high = 0, file.size  # both begin a line
        while low < high:
            start, line = _line_at(file, low, (low + high) // 2, high)
            record = Record.from_line(line)
            if record is None:
                return None
            if record.unit == unit:
                found.append(line)
                break
            low, high = (start + len(line), high) if record.unit < unit else (low, start)
    return found


def _line_at(file: Opened, low: int, at: int, high: int) -> tuple[int, bytes]:
    """Return the start and the content of the line that contains the byte `at`; it may be incomplete. `low` and `high` begin lines."""
    window = _WINDOW_BYTES
    while True:
        first, end = max(low, at - window), min(high, at + window)
        data = file.read(first, end - first)
        start = data.rfind(b"\n", 0, at - first) + 1
        stop = data.find(b"\n", at - first) + 1 or len(data)
        is_whole = (start > 0 or first == low) and (data.endswith(b"\n", 0, stop) or end == high)
        if is_whole or window >= MOST_LINE_BYTES:
            return first + start, data[start:stop]
        window *= 4


class Later(Protocol):
    """What writes records later, together with others; see `wkpipe.storage.commits`."""

    def note(self, writer: LedgerWriter, records: Sequence[Record]) -> None: ...

    def noted(self, ledger: Place) -> list[Record]: ...

    def flush(self) -> None: ...


class LedgerWriter:
    """Adds records to a ledger; each is durable when `add` returns, unless `later` is given.

    Every call of `add` writes a segment. The writer merges its segments when there are many, and at its end if they are more
    than `keeps`, so that a task leaves one segment; a killed writer leaves a few more. `later` gets the records instead, and
    writes them with `segment` and `added` when the units that they prove are durable.
    """

    def __init__(self, where: Place | Path, epoch: int, name: str = "", keeps: int = 1, later: Later | None = None) -> None:
        self.place = as_place(where)
        self._later = later
        self._name = f"{epoch:06d}-{name or 'write'}"
        self._epoch = epoch
        self._keeps = keeps
        self._segments: list[tuple[int, str]] = []  # number of merges, and key

    def add(self, *records: Record) -> None:
        """Add records, stamped with the epoch and the time.

        Raises:
            NotWritable: the place refuses them.
            TryAgain: the writer's run has lost the dataset.
        """
        if not records:
            return
        if self._later is not None:
            self._later.note(self, records)
            return
        key, file = self.segment(records)
        with file:
            file.commit()
        self.added(key)

    def segment(self, records: Iterable[Record]) -> tuple[str, Pending]:
        """Write a segment, stamped with the epoch and the time, and return its key and file, which are still to be committed."""
        now = time.time_ns()
        lines = (replace(record, epoch=self._epoch, time_ns=now + i).to_line() for i, record in enumerate(records))
        key = f"{self._name}-{_unique()}{SEGMENT_SUFFIX}"
        return key, _written(self.place, key, lines)

    def added(self, key: str) -> None:
        """Note a segment that was committed, and merge it with others if they are many."""
        self._segments.append((0, key))
        while len(self._segments) >= _MERGED_TOGETHER and self._segments[-_MERGED_TOGETHER][0] == self._segments[-1][0]:
            self._merge(_MERGED_TOGETHER)

    def _merge(self, count: int) -> None:
        """Replace the last segments by one; those that were folded meanwhile are in the folded one."""
        last, key = self._segments[-count:], f"{self._name}{_FOLDED}{_unique()}{SEGMENT_SUFFIX}"
        there = (file for _, segment in last if (file := _opened(self.place, segment)) is not None)
        _write(self.place, key, (line for file in there for line in lines_of(file)))
        self.place.remove([segment for _, segment in last])
        self._segments[-count:] = [(last[-1][0] + 1, key)]

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._segments and self._later is not None and self._later.noted(self.place):
            self._later.flush()
        if kind is None and len(self._segments) > self._keeps:
            self._merge(len(self._segments))


def is_folded(segment: str) -> bool:
    """True if a segment is the result of `fold`."""
    return _IS_FOLDED.fullmatch(segment) is not None


def _unique() -> str:
    return uuid.uuid4().hex[:8]


def _write(place: Place, key: str, lines: Iterator[bytes]) -> None:
    """Write a segment."""
    with _written(place, key, lines) as file:
        file.commit()


def _written(place: Place, key: str, lines: Iterator[bytes]) -> Pending:
    """Write the content of a segment."""
    file = place.writer(key)
    try:
        while data := b"".join(itertools.islice(lines, LINES_AT_ONCE)):
            file.append(data)
    except BaseException:
        file.discard()
        raise
    return file


def fold(where: Place | Path, epoch: int) -> None:
    """Merge all segments into one that has only the newest record of each unit."""
    place = as_place(where)
    segments = _segments(place)
    ledger = Ledger.load(place) if segments else Ledger({})
    if len(segments) < 2 and not ledger.damaged_lines:
        return
    _write(place, f"{epoch:06d}{_FOLDED}{_unique()}{SEGMENT_SUFFIX}", (ledger.records[unit].to_line() for unit in sorted(ledger.records)))
    place.remove(segments)
