"""Why a run has failed: from the errors that its tasks have recorded, or else from logs and the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wkpipe.errors import NotWritable, WkpipeError
from wkpipe.runs.job_note import ERROR_PREFIX, error_notes
from wkpipe.runs.run import Run
from wkpipe.storage.process import killed_by, process_limit
from wkpipe.storage.reasons import refusal
from wkpipe.stored.places import place_at

FULL_BYTES = 1 << 20
"""With less space than this, Snakemake and the shells of its jobs fail before a task can record anything."""

RESUMES: Final = "the same command resumes"

_TAIL_BYTES: Final = 1 << 20
_STEP_ENDED: Final = re.compile(
    r"step\.sh\b.* (?P<task>\S+) > .*(returned non-zero exit status (?P<status>\d+)|died with <Signals\.\w+: (?P<signal>\d+)>)"
)
"""What Snakemake's log says of a failed step; if it was killed, the shell returns 128 + the signal's number."""
_DISK_ERROR: Final = re.compile(rf"OSError: \[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EROFS}|{errno.EIO})\]")
_NO_PROCESS: Final = re.compile(r"can't start new thread|fork: (retry: )?Resource temporarily unavailable|BlockingIOError: \[Errno 11\]")


def failure_of(run: Run, log: Path | None = None, code: int = 1) -> WkpipeError:
    """Return the error to raise for a run with failed tasks; `log` is Snakemake's, `code` its exit code (a signal if it is negative)."""
    if notes := error_notes(run.directory):
        messages = list(dict.fromkeys(str(note["message"]) for note in notes))
        more = f" (and {len(messages) - 1} more error{'s' if len(messages) > 2 else ''})" if len(messages) > 1 else ""
        text = f"{messages[0]}{more}; {len(notes)} of {len(run.plan.tasks)} tasks failed, logs are in {run.directory / 'logs'}"
        return _error_of(notes[0]["exit_code"], text)
    # A disk that refuses the data may refuse the record as well; the jobs' output took another way.
    if said := _said_in_logs(run.directory / "logs"):
        return NotWritable(said) if said.startswith("cannot write") else WkpipeError(said)
    if (refused := _refused_by_disk(run)) is not None:
        return refused
    said = _tail(log)
    if (code_of_disk := _DISK_ERROR.search(said)) is not None:
        return refusal(run.directory, OSError(int(code_of_disk[1]), os.strerror(int(code_of_disk[1]))))
    if _NO_PROCESS.search(said):
        return WkpipeError(process_limit())
    if code < 0:
        return WkpipeError(f"Snakemake {killed_by(-code)}", fix=f"{RESUMES}; its log is {log}")
    if killed := _killed_step(said):
        return WkpipeError(killed, fix=f"{RESUMES}; logs are in {run.directory / 'logs'}")
    last = f": {_last_lines(said)}; its log is {log}" if log else ""
    return WkpipeError(f"Snakemake failed without a task's error{last}")


def _said_in_logs(directory: Path) -> str:
    """Return the first error that a job has printed; an empty text if there is none."""
    with contextlib.suppress(OSError):
        for path in sorted(directory.rglob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith(ERROR_PREFIX):
                    return line.removeprefix(ERROR_PREFIX)
    return ""


def _refused_by_disk(run: Run) -> NotWritable | None:
    """Return the disk's refusal of a small file in the run's directory; None if it accepts the file and is not full."""
    try:
        for place in (run.plan.locations.data, run.plan.locations.store):
            place.check_room(FULL_BYTES)
        place_at(run.directory).put("try", b"?")
        place_at(run.directory).remove(["try"])
    except NotWritable as error:
        return error
    return None


def _killed_step(log: str) -> str:
    """Return which step was killed, from Snakemake's log; an empty text if none was."""
    for match in _STEP_ENDED.finditer(log):
        number = int(match["signal"] or 0) or int(match["status"]) - 128
        if 0 < number < signal.NSIG:
            return f"task {match['task']} {killed_by(number)}"
    return ""


def _error_of(exit_code: int, text: str) -> WkpipeError:
    """Return an error of the class that has this exit code."""
    return next((kind for kind in _all_kinds(WkpipeError) if kind.exit_code == exit_code), WkpipeError)(text)


def _all_kinds(base: type[WkpipeError]) -> Iterator[type[WkpipeError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _all_kinds(kind)


def _tail(log: Path | None) -> str:
    if log is not None:
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    return ""


def _last_lines(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "no output"
