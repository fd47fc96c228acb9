"""The ledger: which units of a mag are proven, by which parameters, from which input, with which content.

A ledger is a directory of segments. A segment is written by one process in one attempt and never changed after it:
every line is one record, ``<crc32c of the JSON, 8 hex digits> <JSON>\\n``, synced before the next unit begins. A line
that a crash cut short fails its CRC and is left out: the unit then counts as not proven and is made again. The newest
record of a unit holds. `fold` merges all segments into one, atomically, so that reading stays quick.

Records name units by position, never by path, so that a copied or moved dataset keeps its proofs.

A line of version 2 has ``"v": 2``. Lines of version 1 have a CRC-32C in the place of the digest: they are read as records
without a digest, which hold as long as size and mtime do, and prove nothing after that.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import google_crc32c

from wkpipe.errors import InputRefused
from wkpipe.storage import disk
from wkpipe.storage.access import unreadable
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.proof import MTIME, Position, Stamp, UnitFacts, UnitProof

SEGMENT_SUFFIX = ".segment"
VERSION = 2

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

MADE = "made"  # by a task of wkpipe, with parameters and inputs
WRITTEN = "written"  # by hand: through the library's `write`, or by another tool into a mag that wkpipe made
ADOPTED = "adopted"  # found without a record; known by its stamp, and by its digest once it was read
DIRTY = "dirty"  # a write has begun and not ended: the content is not known
DAMAGED = "damaged"  # verify found other files than the recorded ones and has begun to make the unit again


_NO_STATS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one unit.

    `params` is the hash of what defines its voxels and layout, `inputs` the identity of what it was made from,
    `token` the name of its content for what is made from it, which stays while the content provably stays. `stats` holds
    facts on the voxels that later steps need (smallest and largest value). `encoder` names the codec's parameters and the
    release of its library, `mag` the id of the mag that the unit belongs to; both are empty where they are not known.
    """

    unit: Position
    origin: str
    proof: UnitProof
    token: str
    params: str = ""
    inputs: str = ""
    stats: Mapping[str, Any] = field(default_factory=lambda: _NO_STATS)
    epoch: int = 0
    time_ns: int = 0
    encoder: str = ""
    mag: str = ""

    @property
    def age(self) -> tuple[int, int]:
        """Orders the records of one unit: the largest is the newest."""
        return (self.epoch, self.time_ns)

    def matches(self, facts: UnitFacts | None) -> bool:
        """True if files with these facts can be the recorded ones, see `UnitProof.matches`."""
        return self.proof.matches(facts)

    def is_made_by(self, params: str) -> bool:
        """Tell whether a task made the unit with these parameters, or `verify --adopt` took it for such a one."""
        return self.origin in (MADE, ADOPTED) and self.params == params

    def to_line(self) -> bytes:
        proof = self.proof
        values = {
            "unit": self.unit,
            "v": VERSION,
            "origin": self.origin,
            "proof": [proof.files, proof.size, proof.crc32c],
            "digest": proof.digest,
            "stamp": proof.stamp,
            "token": "" if self.token == proof.digest else self.token,
            "params": self.params,
            "encoder": self.encoder,
            "mag": self.mag,
            "inputs": self.inputs,
            "stats": dict(self.stats),
            "epoch": self.epoch,
            "time": self.time_ns,
        }
        text = json.dumps(values, separators=(",", ":")).encode()
        return b"%08x %s\n" % (google_crc32c.value(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> Record | None:
        """Parse a line of either version; None if it was cut short or damaged."""
        try:
            crc, text = line.rstrip(b"\n").split(b" ", 1)
            if int(crc, 16) != google_crc32c.value(text):
                return None
            values = json.loads(text)
            stats = values["stats"] or _NO_STATS
            proof = _proof_of(values)
            digest, token = proof.digest, values["token"]
            encoder, mag = values.get("encoder", ""), values.get("mag", "")
            if (
                set(map(type, (*values["unit"], values["epoch"], values["time"]))) != {int}
                or set(map(type, (values["origin"], token, values["params"], values["inputs"], encoder, mag))) != {str}
                or not set(map(type, stats.values())) <= {int, float}
            ):
                return None
            return cls(
                unit=tuple(values["unit"]),
                origin=sys.intern(values["origin"]),
                proof=proof,
                token=token or digest,
                params=sys.intern(values["params"]),
                inputs=values["inputs"],
                stats=stats,
                epoch=values["epoch"],
                time_ns=values["time"],
                encoder=sys.intern(encoder),
                mag=sys.intern(mag),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _proof_of(values: Mapping[str, Any]) -> UnitProof:
    """Return the proof that a line holds.

    Raises:
        ValueError, KeyError, TypeError: it holds none.
    """
    if "v" not in values:
        files, size, crc32c, mtime_ns = values["proof"]
        digest, kind, value = "", MTIME, mtime_ns
    elif values["v"] == VERSION:
        files, size, crc32c = values["proof"]
        digest, (kind, value) = values["digest"], values["stamp"]
    else:
        raise ValueError("a record of a later version")
    if set(map(type, (files, size, crc32c))) != {int} or set(map(type, (digest, kind))) != {str} or type(value) not in (int, str):
        raise TypeError("not a proof")
    return UnitProof(files, size, crc32c, Stamp(sys.intern(kind), value), digest)


def content_token(proof: UnitProof) -> str:
    """Return the token of a unit whose content is known; of one that was not read, its stamp stands for the content."""
    if proof.is_fill:
        return "fill"
    return proof.digest or f"{proof.files} {proof.size} {proof.stamp.kind} {proof.stamp.value}"


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
