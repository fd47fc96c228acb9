"""The files in the state through which a job reports how it ended."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wkpipe.runs.job_note import error_note, job_note
from wkpipe.runs.job_result import has_result, job_result, mark_done


@dataclass(frozen=True)
class Left:
    """The report of a job: it is done, or it failed with its own error, or neither is known."""

    is_done: bool = False
    error: str = ""


class Records(Protocol):
    """The files through which a job reports how it ended."""

    def left(self, is_gone: bool = False) -> Left:
        """Return how the job ended, as far as it has reported; once it `is_gone`, bypass the file system's cache."""

    def has_begun(self) -> bool:
        """True if the job's process has begun its work."""

    def deliver(self) -> None:
        """Write Snakemake's marker, on this host, of a job that is done.

        Raises:
            WkpipeError: the result cannot be read, or the marker cannot be written.
        """


@dataclass(frozen=True)
class TaskRecords:
    """The result and the notes of a task of a run; `marker` is the file that shows Snakemake that the task is done."""

    run: Path
    task: str
    marker: Path

    def left(self, is_gone: bool = False) -> Left:
        if has_result(self.run, self.task, fresh=is_gone):
            return Left(is_done=True)
        note = error_note(self.run, self.task)
        return Left(error=note["message"]) if note.get("is_final", False) else Left()

    def has_begun(self) -> bool:
        return bool(job_note(self.run, self.task))

    def deliver(self) -> None:
        mark_done(self.marker, job_result(self.run, self.task))


@dataclass(frozen=True)
class ExitCodeFile:
    """The exit code that the script of any other job writes into a file; such a job makes Snakemake's files itself."""

    path: Path

    def left(self, is_gone: bool = False) -> Left:
        if is_gone:
            with contextlib.suppress(OSError):  # NFS caches for a while that a name does not exist
                list(self.path.parent.iterdir())
        with contextlib.suppress(OSError):
            code = self.path.read_text().strip()
            if code:
                return Left(is_done=code == "0", error="" if code == "0" else f"the job's command ended with code {code}")
        return Left()

    def has_begun(self) -> bool:
        return True

    def deliver(self) -> None:
        pass
