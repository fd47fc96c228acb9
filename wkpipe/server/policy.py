"""Policy: how long a client waits, and for how long it tries again."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

TRIED_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses of a server that may do better later."""


@dataclass(frozen=True)
class Policy:
    """Times in seconds.

    Pauses grow from `first_pause` to `longest_pause`, with full jitter; what a server asks for (Retry-After) is kept up to
    `most_asked`. Who gets no further for `without_progress` gives up; after `tell` the user is told of it. `connect` and
    `idle` are for one connection and for one read or write; a request of n bytes may take max(`least_total`,
    n / `least_rate`), that which finishes an upload `finish`. `settle`: how long after an attempt that broke off the server
    may still be writing. `verify_pauses` are those between questions for the outcome of an unanswered finish, the last one
    repeated; after `verify_stuck` with no sign of work it is asked for once more, after `verify` all is given up. `usable`:
    how long a finished dataset may take to be usable. `was_reached`: an earlier process of the run has reached the server, so that
    a name that is not known is a trouble of the network, not an error of typing.
    """

    first_pause: float = 1.0
    longest_pause: float = 60.0
    most_asked: float = 600.0
    without_progress: float = 900.0
    tell: float = 5.0
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
        """Return that for questions whose user waits: a server that does not answer is asked for a minute."""
        return cls(without_progress=60.0)

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Return how long to wait after a failed attempt, the first of which is number 0."""
        asked = asked_pause(retry_after)
        if asked is not None:
            # A little more than asked for: many clients that were sent away together need not come back together.
            return min(asked, self.most_asked) + random.uniform(0.0, self.first_pause / 2)
        return random.uniform(0.0, min(self.first_pause * 2.0 ** min(attempt, 30), self.longest_pause))

    def total(self, size: int) -> float:
        """Return how long a request with so many bytes may take."""
        return max(self.least_total, size / self.least_rate)


def asked_pause(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for (a number, or a date); None where it says nothing."""
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
