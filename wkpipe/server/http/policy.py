"""Policy: how long a client waits, and how long it keeps trying."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

TRIED_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses of a server that may succeed later."""


@dataclass(frozen=True)
class Policy:
    """The times of a client, in seconds.

    Pauses grow from `first_pause` to `longest_pause`, with full jitter. A longer pause that a server requests (Retry-After) is
    kept up to `most_asked`. After `notify` without progress the user is informed; after `without_progress` the client gives
    up. `connect` and `idle` limit a connection, and a single read or write. A request of n bytes may take
    max(`least_total`, n / `least_rate`), the one that finishes an upload `finish`. `settle`: how long a server may still write
    after an attempt failed. `verify_pauses` are the pauses between questions for the outcome of an unanswered finish; the last
    one is repeated. After `verify_stuck` with no sign of work the finish is requested once more; after `verify` the client
    gives up. `usable`: how long a finished dataset may take to be usable. `was_reached`: an earlier process of the run has
    reached the server, so a name that cannot be resolved is a fault of the network, not a typing error.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    most_asked: float = 600.0
    without_progress: float = 900.0
    notify: float = 5.0
    connect: float = 30.0
    idle: float = 120.0
    least_total: float = 300.0
    least_rate: float = 50_000.0
    finish: float = 7200.0
    settle: float = 3.0
    verify_pauses: tuple[float, ...] = (5.0, 15.0, 30.0)
    verify_stuck: float = 180.0
    verify: float = 600.0
    usable: float = 60.0
    was_reached: bool = False

    @classmethod
    def brief(cls) -> Policy:
        """Return the policy for questions while a user waits: give up after a minute."""
        return cls(without_progress=60.0)

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Return how long to wait after a failed attempt; the first one has number 0."""
        asked = asked_pause(retry_after)
        if asked is not None:
            # A little longer than requested: clients that were sent away together need not come back together.
            return min(asked, self.most_asked) + random.uniform(0.0, self.first_pause / 2)
        return random.uniform(0.0, min(self.first_pause * 2.0 ** min(attempt, 30), self.longest_pause))

    def total(self, size: int) -> float:
        """Return how long a request of `size` bytes may take."""
        return max(self.least_total, size / self.least_rate)


def asked_pause(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header requests (a number, or a date); None if it is not valid."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after.strip()[:9])
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    return max(0.0, (date - dt.datetime.now(dt.UTC)).total_seconds())
