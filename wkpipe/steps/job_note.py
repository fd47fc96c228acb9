"""What a job notes of itself: that it has begun, where, and what it took when it had ended. It proves nothing.

A job that has begun and left neither an end nor an error was killed: by its node, for its memory or its time.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wkpipe.storage import disk
from wkpipe.storage.process import peak_memory

DIRECTORY = "jobs"
ERRORS = "errors"

NOTICES_FILE = "notices.txt"
"""What the user is to know while the run goes on, line by line."""


class JobNote:
    """The note of one attempt at a task, made when the job begins."""

    def __init__(self, run: Path, task: str) -> None:
        self._path = run / DIRECTORY / f"{task}.json"
        self._start = time.time()
        self._values = {"task": task, "host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID"), "start": self._start}
        self._write()

    def end(self, units: int = 0) -> None:
        """Note seconds, seconds of CPU, the memory (MB) of the largest process, and how many units were made."""
        own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._values |= {
            "seconds": round(time.time() - self._start, 3),
            "cpu_seconds": round(own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime, 3),
            "units": units,
            "largest_mb": max(peak_memory(), workers.ru_maxrss << 10) // 1_000_000,
        }
        self._write()

    def _write(self) -> None:
        disk.note(self._path, json.dumps(self._values))


def job_note(run: Path, task: str) -> dict[str, Any]:
    """Return what the last job for a task noted; nothing where it has not begun."""
    return _read(run / DIRECTORY / f"{task}.json")


def note_error(run: Path, task: str, exit_code: int, message: str, is_final: bool = True) -> None:
    """Note why a task failed; with more memory or time, one that is not final may succeed."""
    values = {"task": task, "exit_code": exit_code, "message": message, "is_final": is_final}
    disk.note(run / ERRORS / f"{task}.json", json.dumps(values))


def error_note(run: Path, task: str) -> dict[str, Any]:
    """Return the error of a task; nothing where there is none."""
    return _read(run / ERRORS / f"{task}.json")


def add_notice(run: Path, text: str) -> None:
    """Tell the user of a run something; a disk that can not take it must not stop the job."""
    print(text, flush=True)
    disk.add_note(run / NOTICES_FILE, f"{text}\n")


def forget_error(run: Path, task: str) -> None:
    """Remove the error of an earlier attempt."""
    disk.unlink(run / ERRORS / f"{task}.json")


def error_notes(run: Path) -> list[dict[str, Any]]:
    """Return the errors of a run's failed tasks: task, exit_code, message."""
    with contextlib.suppress(OSError):  # a disk that does not answer
        return [values for path in sorted((run / ERRORS).glob("*.json")) if (values := _read(path))]
    return []


def _read(path: Path) -> dict[str, Any]:
    values: Mapping[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):  # not there, or being written just now
        values = json.loads(path.read_text())
    return dict(values)
