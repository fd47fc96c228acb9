"""Why a run did not end well: the errors that its tasks have noted, or what else can be told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import NotWritable, WkpipeError
from wkpipe.steps.job_note import error_notes
from wkpipe.steps.run import Run

FULL_BYTES = 1 << 20
"""With less space than this, Snakemake and the shells of its jobs fail before a task can note anything."""


ERROR_PREFIX = "wkpipe: "
"""What a step's error begins with in its log."""


def failure_of(run: Run, log: Path | None = None, code: int = 1) -> WkpipeError:
    """Return the error to raise for a run with failed tasks; `log` is Snakemake's, `code` its exit code (less than zero: a signal)."""
    notes = error_notes(run.directory)
    if notes:
        messages = list(dict.fromkeys(str(note["message"]) for note in notes))
        more = f" (and {len(messages) - 1} more errors)" if len(messages) > 1 else ""
        text = f"{messages[0]}{more}; {len(notes)} of {len(run.plan.tasks)} tasks failed, logs are in {run.directory / 'logs'}"
        return _error_of(notes[0]["exit_code"], text)
    # A disk that refuses the data may refuse the note as well; the jobs' output went another way.
    if said := _said_in_logs(run.directory / "logs"):
        return NotWritable(said) if said.startswith("can not write") else WkpipeError(said)
    for directory in (run.plan.dataset, run.plan.state):
        if (free := _free_bytes(directory)) < FULL_BYTES:
            return NotWritable(f"can not write {directory}: only {free} bytes are free; free some space and run the same command again")
    if code < 0:
        return WkpipeError(f"Snakemake was killed by signal {-code}; the same command goes on from there; its log is {log}")
    last = f": {_last_lines(log)}; its log is {log}" if log else ""
    return WkpipeError(f"Snakemake failed without a task's error{last}")


def _said_in_logs(directory: Path) -> str:
    """Return the first error that the jobs have printed; nothing where there is none."""
    for path in sorted(directory.rglob("*.log")):
        with contextlib.suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith(ERROR_PREFIX):
                    return line.removeprefix(ERROR_PREFIX)
    return ""


def _free_bytes(directory: Path) -> int:
    with contextlib.suppress(OSError):
        stat = os.statvfs(directory)
        return stat.f_bavail * stat.f_frsize
    return FULL_BYTES


def _error_of(exit_code: int, text: str) -> WkpipeError:
    """Return an error of the kind that has this exit code."""
    return next((kind for kind in _all_kinds(WkpipeError) if kind.exit_code == exit_code), WkpipeError)(text)


def _all_kinds(base: type[WkpipeError]) -> Iterator[type[WkpipeError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _all_kinds(kind)


def _last_lines(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])
    return "no output"
