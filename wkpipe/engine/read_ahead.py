"""Read the data of later items while one is computed; the slower the reading, the further ahead."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from wkpipe.engine.budget import Ahead

Item = TypeVar("Item")
Raw = TypeVar("Raw")
Result = TypeVar("Result")

SHARE = 0.5
"""If reading takes less than this part of the time of computing, it is done in between, without threads."""
SMOOTHING = 0.3


class ReadAhead(Generic[Item, Raw, Result]):
    """Computes ``compute(item, fetch(item))`` for items in order, and yields each item with its result.

    While `fetch` is fast, as from the page cache, it is called just before `compute`. If it waits for a disk or a
    network, threads call it for some of the next items, as many as it takes to hide the waiting.

    Args:
        next_item: returns the next item, or None if there is no more; called with False, it does not wait for one.
        fetch: reads an item's data; None if there is nothing to read, and so not much to compute.
        compute: makes the result, in the calling thread.
        ahead: how far items may be read ahead, each taken to be as large (`nbytes`) as the largest so far.
    """

    def __init__(
        self,
        next_item: Callable[[bool], Item | None],
        fetch: Callable[[Item], Raw | None],
        compute: Callable[[Item, Raw | None], Result],
        ahead: Ahead,
    ) -> None:
        self._next_item, self._fetch, self._compute, self._limit = next_item, fetch, compute, ahead
        self._fetching, self._computing = 0.0, 0.0
        self._largest = 1

    def __iter__(self) -> Iterator[tuple[Item, Result]]:
        waiting: deque[tuple[Item, Future[Raw | None] | None]] = deque()
        with ThreadPoolExecutor(max(1, self._limit.most)) as pool:  # a thread starts when it is first needed
            while True:
                ahead = self._ahead()
                while len(waiting) <= ahead and (item := self._next_item(not waiting)) is not None:
                    waiting.append((item, pool.submit(self._timed_fetch, item) if ahead else None))
                if not waiting:
                    return
                item, future = waiting.popleft()
                raw = self._timed_fetch(item) if future is None else future.result()
                start = time.perf_counter()
                result = self._compute(item, raw)
                if raw is not None:
                    self._computing += SMOOTHING * (time.perf_counter() - start - self._computing)
                del raw, future  # before the next one is read
                yield item, result

    def _ahead(self) -> int:
        """Return how many items to read ahead."""
        if self._fetching <= SHARE * self._computing:
            return 0
        most = min(self._limit.most, self._limit.held_bytes // self._largest - 1)
        if most < 2:
            return 0
        return min(most, math.ceil(self._fetching / max(self._computing, 1e-6)) + 1)

    def _timed_fetch(self, item: Item) -> Raw | None:
        start = time.perf_counter()
        raw = self._fetch(item)
        if raw is not None:
            self._largest = max(self._largest, getattr(raw, "nbytes", 1))
            self._fetching += SMOOTHING * (time.perf_counter() - start - self._fetching)
        return raw
