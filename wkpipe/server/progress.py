"""Progress: the reports of an upload while it is under way."""

from __future__ import annotations

import threading
import time

TROUBLE_SECONDS = 10.0
"""The least time between two reports of trouble."""


class Progress:
    """Receives the reports of an upload; this one ignores them."""

    def notice(self, text: str) -> None:
        """Report something that the user should know."""

    def doing(self, text: str) -> None:
        """Report what is being done now; may be called often with the same beginning."""

    def moved(self, done: int, total: int) -> None:
        """Report that `done` of `total` bytes are on the server or on their way; may be called often."""

    def trouble(self, text: str) -> None:
        """Report that something has failed for some seconds and is tried again."""


class OneAtATime(Progress):
    """Passes on the reports of all threads, one call at a time, and trouble not too often."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.RLock()
        self._troubled = -TROUBLE_SECONDS

    def notice(self, text: str) -> None:
        with self._lock:
            self._progress.notice(text)

    def doing(self, text: str) -> None:
        with self._lock:
            self._progress.doing(text)

    def moved(self, done: int, total: int) -> None:
        with self._lock:
            self._progress.moved(done, total)

    def trouble(self, text: str) -> None:
        with self._lock:
            if time.monotonic() - self._troubled >= TROUBLE_SECONDS:
                self._troubled = time.monotonic()
                self._progress.trouble(text)
