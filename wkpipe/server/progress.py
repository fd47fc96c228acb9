"""Progress: what an upload tells of itself while it is under way."""

from __future__ import annotations

import threading
import time

TROUBLE_SECONDS = 10.0
"""Trouble is told so often."""


class Progress:
    """Is told how an upload goes; this one keeps silent."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def doing(self, text: str) -> None:
        """What is being done now; may come often with the same beginning."""

    def moved(self, done: int, total: int) -> None:
        """`done` of `total` bytes are on the server or on their way; may come often."""

    def trouble(self, text: str) -> None:
        """Something fails for some seconds already and is tried again."""


class OneAtATime(Progress):
    """Hands on what any thread tells, one call at a time, and trouble not too often."""

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
