"""Amounts, times and rates as a user reads them."""

from __future__ import annotations

import time
from collections import deque

from wkpipe.plan.cost.space import size_text

RATE_SECONDS = 30.0
"""The rate of a transfer is that of this many last seconds."""


def amount(value: float) -> str:
    for unit in ("", "k", "M", "G"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} T"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class TransferLine:
    """The progress of a transfer: bytes, rate, time left."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def moved(self, done: int) -> None:
        """Record how many bytes have been transferred so far."""
        now = time.monotonic()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_SECONDS:
            self._points.popleft()

    def text(self, doing: str, done: int, total: int) -> str:
        """Return the line for `done` of `total` bytes."""
        (begin, first), (end, last) = self._points[0], self._points[-1]
        rate = max(0.0, (last - first) / (end - begin)) if end > begin else 0.0
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        percent = 100 * done // max(total, 1)
        return f"{doing}: {size_text(done)} of {size_text(total)} ({percent} %), {size_text(rate)}/s{left}"
