"""Forked processes that take tickets from a pipe and report through pipes of their own; they die with the process that started them."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from wkpipe.errors import ProcessKilled
from wkpipe.storage.process import end_with_parent, killed_by

Message = tuple[int, int, int]
"""What a process reports: three numbers, whose meaning is the user's; the first one is not negative."""

_MESSAGE: Final = struct.Struct("<qqq")
_ERROR: Final = -1
"""The first number of a message that is followed by a pickled error; the second one is its size."""


class Report:
    """The end of a pipe through which the threads of a process report."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()  # longer messages are not written at once

    def send(self, message: Message) -> None:
        self._write(_MESSAGE.pack(*message))

    def fail(self, error: BaseException) -> None:
        """Have the process that waits for messages raise an error."""
        report = _pickled(error)
        with contextlib.suppress(OSError):
            self._write(_MESSAGE.pack(_ERROR, len(report), 0) + report)

    def _write(self, data: bytes) -> None:
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


class Tickets:
    """A pipe from which several processes take tickets of one size, each ticket once."""

    def __init__(self, layout: struct.Struct) -> None:
        self._layout = layout
        self.take_end, self._give_end = os.pipe()
        # Another process may take the ticket after this one has seen it, so that taking must not wait.
        os.set_blocking(self.take_end, False)

    def give(self, *values: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # all have died, which their own pipes report
            os.write(self._give_end, self._layout.pack(*values))

    def take(self, may_wait: bool = True) -> tuple[int, ...]:
        """Return the next ticket; an empty one if there are no more, or if there is none now and it may not wait."""
        while True:
            with contextlib.suppress(BlockingIOError):
                ticket = os.read(self.take_end, self._layout.size)
                return self._layout.unpack(ticket) if ticket else ()
            if not may_wait:
                return ()
            select.select([self.take_end], [], [])

    def stop_taking(self) -> None:
        os.close(self.take_end)

    def stop_giving(self) -> None:
        os.close(self._give_end)


class Pool:
    """Processes that were forked to do `work`, as the one that started them sees them.

    Args:
        count: how many.
        work: called in each with its `Report`.
        tickets: what they take and do not give.
    """

    def __init__(self, count: int, work: Callable[[Report], None], tickets: Sequence[Tickets]) -> None:
        self._tickets = tickets
        self._pids: dict[int, int] = {}  # by the pipe through which a process reports
        parent = os.getpid()
        try:
            for _ in range(count):
                read, write = os.pipe()
                pid = os.fork()
                if pid == 0:
                    _be_forked(parent, [read, *self._pids], tickets, work, Report(write))
                os.close(write)
                self._pids[read] = pid
        except BaseException:
            self.end()
            raise
        finally:
            for each in tickets:
                each.stop_taking()

    def messages(self) -> list[Message]:
        """Wait for messages of any process, and return at most one of each.

        Raises:
            ProcessKilled: a process was killed.
            Exception: a process failed with it.
        """
        return [self._read(descriptor) for descriptor in select.select(list(self._pids), [], [])[0]]

    def _read(self, descriptor: int) -> Message:
        data = _read_whole(descriptor, _MESSAGE.size)
        if len(data) < _MESSAGE.size:
            how = self._reap(descriptor)
            raise ProcessKilled(f"a worker process of the job {how}", fix="the same command resumes")
        first, second, third = _MESSAGE.unpack(data)
        if first == _ERROR:
            raise pickle.loads(_read_whole(descriptor, second))
        return first, second, third

    def _reap(self, descriptor: int) -> str:
        status = os.waitpid(self._pids.pop(descriptor), 0)[1]
        os.close(descriptor)
        return killed_by(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else f"ended with exit code {os.WEXITSTATUS(status)}"

    def end(self) -> None:
        """Kill the processes, whatever they are doing: what they have written has no name, and is removed by the process that began it."""
        for each in self._tickets:
            each.stop_giving()
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for descriptor in list(self._pids):
            self._reap(descriptor)


def _be_forked(
    parent: int, not_mine: Sequence[int], tickets: Sequence[Tickets], work: Callable[[Report], None], report: Report
) -> NoReturn:
    """Do the work in a process that was just forked, and end it."""
    try:
        gc.freeze()  # what exists is shared with the parent, as long as nobody writes to it
        # It must not outlive the process that uses its results, which alone handles the signals of a terminal.
        end_with_parent(parent, signal.SIGKILL)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for descriptor in not_mine:
            os.close(descriptor)
        for each in tickets:
            each.stop_giving()
        work(report)
    except BaseException as error:
        report.fail(error)
    finally:
        os._exit(0)


def _pickled(error: BaseException) -> bytes:
    try:
        report = pickle.dumps(error)
        pickle.loads(report)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return report


def _read_whole(descriptor: int, size: int) -> bytes:
    """Read `size` bytes from a pipe; fewer if the other end is closed."""
    pieces = []
    while size and (piece := os.read(descriptor, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
