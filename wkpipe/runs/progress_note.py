"""The progress of a task: a number in a file of the run, for display only; it proves nothing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.storage.notes import note_text
from wkpipe.stored.places import place_at

DIRECTORY = "progress"
WRITE_SECONDS = 0.5


class ProgressNote:
    """Counts the voxels that a task has made, and writes the count into a file now and then."""

    def __init__(self, run: Path, task: str) -> None:
        self._place, self._task = place_at(run).child(DIRECTORY), task
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
        """Write the count; a disk that cannot take it must not stop the task."""
        self._place.note(self._task, str(self._voxels))


def voxels_done(run: Path) -> int:
    """Return how many voxels the tasks of a run have counted."""
    total = 0
    place = place_at(run).child(DIRECTORY)
    with contextlib.suppress(WkpipeError):
        for task in place.names():
            with contextlib.suppress(WkpipeError, ValueError):  # being written just now
                total += int(note_text(place, task))
    return total
