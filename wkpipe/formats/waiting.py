"""Do slow reads side by side, for file systems that take milliseconds for each."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from wkpipe.storage.side_by_side import SLOW_SECONDS

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 32


class _Waiting:
    """The state of reading in this process: whether the last read waited, and the threads for slow reads."""

    is_slow = False
    pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """Forget the threads, because they do not survive a fork."""
    _Waiting.pool = None


os.register_at_fork(after_in_child=_forget_pool)


def read_each(
    read: Callable[[Item], Result], items: Iterable[Item], most: int | None = None, slow_seconds: float = SLOW_SECONDS
) -> Iterator[Result]:
    """Yield ``read(item)`` for every item, in order: one at a time while that is fast, otherwise up to `most` at a time."""

    def timed(item: Item) -> Result:
        start = time.perf_counter()
        result = read(item)
        _Waiting.is_slow = time.perf_counter() - start > slow_seconds
        return result

    rest = iter(items)
    while not _Waiting.is_slow:
        try:
            item = next(rest)
        except StopIteration:
            return
        yield timed(item)
    left = list(rest)
    if len(left) < 2:
        yield from map(timed, left)
        return
    if _Waiting.pool is None:
        _Waiting.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
    yield from _side_by_side(_Waiting.pool, timed, left, most or len(left))


def _side_by_side(pool: ThreadPoolExecutor, read: Callable[[Item], Result], items: Iterable[Item], most: int) -> Iterator[Result]:
    waiting = deque[Future[Result]]()
    try:
        for item in items:
            if len(waiting) == most:
                yield waiting.popleft().result()
            waiting.append(pool.submit(read, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
