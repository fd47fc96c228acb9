"""Make calls side by side that each wait for a disk or a file server: together they take little longer than one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

SLOW_SECONDS: Final = 0.002
"""A read or a small write that takes longer has waited for a disk or a network; one in the page cache takes a tenth of it."""

_THREADS: Final = 8


def at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make calls side by side; raise the error of the first that failed, when all have ended."""
    if len(calls) < 2:
        for call in calls:
            call()
        return
    pending = []
    with ThreadPoolExecutor(min(_THREADS, len(calls))) as pool:
        for call in calls:
            try:
                pending.append(pool.submit(call))
            except RuntimeError:  # no thread can be started: this user has too many
                call()
    for each in pending:
        each.result()


def do_all(calls: Sequence[Callable[[], None]]) -> None:
    """Make calls that write: one after the other while that is fast, and the rest side by side as soon as one has waited.

    The error of the first that failed is raised when all that were begun have ended.
    """
    for done, call in enumerate(calls, 1):
        start = time.perf_counter()
        call()
        if time.perf_counter() - start > SLOW_SECONDS:
            at_once(calls[done:])
            return
