"""Compute items side by side in forked processes, and yield the results in the items' order.

Threads of one Python process get in each other's way long before all cores are busy. Forked processes share the memory
that is loaded, and nothing else. The results come back through shared memory that has a slot for each item in work,
so that their size and number, and thus the memory, are bounded. Workers only read files and compute, or write files that have no name
yet (chunk files). The one process that consumes the results writes all others, in the same order as with a single worker, and names them.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import pickle
import select
import signal
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from wkpipe.engine.budget import slots
from wkpipe.engine.read_ahead import ReadAhead
from wkpipe.errors import ProcessKilled
from wkpipe.storage.process import end_with_parent, killed_by

Item = TypeVar("Item")
Raw = TypeVar("Raw")

_TICKET = struct.Struct("<q")
_MESSAGE = struct.Struct("<qq")
"""An item's number and the size of its result; with number -1, the size of a pickled error that follows."""


def forked_map(
    fetch: Callable[[Item], Raw | None],
    compute: Callable[[Item, Raw | None], Sequence[bytes]],
    items: Callable[[], Iterable[Item]],
    workers: int,
    slot_bytes: int,
    ahead: int,
) -> Generator[tuple[Item, memoryview], None, None]:
    """Yield every item with the bytes of ``compute(item, fetch(item))``, in order.

    Args:
        fetch, compute: see `ReadAhead`; called in the workers.
        items: yields the items, always the same ones; called in every process.
        workers: how many processes compute.
        slot_bytes: the largest size of a result.
        ahead: how many items each worker may read ahead.

    The memory of a result is reused as soon as the next one is requested.

    Raises:
        ProcessKilled: a worker was killed.
        Exception: a worker raised it.
    """
    window = slots(workers, ahead)
    shared = mmap.mmap(-1, window * slot_bytes)
    pool = _Pool(workers, lambda tickets, done: _work(fetch, compute, items, ahead, tickets, done, shared, slot_bytes, window))
    try:
        waiting: deque[tuple[int, Item]] = deque()
        numbered = enumerate(items())
        for number, item in itertools.islice(numbered, window):
            pool.issue(number)
            waiting.append((number, item))
        while waiting:
            number, item = waiting.popleft()
            size = pool.wait_for(number)
            start = number % window * slot_bytes
            yield item, memoryview(shared)[start : start + size]
            for later, next_item in itertools.islice(numbered, 1):
                pool.issue(later)
                waiting.append((later, next_item))
    finally:
        pool.end()
        with contextlib.suppress(BufferError):  # the consumer still has a view
            shared.close()


class _Pool:
    """The workers, as the process that started them sees them."""

    def __init__(self, workers: int, work: Callable[[int, int], None]) -> None:
        tickets, self._tickets = os.pipe()
        self._done: dict[int, int] = {}  # the pipe through which a worker reports, and its pid
        self._sizes: dict[int, int] = {}
        os.set_blocking(tickets, False)
        parent = os.getpid()
        try:
            for _ in range(workers):
                read, write = os.pipe()
                pid = os.fork()
                if pid == 0:
                    _be_worker(parent, [self._tickets, read, *self._done], work, tickets, write)
                os.close(write)
                self._done[read] = pid
        except BaseException:
            self.end()
            raise
        finally:
            os.close(tickets)

    def issue(self, number: int) -> None:
        """Have the next free worker compute an item."""
        os.write(self._tickets, _TICKET.pack(number))

    def wait_for(self, number: int) -> int:
        """Wait until an item is computed; return the size of its result."""
        while number not in self._sizes:
            for descriptor in select.select(list(self._done), [], [])[0]:
                message = _read(descriptor, _MESSAGE.size)
                if len(message) < _MESSAGE.size:
                    how = self._reap(descriptor)
                    raise ProcessKilled(f"a worker process of the job {how}", fix="the same command resumes")
                done, size = _MESSAGE.unpack(message)
                if done < 0:
                    raise pickle.loads(_read(descriptor, size))
                self._sizes[done] = size
        return self._sizes.pop(number)

    def _reap(self, descriptor: int) -> str:
        status = os.waitpid(self._done.pop(descriptor), 0)[1]
        os.close(descriptor)
        return killed_by(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else f"ended with exit code {os.WEXITSTATUS(status)}"

    def end(self) -> None:
        """Kill the workers, whatever they are doing: what they have written has no name, and is removed by the process that began it."""
        os.close(self._tickets)
        for pid in self._done.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for descriptor in list(self._done):
            self._reap(descriptor)


def _be_worker(parent: int, not_mine: Sequence[int], work: Callable[[int, int], None], tickets: int, done: int) -> NoReturn:
    """Do a worker's work in a process that was just forked, and end it."""
    try:
        # A worker must not outlive the process that writes its results, which alone handles the signals of a terminal.
        end_with_parent(parent, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for descriptor in not_mine:
            os.close(descriptor)
        work(tickets, done)
    except BaseException as error:
        report = _pickled(error)
        with contextlib.suppress(OSError):
            os.write(done, _MESSAGE.pack(-1, len(report)) + report)
    finally:
        os._exit(0)


def _pickled(error: BaseException) -> bytes:
    try:
        report = pickle.dumps(error)
        pickle.loads(report)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return report


def _work(
    fetch: Callable[[Item], Raw | None],
    compute: Callable[[Item, Raw | None], Sequence[bytes]],
    items: Callable[[], Iterable[Item]],
    ahead: int,
    tickets: int,
    done: int,
    shared: mmap.mmap,
    slot_bytes: int,
    window: int,
) -> None:
    """Compute items as long as there are tickets."""
    listed = enumerate(items())

    def next_item(may_wait: bool) -> tuple[int, Item] | None:
        ticket = _take(tickets, may_wait)
        if not ticket:
            return None
        wanted = _TICKET.unpack(ticket)[0]
        return next((number, item) for number, item in listed if number == wanted)

    each: ReadAhead[Any, Any, Sequence[bytes]] = ReadAhead(
        next_item, lambda entry: fetch(entry[1]), lambda entry, raw: compute(entry[1], raw), ahead
    )
    for (number, _), parts in each:
        start = end = number % window * slot_bytes
        for part in parts:
            shared[end : end + len(part)] = part
            end += len(part)
        os.write(done, _MESSAGE.pack(number, end - start))


def _take(tickets: int, may_wait: bool) -> bytes:
    """Take a ticket; return nothing if there are no more, or if there is none now and it may not wait."""
    while True:
        # Another worker may take the ticket after this one has seen it, so that taking must not wait either.
        with contextlib.suppress(BlockingIOError):
            return os.read(tickets, _TICKET.size)
        if not may_wait:
            return b""
        select.select([tickets], [], [])


def _read(descriptor: int, size: int) -> bytes:
    """Read `size` bytes from a pipe; fewer if the other end is closed."""
    pieces = []
    while size and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
