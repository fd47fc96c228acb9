"""How far a task is: a number in a file of the run, for whoever watches; it proves nothing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from wkpipe.storage import disk

DIRECTORY = "progress"
WRITE_SECONDS = 0.5


class ProgressNote:
    """Counts the voxels that a task has made, and notes the count in a file now and then."""

    def __init__(self, run: Path, task: str) -> None:
        self._path = run / DIRECTORY / task
        self._voxels = 0
        self._last = 0.0

    def add(self, voxels: int) -> None:
        """Count more voxels."""
        self._voxels += voxels
        now = time.monotonic()
        if now - self._last >= WRITE_SECONDS:
            self._last = now
            self.write()

    def write(self) -> None:
        """Note the count; a disk that can not take it must not stop the task."""
        disk.note(self._path, str(self._voxels))


def voxels_done(run: Path) -> int:
    """Return how many voxels the tasks of a run have noted."""
    total = 0
    with contextlib.suppress(OSError):
        for path in (run / DIRECTORY).iterdir():
            with contextlib.suppress(OSError, ValueError):  # being written just now
                total += int(path.read_text())
    return total
