"""Why a run did not end well: the errors that its tasks have noted, or what else shows it."""

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
from wkpipe.steps.job_note import error_notes
from wkpipe.steps.run import Run
from wkpipe.storage import disk
from wkpipe.storage.process import killed_by, process_limit
from wkpipe.storage.reasons import has_no_inodes, refusal

FULL_BYTES = 1 << 20
"""With less space than this, Snakemake and the shells of its jobs fail before a task can note anything."""

ERROR_PREFIX = "wkpipe: "
"""What a step's error begins with in its log."""

RESUMES: Final = "the same command resumes"

_TAIL_BYTES: Final = 1 << 20
_STEP_ENDED: Final = re.compile(
    r"step\.sh\b.* (?P<task>\S+) > .*(returned non-zero exit status (?P<status>\d+)|died with <Signals\.\w+: (?P<signal>\d+)>)"
)
"""What Snakemake's log says of a step that failed; of one that was killed, the shell makes 128 + the signal's number."""
_DISK_ERROR: Final = re.compile(rf"OSError: \[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EROFS}|{errno.EIO})\]")
_NO_PROCESS: Final = re.compile(r"can't start new thread|fork: (retry: )?Resource temporarily unavailable|BlockingIOError: \[Errno 11\]")


def failure_of(run: Run, log: Path | None = None, code: int = 1) -> WkpipeError:
    """Return the error to raise for a run with failed tasks; `log` is Snakemake's, `code` its exit code (less than zero: a signal)."""
    if notes := error_notes(run.directory):
        messages = list(dict.fromkeys(str(note["message"]) for note in notes))
        more = f" (and {len(messages) - 1} more error{'s' if len(messages) > 2 else ''})" if len(messages) > 1 else ""
        text = f"{messages[0]}{more}; {len(notes)} of {len(run.plan.tasks)} tasks failed, logs are in {run.directory / 'logs'}"
        return _error_of(notes[0]["exit_code"], text)
    # A disk that refuses the data may refuse the note as well; the jobs' output went another way.
    if said := _said_in_logs(run.directory / "logs"):
        return NotWritable(said) if said.startswith("can not write") else WkpipeError(said)
    if (refused := _refused_by_disk(run)) is not None:
        return refused
    said = _tail(log)
    if (code_of_disk := _DISK_ERROR.search(said)) is not None:
        return refusal(run.directory, OSError(int(code_of_disk[1]), os.strerror(int(code_of_disk[1]))))
    if _NO_PROCESS.search(said):
        return WkpipeError(process_limit())
    if code < 0:
        return WkpipeError(f"Snakemake {killed_by(-code)}; {RESUMES}; its log is {log}")
    if killed := _killed_step(said):
        return WkpipeError(f"{killed}; {RESUMES}; logs are in {run.directory / 'logs'}")
    last = f": {_last_lines(said)}; its log is {log}" if log else ""
    return WkpipeError(f"Snakemake failed without a task's error{last}")


def _said_in_logs(directory: Path) -> str:
    """Return the first error that the jobs have printed; nothing if there is none."""
    with contextlib.suppress(OSError):
        for path in sorted(directory.rglob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith(ERROR_PREFIX):
                    return line.removeprefix(ERROR_PREFIX)
    return ""


def _refused_by_disk(run: Run) -> NotWritable | None:
    """Return what the disk says to a small file in the run's directory, or that it is full."""
    for directory in (run.plan.dataset, run.plan.state):
        if (free := _free_bytes(directory)) < FULL_BYTES:
            return NotWritable(f"can not write {directory}: only {free} bytes are free; free some space and run the same command again")
        if has_no_inodes(directory):
            return refusal(directory, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    try:
        disk.try_to_write(run.directory / "try")
    except NotWritable as error:
        return error
    return None


def _free_bytes(directory: Path) -> int:
    with contextlib.suppress(OSError):
        stat = os.statvfs(directory)
        return stat.f_bavail * stat.f_frsize
    return FULL_BYTES


def _killed_step(log: str) -> str:
    """Return which step was killed, by Snakemake's log; nothing if none was."""
    for match in _STEP_ENDED.finditer(log):
        number = int(match["signal"] or 0) or int(match["status"]) - 128
        if 0 < number < signal.NSIG:
            return f"task {match['task']} {killed_by(number)}"
    return ""


def _error_of(exit_code: int, text: str) -> WkpipeError:
    """Return an error of the kind that has this exit code."""
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
