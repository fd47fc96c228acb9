"""Slow reads are done side by side, fast ones one after the other; the results are in order either way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from wkpipe.formats import waiting
from wkpipe.formats.waiting import read_each


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(waiting._Waiting, "is_slow", False)
    yield
    if waiting._Waiting.pool is not None:
        waiting._Waiting.pool.shutdown()
        waiting._Waiting.pool = None


class Reads:
    """Reads that take some time; counts how many there are at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self._now = self.most = 0
        self.threads: set[int] = set()

    def read(self, item: int) -> int:
        self.threads.add(threading.get_ident())
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        if item < 0:
            raise ValueError(str(item))
        return 10 * item


@pytest.mark.parametrize("most", [None, 1, 4])
def test_slow_reads_are_done_side_by_side(most: int | None) -> None:
    reads = Reads(0.02)
    assert list(read_each(reads.read, range(40), most)) == [10 * item for item in range(40)]
    assert reads.most <= (most or 40)
    assert most == 1 or reads.most > 1


def test_reads_that_are_not_slow_for_their_size_need_no_threads() -> None:
    reads = Reads(0.01)
    assert list(read_each(reads.read, range(10), 4, slow_seconds=60)) == [10 * item for item in range(10)]
    assert reads.threads == {threading.get_ident()}


def test_the_error_of_a_slow_read_is_raised_in_its_turn() -> None:
    results = read_each(Reads(0.01).read, [1, 2, 3, -1, 4, 5, 6], 3)
    assert [next(results) for _ in range(3)] == [10, 20, 30]
    with pytest.raises(ValueError, match="-1"):
        next(results)


def test_a_consumer_may_stop_early() -> None:
    reads = Reads(0.01)
    results = read_each(reads.read, range(1000), 2)
    assert [next(results) for _ in range(5)] == [0, 10, 20, 30, 40]
    results.close()  # type: ignore[attr-defined]
