"""The notes of a job: that it has begun, where, and the resources that it had used at its end. They prove nothing.

A job that has begun and noted neither an end nor an error was killed: by its node, or because of its memory or time.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from wkpipe.errors import WkpipeError
from wkpipe.storage.notes import NoteSeries, note_values
from wkpipe.storage.place import Place
from wkpipe.storage.process import peak_memory
from wkpipe.stored.places import place_at

ERROR_PREFIX = "wkpipe: "
"""The prefix of a step's error in its log."""

DIRECTORY = "jobs"
ERRORS = "errors"

JOB_ID_VARIABLE = "WKPIPE_JOB_ID"
"""The environment variable with the cluster's id of the job that a process belongs to."""

PROCESS_ID_VARIABLE = "WKPIPE_PROCESS_ID"
"""The environment variable with an id that is unique to each process that the cluster starts for a job, if the cluster has such ids."""

VERSION_VARIABLE = "WKPIPE_VERSION"
"""The environment variable with the version of wkpipe that has submitted the job."""

NOTICES = "notices"
"""The directory of the notices for the user during the run."""


class JobNote:
    """The note of one attempt at a task, written when the job begins."""

    def __init__(self, run: Path, task: str) -> None:
        self._place, self._key = place_at(run), f"{DIRECTORY}/{task}.json"
        self._start = time.time()
        about = {"job": os.environ.get(JOB_ID_VARIABLE), "process": os.environ.get(PROCESS_ID_VARIABLE)}
        self._values = {"task": task, "host": socket.gethostname(), **about, "start": self._start}
        self._write()

    def end(self, units: int = 0) -> None:
        """Record seconds, CPU seconds, the memory (MB) of the largest process, and the number of units made."""
        own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._values |= {
            "seconds": round(time.time() - self._start, 3),
            "cpu_seconds": round(own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime, 3),
            "units": units,
            "largest_mb": max(peak_memory(), workers.ru_maxrss << 10) // 1_000_000,
        }
        self._write()

    def _write(self) -> None:
        self._place.note(self._key, json.dumps(self._values))


def this_process() -> str:
    """Return an id of this process that no other process of the run has."""
    return os.environ.get(PROCESS_ID_VARIABLE) or uuid.uuid4().hex


def job_note(run: Path, task: str) -> dict[str, Any]:
    """Return the note of the last job for a task; empty if none has begun."""
    return note_values(place_at(run), f"{DIRECTORY}/{task}.json")


def note_error(run: Path, task: str, exit_code: int, message: str, is_final: bool = True) -> None:
    """Record why a task failed; if the error is not final, the task may succeed with more memory or time."""
    values = {"task": task, "exit_code": exit_code, "message": message, "is_final": is_final}
    place_at(run).note(f"{ERRORS}/{task}.json", json.dumps(values))


def error_note(run: Path, task: str) -> dict[str, Any]:
    """Return the error of a task; empty if there is none."""
    return note_values(place_at(run), f"{ERRORS}/{task}.json")


def add_notice(run: Path, text: str) -> None:
    """Print a notice, and leave it for the user of a run."""
    print(text, flush=True)
    leave_notice(place_at(run), text)


def leave_notice(run: Place, text: str) -> None:
    """Leave a notice for the user in the place of a run, as a note of its own; a disk that cannot take it must not stop the job."""
    NoteSeries(run.child(NOTICES)).add(f"{text}\n")


def forget_error(run: Path, task: str) -> None:
    """Remove the error of an earlier attempt."""
    place_at(run).remove([f"{ERRORS}/{task}.json"])


def error_notes(run: Path) -> list[dict[str, Any]]:
    """Return the errors of a run's failed tasks: task, exit_code, message."""
    with contextlib.suppress(WkpipeError):  # a disk that does not answer
        return [values for name in sorted(place_at(run).names(ERRORS)) if (values := note_values(place_at(run), f"{ERRORS}/{name}"))]
    return []
