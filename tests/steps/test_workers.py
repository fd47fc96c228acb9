"""Work in forked processes: the results' order, errors, death of a worker, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import psutil
import pytest

from wkpipe.engine import read_ahead
from wkpipe.engine.read_ahead import ReadAhead
from wkpipe.engine.workers import forked_map
from wkpipe.errors import DamagedShard, WkpipeError

SLOT = 1 << 12


def result_of(item: int, raw: int | None) -> Sequence[bytes]:
    return [str(item).encode(), b":", str(raw).encode() * (item % 7)]


def collected(compute: Callable[[int, int | None], Sequence[bytes]], count: int, workers: int, ahead: int = 2) -> list[tuple[int, bytes]]:
    return [(item, bytes(view)) for item, view in forked_map(lambda item: item * item, compute, lambda: range(count), workers, SLOT, ahead)]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    process = psutil.Process()
    children = set(process.children())  # other tests of the process may have left some
    before = process.num_fds()
    yield
    assert not set(process.children()) - children
    assert process.num_fds() == before


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_results_come_in_order(workers: int, count: int) -> None:
    expected = [(item, b"".join(result_of(item, item * item))) for item in range(count)]
    assert collected(result_of, count, workers) == expected


def test_slow_first_item_holds_nobody_up_for_ever() -> None:
    def compute(item: int, raw: int | None) -> Sequence[bytes]:
        time.sleep(0.2 if item == 0 else 0)
        return result_of(item, raw)

    assert [item for item, _ in collected(compute, 60, 3)] == list(range(60))


def test_error_of_a_worker_is_raised_as_it_was() -> None:
    def compute(item: int, raw: int | None) -> Sequence[bytes]:
        if item == 9:
            raise DamagedShard("a shard: bad chunk; copy it again")
        return result_of(item, raw)

    with pytest.raises(DamagedShard, match="a shard: bad chunk"):
        collected(compute, 50, 2)


def test_error_that_cannot_be_sent_keeps_its_words() -> None:
    class Unpicklable(Exception):
        pass

    def compute(item: int, raw: int | None) -> Sequence[bytes]:
        raise Unpicklable("what went wrong")

    with pytest.raises(RuntimeError, match="Unpicklable: what went wrong"):
        collected(compute, 5, 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_killed_worker_is_reported(number: signal.Signals) -> None:
    def compute(item: int, raw: int | None) -> Sequence[bytes]:
        if item == 5:
            os.kill(os.getpid(), number)
        return result_of(item, raw)

    with pytest.raises(WkpipeError, match=rf"was killed by signal {int(number)} \({number.name}\)") as caught:
        collected(compute, 50, 3)
    assert ("memory" in str(caught.value)) == (number == signal.SIGKILL), "only SIGKILL looks like a lack of memory"


def test_consumer_may_stop_early() -> None:
    results = forked_map(lambda item: item, result_of, lambda: range(1000), 2, SLOT, 2)
    next(results)
    results.close()  # type: ignore[attr-defined]


def processes_of(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid)] if psutil.pid_exists(pid) else []


def test_workers_die_with_their_parent() -> None:
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:

            def compute(item: int, raw: int | None) -> Sequence[bytes]:
                os.write(write, f"{os.getpid()}\n".encode())
                time.sleep(60)
                return [b""]

            for _ in forked_map(lambda item: item, compute, lambda: range(4), 2, SLOT, 1):
                pass
        finally:
            os._exit(1)
    os.close(write)
    workers = []
    with os.fdopen(read) as pids:
        while len(workers) < 2:
            workers.append(int(pids.readline()))
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert pids.read() == ""  # the pipe ends with the last of them, just before the process does
    _, alive = psutil.wait_procs([process for worker in workers for process in processes_of(worker)], timeout=120)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_slow_reading_is_done_ahead_in_threads() -> None:
    together = 0
    most = 0
    lock = threading.Lock()

    def fetch(item: int) -> int:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.05)
        with lock:
            together -= 1
        return item

    left = iter(range(1, 40))
    results = list(ReadAhead(lambda _: next(left, None), fetch, lambda item, raw: (item, raw), 8))
    assert results == [(item, (item, item)) for item in range(1, 40)]
    assert most > 4


def test_fast_reading_needs_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, now = set(), [0.0]
    monkeypatch.setattr(read_ahead, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def fetch(item: int) -> int:
        threads.add(threading.get_ident())
        now[0] += 0.1
        return item

    def compute(item: int, raw: int | None) -> int:
        now[0] += 1
        return item

    left = iter(range(1, 20))
    assert len(list(ReadAhead(lambda _: next(left, None), fetch, compute, 8))) == 19
    assert threads == {threading.get_ident()}
