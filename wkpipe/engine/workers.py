"""Compute items side by side in forked processes, and yield the results in the items' order.

Threads of one Python process get in each other's way long before all cores are busy. Forked processes share the memory
that is loaded, and nothing else. The results wait in shared memory that has a slot for each of them, so that their size and
number, and thus the memory, are bounded. Workers only read files, compute, and write to files that have no name yet: chunk files of their
own, or a part of a storage shard, from the slots. The one process that consumes the results says where each part begins, in the same order
as with a single worker, and names the files.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from wkpipe.engine.budget import MOST_PARTS, Ahead, slots, writing_slots
from wkpipe.engine.pool import Pool, Report, Tickets
from wkpipe.engine.read_ahead import ReadAhead
from wkpipe.storage.commit import WRITE_BYTES

Item = TypeVar("Item")
Raw = TypeVar("Raw")

_COMPUTE: Final = struct.Struct("<qq")
"""An item's number, and the slot for its result."""
_WRITE: Final = struct.Struct(f"<qq{3 * MOST_PARTS}q")
"""The number of a write, its offset, and the parts: slot, begin and size; size 0 after the last one. A pipe takes so few bytes at once."""
_WRITTEN: Final = 1 << 62
"""Added to the number of a write, which then differs from all numbers of items."""


@dataclass(frozen=True)
class ForkedWork(Generic[Item, Raw]):
    """What forked workers do.

    Attributes:
        fetch, compute: see `ReadAhead`. The result has a head, which the consumer gets, and a body, which it need not read.
        write: writes bodies, one after the other, at an offset of the file that the consumer fills; None if the consumer takes all bodies.
        written: called in the consumer's process with the number of bytes of every finished write.
    """

    fetch: Callable[[Item], Raw | None]
    compute: Callable[[Item, Raw | None], tuple[bytes, bytes]]
    write: Callable[[Sequence[memoryview], int], None] | None
    written: Callable[[int], None]


@dataclass
class Result(Generic[Item]):
    """The result of an item; its body is there until the next result is requested. `offset`: where a worker is to write the body."""

    item: Item
    head: bytes
    body: memoryview
    offset: int | None = None


@dataclass
class _Write:
    """Bodies that are to be written together: their slots, and where they are in them."""

    offset: int
    parts: list[tuple[int, int, int]] = field(default_factory=list)
    size: int = 0


def forked_map(
    work: ForkedWork[Item, Raw], items: Sequence[Item], workers: int, slot_bytes: int, ahead: Ahead
) -> Generator[Result[Item], None, None]:
    """Yield the result of every item, in order. When the generator ends, all that was to be written is written.

    Args:
        workers: how many processes compute.
        slot_bytes: the largest size of a result: its head, and its body.
        ahead: how far each worker may read ahead.

    Raises:
        ProcessKilled: a worker was killed.
        Exception: a worker raised it.
    """
    consumer = _Consumer(work, items, workers, slot_bytes, ahead)
    try:
        yield from consumer.results()
    finally:
        consumer.end()


class _Consumer(Generic[Item]):
    """The process that consumes the results: which items are in work, and which slots are in use."""

    def __init__(self, work: ForkedWork[Item, Any], items: Sequence[Item], workers: int, slot_bytes: int, ahead: Ahead) -> None:
        more = writing_slots(slot_bytes) if work.write else 0
        self._items, self._written = items, work.written
        self._most_parts = more // 2
        self._slots = _Slots(slots(workers, ahead) + more, slot_bytes)
        self._compute, self._write = Tickets(_COMPUTE), Tickets(_WRITE)
        worker = _Worker(work, items, ahead, self._slots, self._compute, self._write)
        self._pool = Pool(workers, worker.run, [self._compute, self._write])
        self._free = list(range(self._slots.count))
        self._next = 0  # the next item to compute
        self._slot_of: dict[int, int] = {}
        self._computed: dict[int, tuple[int, int]] = {}  # the sizes of head and body
        self._open = _Write(0)
        self._writes: dict[int, _Write] = {}  # under way, by their numbers
        self._count = 0

    def results(self) -> Generator[Result[Item], None, None]:
        for number, item in enumerate(self._items):
            self._issue()
            while number not in self._computed:
                self._listen()
            slot, (head, size) = self._slot_of.pop(number), self._computed.pop(number)
            view = self._slots.view(slot)
            result = Result(item, bytes(view[:head]), view[head : head + size])
            yield result
            if result.offset is None:
                self._free.append(slot)
            else:
                self._place(slot, head, size, result.offset)
        self._flush()
        while self._writes:
            self._listen()

    def _issue(self) -> None:
        """Have free workers compute the next items, as long as there is room for their results."""
        while self._free and self._next < len(self._items):
            self._slot_of[self._next] = self._free.pop()
            self._compute.give(self._next, self._slot_of[self._next])
            self._next += 1

    def _listen(self) -> None:
        for number, head, size in self._pool.messages():
            if number < _WRITTEN:
                self._computed[number] = head, size
                continue
            write = self._writes.pop(number - _WRITTEN)
            self._free += (slot for slot, _, _ in write.parts)
            self._written(write.size)
            self._issue()

    def _place(self, slot: int, head: int, size: int, offset: int) -> None:
        """Have a result's body written, together with those before and after it."""
        if offset != self._open.offset + self._open.size:
            self._flush()
            self._open = _Write(offset)
        self._open.parts.append((slot, head, size))
        self._open.size += size
        if self._open.size >= WRITE_BYTES or len(self._open.parts) >= self._most_parts:
            self._flush()

    def _flush(self) -> None:
        write, self._open = self._open, _Write(self._open.offset + self._open.size)
        if write.parts:
            self._writes[self._count] = write
            flat = [number for part in write.parts for number in part]
            self._write.give(self._count, write.offset, *flat, *[0] * (3 * MOST_PARTS - len(flat)))
            self._count += 1

    def end(self) -> None:
        self._pool.end()
        self._slots.close()


class _Slots:
    """Memory that forked processes share: `count` slots of one size. Pages that are never used take no memory."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self._size = count, size
        self._memory = mmap.mmap(-1, count * size)

    def view(self, slot: int) -> memoryview:
        return memoryview(self._memory)[slot * self._size : (slot + 1) * self._size]

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # the consumer still has a view
            self._memory.close()


@dataclass(frozen=True)
class _Worker(Generic[Item]):
    """What a forked process does, in two threads: one computes, and one writes, so that a slow disk holds up no computing."""

    work: ForkedWork[Item, Any]
    items: Sequence[Item]
    ahead: Ahead
    slots: _Slots
    compute: Tickets
    write: Tickets

    def run(self, report: Report) -> None:
        """Compute items as long as there are tickets."""
        if self.work.write is not None:
            threading.Thread(target=self._write_all, args=(self.work.write, report), daemon=True).start()
        computed: ReadAhead[tuple[int, int], Any, tuple[bytes, bytes]] = ReadAhead(
            self._next, lambda ticket: self.work.fetch(self.items[ticket[0]]), self._computed, self.ahead
        )
        for (number, slot), (head, body) in computed:
            view = self.slots.view(slot)
            view[: len(head)] = head
            view[len(head) : len(head) + len(body)] = body
            report.send((number, len(head), len(body)))

    def _next(self, may_wait: bool) -> tuple[int, int] | None:
        ticket = self.compute.take(may_wait)
        return (ticket[0], ticket[1]) if ticket else None

    def _computed(self, ticket: tuple[int, int], raw: Any) -> tuple[bytes, bytes]:
        return self.work.compute(self.items[ticket[0]], raw)

    def _write_all(self, write: Callable[[Sequence[memoryview], int], None], report: Report) -> None:
        """Write parts of the consumer's file as long as there are tickets."""
        try:
            while ticket := self.write.take():
                number, offset, *flat = ticket
                parts = [self.slots.view(flat[at])[flat[at + 1] :][: flat[at + 2]] for at in range(0, len(flat), 3) if flat[at + 2]]
                write(parts, offset)
                report.send((_WRITTEN + number, 0, 0))
        except BaseException as error:
            report.fail(error)
