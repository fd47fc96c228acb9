"""A job on a cluster as its main process sees it: what it asks for, and what it has left behind."""

from __future__ import annotations

import contextlib
import enum
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from wkpipe.errors import one_line
from wkpipe.run.failure import ERROR_PREFIX
from wkpipe.steps.job_note import error_note, job_note

TAIL_BYTES: Final = 16 << 10


@dataclass(frozen=True)
class Left:
    """What a job has left: it is done, or it failed by an error of its own, or neither is known."""

    is_done: bool = False
    error: str = ""


class Records(Protocol):
    """Where a job leaves what tells how it ended."""

    def left(self, is_gone: bool = False) -> Left:
        """Return how the job ended, as far as it has told; once it `is_gone`, by all means."""

    def has_begun(self) -> bool:
        """Tell whether the job's process has begun its work."""


@dataclass(frozen=True)
class TaskRecords:
    """The marker and the notes of a task of a run."""

    run: Path
    rule: str
    task: str

    def left(self, is_gone: bool = False) -> Left:
        directory, marker = self.run / self.rule, f"{self.task}.done"
        if (directory / marker).exists() or (is_gone and _lists(directory, marker)):
            return Left(is_done=True)
        note = error_note(self.run, self.task)
        return Left(error=note["message"]) if note.get("is_final", False) else Left()

    def has_begun(self) -> bool:
        return bool(job_note(self.run, self.task))


@dataclass(frozen=True)
class ExitCodeFile:
    """The file into which the script of any other job writes its exit code."""

    path: Path

    def left(self, is_gone: bool = False) -> Left:
        if is_gone:
            _lists(self.path.parent, self.path.name)
        with contextlib.suppress(OSError):
            code = self.path.read_text().strip()
            if code:
                return Left(is_done=code == "0", error="" if code == "0" else f"the job's command ended with code {code}")
        return Left()

    def has_begun(self) -> bool:
        return True


def _lists(directory: Path, name: str) -> bool:
    """Tell whether a directory has a name, by reading it: NFS remembers for a while that a name was not there."""
    with contextlib.suppress(OSError):
        return any(path.name == name for path in directory.iterdir())
    return False


@dataclass
class ClusterJob:
    """A job, from when it may be submitted until it has ended for good.

    `name` is unique in the run. Memory is in MiB: `need_mib` is the prediction with its margin. None requests nothing, and takes the
    partition's default.
    """

    name: str
    script: str
    log: Path
    records: Records
    cpus: int
    need_mib: int
    memory_mib: int | None
    minutes: int | None
    options: tuple[str, ...] = ()
    attempt: int = 1
    id: str | None = None
    state: str = ""
    reason: str = ""
    missing: int = 0
    ended_at: float | None = None
    log_start: int = field(default=0, repr=False)

    def request(self) -> tuple[str, ...]:
        """Return sbatch's arguments for what the job is to have."""
        memory = () if self.memory_mib is None else (f"--mem={self.memory_mib}M",)
        limit = () if self.minutes is None else (f"--time={self.minutes}",)
        return ("--ntasks=1", f"--cpus-per-task={self.cpus}", *memory, *limit, *self.options)

    def tail(self) -> str:
        """Return the end of what this attempt has printed."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - TAIL_BYTES))
            return file.read().decode(errors="replace")
        return ""


class Cause(enum.Enum):
    """Why a job ended that has left no error of its own."""

    MEMORY = "ran out of memory"
    TIME = "ran out of time"
    NODE = "lost its node"
    PREEMPTED = "was preempted"
    CANCELLED = "was cancelled"
    ERROR = "failed"
    DEADLINE = "missed its deadline"
    NOT_STARTED = "could not start"
    UNKNOWN = "was killed"


_BY_STATE: Final = {
    "OUT_OF_MEMORY": Cause.MEMORY,
    "TIMEOUT": Cause.TIME,
    "NODE_FAIL": Cause.NODE,
    "BOOT_FAIL": Cause.NODE,
    "PREEMPTED": Cause.PREEMPTED,
    "DEADLINE": Cause.DEADLINE,
    "LAUNCH_FAILED": Cause.NODE,
}

_BY_LOG: Final = (
    (re.compile(r"oom.kill|out.of.memory|exceeded (job |step )?memory limit|MemoryError", re.IGNORECASE), Cause.MEMORY),
    (re.compile(r"DUE TO TIME LIMIT"), Cause.TIME),
    (re.compile(r"DUE TO NODE FAILURE"), Cause.NODE),
    (re.compile(r"DUE TO PREEMPTION"), Cause.PREEMPTED),
    (re.compile(r"CANCELLED AT (?!.*DUE TO JOB REQUEUE)"), Cause.CANCELLED),
)


def cause_of(job: ClusterJob) -> tuple[Cause, str]:
    """Return why a job ended that left no record, by its state and its log, and what it printed last that tells more."""
    tail = job.tail()
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    if (cause := _BY_STATE.get(job.state)) is not None:
        return cause, ""
    found = [cause for pattern, cause in _BY_LOG if pattern.search(tail)]
    if job.state == "CANCELLED" and not found:
        found = [Cause.CANCELLED]
    if found:
        return found[0], ""
    own = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    if own:
        return Cause.ERROR, one_line(own[-1])
    said = one_line(lines[-1], 300) if lines else ""
    return (Cause.UNKNOWN if job.records.has_begun() else Cause.NOT_STARTED), said
