"""Prove one unit: its files against its record, and that every chunk of it decodes."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import Position, UnitFacts
from wkpipe.plan.pending import UNKNOWN_CRC
from wkpipe.steps.verify_mag import MagOnDisk, refresh_command
from wkpipe.steps.verify_report import Problem
from wkpipe.storage.ledger import ADOPTED, DIRTY, WRITTEN, Record


@dataclass(frozen=True)
class UnitVerdict:
    """What became of one unit: the bytes that were read, the problem, and whether it is absent or only looks changed.

    `is_proven` tells that a checksum was recorded to hold it against (or that it holds nothing but the fill value).
    """

    unit: Position
    bytes_read: int = 0
    problem: Problem | None = None
    is_absent: bool = False
    is_touched: bool = False
    is_proven: bool = False


def unit_name(unit: Position) -> str:
    """Return a unit's name in messages."""
    return ".".join(map(str, unit))


def verify_unit(mag: MagOnDisk, unit: Position, record: Record | None, must_be_recorded: bool) -> UnitVerdict:
    """Prove one unit, reading all its files."""
    try:
        facts = mag.array.unit_facts(unit)
    except (WkpipeError, OSError) as error:
        return UnitVerdict(unit, problem=_problem(mag, unit, _reason(error), mag.mend_unit(unit)))
    if (locked := _unreadable(mag, unit)) is not None:
        what = f"{locked} can not be read: permission denied"
        return UnitVerdict(unit, problem=_problem(mag, unit, what, f"make it readable: chmod u+r {shlex.quote(str(locked))}"))
    difference = _difference(mag, unit, record, facts, must_be_recorded)
    decoding = _decoding_error(mag, unit) if facts is not None else None
    what = "; ".join(text for text in (difference, decoding) if text)
    is_touched = not what and record is not None and facts is not None and not record.matches(facts) and record.proof.crc32c == UNKNOWN_CRC
    return UnitVerdict(
        unit=unit,
        bytes_read=facts.size if facts is not None else 0,
        problem=_problem(mag, unit, what, _mend(mag, unit, record, facts, decoding is not None)) if what else None,
        is_absent=facts is None and record is None,
        is_touched=is_touched,
        is_proven=record is not None and record.proof.crc32c != UNKNOWN_CRC,
    )


def _unreadable(mag: MagOnDisk, unit: Position) -> Path | None:
    """Return a file of a unit that may not be read: that says nothing on its content."""
    return next((path for path in mag.array.unit_files(unit) if not os.access(path, os.R_OK)), None)


def _problem(mag: MagOnDisk, unit: Position, what: str, mend: str) -> Problem:
    return Problem(mag.layer.name, str(mag.entry.mag), unit_name(unit), what, mend)


def _difference(mag: MagOnDisk, unit: Position, record: Record | None, facts: UnitFacts | None, must_be_recorded: bool) -> str | None:
    """Return how the files differ from the record; None where they do not."""
    if record is None:
        if not must_be_recorded:
            return None
        return f"found {_amount(facts)} and no record of it in the ledger, expected a record of every storage shard"
    if record.origin == DIRTY:
        return f"found {_amount(facts)} that a write began to change and did not finish, expected a finished write"
    proof = record.proof
    if (facts is None) != proof.is_fill:
        return f"found {_amount(facts)}, expected {_recorded(record)} as the ledger recorded"
    if facts is None:
        return None
    if (facts.files, facts.size) != (proof.files, proof.size):
        return f"found {_amount(facts)}, expected {_recorded(record)} as the ledger recorded"
    if proof.crc32c == UNKNOWN_CRC:
        return None
    try:
        found = mag.array.prove_unit(unit)
    except (WkpipeError, OSError) as error:
        return _reason(error)
    if found is None or found.crc32c != proof.crc32c:
        crc = "no file" if found is None else f"the checksum {found.crc32c:08x}"
        return f"found {crc}, expected {proof.crc32c:08x} as the ledger recorded"
    return None


def _amount(facts: UnitFacts | None) -> str:
    if facts is None:
        return "no file"
    return f"{facts.size} bytes" if facts.files == 1 else f"{facts.size} bytes in {facts.files} files"


def _recorded(record: Record) -> str:
    proof = record.proof
    return "no file (nothing but the fill value)" if proof.is_fill else _amount(UnitFacts(proof.files, proof.size, proof.mtime_ns))


def _decoding_error(mag: MagOnDisk, unit: Position) -> str | None:
    try:
        mag.array.check_unit(unit)
    except (WkpipeError, OSError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """Return an error's message without the advice at its end: a problem has a better one."""
    text = " ".join(str(error).split()).split(" [source locations=")[0]
    return re.sub(r"; (?:copy|check|make|remove|it changed)\b[^;]*$", "", text)


def _mend(mag: MagOnDisk, unit: Position, record: Record | None, facts: UnitFacts | None, is_broken: bool) -> str:
    if record is not None and record.origin == DIRTY:
        return mag.remake_command() or "write the region again"
    if record is not None and record.origin in (ADOPTED, WRITTEN) and facts is not None and not is_broken and not record.matches(facts):
        return f"restore its files from a copy; or, if the change was meant, {refresh_command(mag.dataset, mag.layer)}"
    looks_unchanged = record is not None and facts is not None and record.matches(facts)
    return mag.mend_unit(unit, looks_unchanged)
