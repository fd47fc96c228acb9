"""UploadProgress: shows an upload: bytes, rate, time left. On a terminal one live line, else a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TextIO

from wkpipe.plan.space import size_text
from wkpipe.run.progress import LIVE_SECONDS, PLAIN_SECONDS, duration
from wkpipe.server.progress import Progress

RATE_SECONDS = 30.0
"""The rate is that of so many last seconds."""


class UploadProgress(Progress):
    """Writes to `stream`, by default to stderr; `is_quiet` leaves nothing but notices."""

    def __init__(self, is_quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_live = self._stream.isatty()
        self._is_quiet = is_quiet
        self._doing = "beginning"
        self._shown = 0.0
        self._troubled = -PLAIN_SECONDS
        self._is_open = False
        self._points: deque[tuple[float, int]] = deque()

    def notice(self, text: str) -> None:
        self.close()
        print(f"wkpipe: {text}", file=self._stream, flush=True)

    def doing(self, text: str) -> None:
        is_new = text.partition(",")[0] != self._doing.partition(",")[0]
        self._doing = text
        if self._is_due(is_new):
            self._show(text)

    def moved(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_SECONDS:
            self._points.popleft()
        if self._is_due(done == total):
            self._show(self.line(done, total))

    def trouble(self, text: str) -> None:
        if not self._is_quiet and time.monotonic() - self._troubled >= PLAIN_SECONDS:
            self._troubled = time.monotonic()
            self.notice(text)

    def line(self, done: int, total: int) -> str:
        """Return the line for so many bytes of all."""
        (begin, first), (end, last) = self._points[0], self._points[-1]
        rate = max(0.0, (last - first) / (end - begin)) if end > begin else 0.0
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        percent = 100 * done // max(total, 1)
        return f"{self._doing}: {size_text(done)} of {size_text(total)} ({percent} %), {size_text(rate)}/s{left}"

    def close(self) -> None:
        """End the live line."""
        if self._is_open:
            self._is_open = False
            print("\r\x1b[K", end="", file=self._stream, flush=True)

    def _is_due(self, is_news: bool) -> bool:
        now = time.monotonic()
        if self._is_quiet or not (is_news or now - self._shown >= (LIVE_SECONDS if self._is_live else PLAIN_SECONDS)):
            return False
        self._shown = now
        return True

    def _show(self, line: str) -> None:
        if self._is_live:
            self._is_open = True
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)
