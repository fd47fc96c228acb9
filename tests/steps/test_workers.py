"""Work in forked processes: the results' order, errors, death of a worker, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.cluster.cluster_helpers import wait_until
from wkpipe.engine import read_ahead
from wkpipe.engine.budget import MOST_PARTS, Ahead, stored_bytes_held
from wkpipe.engine.read_ahead import ReadAhead
from wkpipe.engine.workers import ForkedWork, Result, forked_map
from wkpipe.errors import DamagedShard, NotWritable, WkpipeError
from wkpipe.storage.disk import write_parts_at

SLOT = 1 << 12
AHEAD = Ahead(8, 1 << 20)


def result_of(item: int, raw: int | None) -> tuple[bytes, bytes]:
    return str(item).encode(), str(raw).encode() * (item % 7)


def results_of(
    compute: Callable[[int, int | None], tuple[bytes, bytes]],
    count: int,
    workers: int,
    ahead: int = 2,
    write: Callable[[Sequence[memoryview], int], None] | None = None,
    written: Callable[[int], None] = lambda _: None,
) -> Generator[Result[int], None, None]:
    return forked_map(ForkedWork(lambda item: item * item, compute, write, written), range(count), workers, SLOT, Ahead(ahead, 1 << 20))


def collected(compute: Callable[[int, int | None], tuple[bytes, bytes]], count: int, workers: int) -> list[tuple[int, bytes, bytes]]:
    return [(result.item, result.head, bytes(result.body)) for result in results_of(compute, count, workers)]


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
    expected = [(item, *result_of(item, item * item)) for item in range(count)]
    assert collected(result_of, count, workers) == expected


def test_slow_first_item_holds_nobody_up_for_ever() -> None:
    def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
        time.sleep(0.2 if item == 0 else 0)
        return result_of(item, raw)

    assert [item for item, _, _ in collected(compute, 60, 3)] == list(range(60))


def test_error_of_a_worker_is_raised_as_it_was() -> None:
    def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
        if item == 9:
            raise DamagedShard("a shard: bad chunk; copy it again")
        return result_of(item, raw)

    with pytest.raises(DamagedShard, match="a shard: bad chunk"):
        collected(compute, 50, 2)


def test_error_that_cannot_be_sent_keeps_its_words() -> None:
    class Unpicklable(Exception):
        pass

    def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
        raise Unpicklable("what went wrong")

    with pytest.raises(RuntimeError, match="Unpicklable: what went wrong"):
        collected(compute, 5, 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_killed_worker_is_reported(number: signal.Signals) -> None:
    def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
        if item == 5:
            os.kill(os.getpid(), number)
        return result_of(item, raw)

    with pytest.raises(WkpipeError, match=rf"was killed by signal {int(number)} \({number.name}\)") as caught:
        collected(compute, 50, 3)
    assert ("memory" in str(caught.value)) == (number == signal.SIGKILL), "only SIGKILL looks like a lack of memory"


def test_consumer_may_stop_early() -> None:
    results = results_of(result_of, 1000, 2)
    next(results)
    results.close()


def body_of(item: int) -> bytes:
    return str(item).encode() * (item * 37 % (SLOT // 8))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_write_bodies_where_the_consumer_says(workers: int, file: int) -> None:
    """One of three is taken, and one is left out of the file: what is written together follows each other."""
    offset, sizes, expected = 5, [], b"\0" * 5
    for result in results_of(
        lambda item, _: (b"", body_of(item)),
        400,
        workers,
        write=lambda parts, at: write_parts_at(file, parts, at, Path()),
        written=sizes.append,
    ):
        assert bytes(result.body) == body_of(result.item)
        size = len(result.body)
        if result.item % 3:
            result.offset = offset
            expected += body_of(result.item)
            offset += size
        elif result.item % 2:
            expected += b"\0" * size
            offset += size
    assert os.pread(file, offset + 1, 0).ljust(offset, b"\0") == expected
    assert sum(sizes) == sum(len(body_of(item)) for item in range(400) if item % 3)
    assert len(sizes) < 400


def test_slow_writes_hold_up_no_computing(tmp_path: Path) -> None:
    """The first write ends only when many items after it are computed."""
    computed = tmp_path / "computed"

    def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
        if item == 1 + 2 * MOST_PARTS:
            computed.touch()
        return b"", b"x"

    def write(parts: Sequence[memoryview], offset: int) -> None:
        wait_until(computed.exists, "another item to be computed")

    for result in results_of(compute, 4 * MOST_PARTS, 1, write=write):
        result.offset = result.item


def test_failed_write_is_raised(file: int) -> None:
    def write(parts: Sequence[memoryview], offset: int) -> None:
        raise NotWritable("no space left", where=Path("shard"), fix="free some")

    def consume() -> None:
        for result in results_of(lambda *_: (b"", b"x" * 100), 100, 2, write=write):
            result.offset = 100 * result.item

    with pytest.raises(NotWritable, match="no space left"):
        consume()


def processes_of(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid)] if psutil.pid_exists(pid) else []


def test_workers_die_with_their_parent() -> None:
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:

            def compute(item: int, raw: int | None) -> tuple[bytes, bytes]:
                os.write(write, f"{os.getpid()}\n".encode())
                time.sleep(60)
                return b"", b""

            collected(compute, 4, 2)
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
    results = list(ReadAhead(lambda _: next(left, None), fetch, lambda item, raw: (item, raw), AHEAD))
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
    assert len(list(ReadAhead(lambda _: next(left, None), fetch, compute, AHEAD))) == 19
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("size, held", [(10, 90), (250, 750), (300, 900), (301, 301), (1000, 1000)])
def test_no_more_is_held_than_the_memory_model_says(monkeypatch: pytest.MonkeyPatch, size: int, held: int) -> None:
    """Of large items, none is read ahead: they differ in size, and memory that one leaves seldom fits the next."""
    ahead, now, held_now, highest = Ahead(8, 900), [0.0], 0, 0
    monkeypatch.setattr(read_ahead, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Stored:
        nbytes = size

        def __init__(self) -> None:
            nonlocal held_now, highest
            held_now += size
            highest = max(highest, held_now)

        def __del__(self) -> None:
            nonlocal held_now
            held_now -= size

    def fetch(_: int) -> Stored:
        now[0] += 1
        return Stored()

    def compute(item: int, _: Stored | None) -> int:
        time.sleep(0.01)  # others are read meanwhile
        now[0] += 0.01
        return item

    left = iter(range(1, 30))
    assert len(list(ReadAhead(lambda _: next(left, None), fetch, compute, ahead))) == 29
    assert highest == held <= stored_bytes_held(size, ahead)
