"""Reads that wait are done side by side: for file systems that take milliseconds for each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SLOW_SECONDS = 0.002
"""A read that takes longer has waited for a disk or a network; from the page cache it takes a tenth of that."""
THREADS = 16

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """Threads do not survive a fork."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def read_each(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``read(item)`` for every item, in order: one after the other while that is fast, else many at a time."""
    rest = iter(items)
    for item in rest:
        start = time.perf_counter()
        result = read(item)
        took = time.perf_counter() - start
        yield result
        if took > SLOW_SECONDS:
            break
    left = list(rest)
    if not left:
        return
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
    yield from _pool.map(read, left)
