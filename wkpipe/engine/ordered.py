"""Run a function over many items in threads, and yield the results in the items' order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from wkpipe.engine.budget import in_flight

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, stop: Callable[[], None] = lambda: None
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order, computed by `threads` threads.

    At most `in_flight` results exist at a time. The first exception ends the work and is raised. If the work ends early, `stop`
    is called, which can cut short the calls under way.
    """
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from _in_order((pool.submit(function, item) for item in items), in_flight(threads))
        except BaseException:
            stop()
            raise


def _in_order(submitted: Iterator[Future[Result]], most: int) -> Iterator[Result]:
    """Yield results in order; at most `most` of them wait or are computed."""
    pending: deque[Future[Result]] = deque()
    try:
        for future in submitted:
            pending.append(future)
            if len(pending) >= most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
