"""Run a function over many items: with the caller's executor, or with all cores of this process."""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from wkpipe.cluster.strategies import usable_cores
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.progress_line import ProgressLine
from wkpipe.engine.ordered import ordered_map
from wkpipe.runs.submitted import Submitted, cancel_calls

Item = TypeVar("Item")
Result = TypeVar("Result")


class SubmitsCalls(Protocol):
    """An executor: anything with `submit`, as in concurrent.futures and cluster_tools."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Start a call, and return its future."""


@dataclass(frozen=True)
class RunOptions:
    """Where the tasks of a run are done: in this process, or by the caller's executor.

    progress_desc: shown on stderr with the number of finished tasks; None shows nothing.
    """

    executor: SubmitsCalls | None = None
    progress_desc: str | None = None


class _Cores(threading.local):
    """The cores that a call in this thread may use; None for all."""

    count: int | None = None


_CORES = _Cores()


def cores_here() -> int:
    """Return the cores that this thread may use: its share if it runs one of several calls at once, else all."""
    return _CORES.count or _cores_of_process()


@functools.cache
def _cores_of_process() -> int:
    return usable_cores()


def checked_executor(executor: SubmitsCalls | None) -> SubmitsCalls | None:
    """Return an executor.

    Raises:
        WrongType: it has no `submit`.
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise WrongType(
            f"executor={executor!r} has no method submit", fix="give an executor of concurrent.futures or cluster_tools, or None"
        )
    return executor


def run_each(
    function: Callable[[Item], Result], items: Sequence[Item], executor: SubmitsCalls | None, progress_desc: str | None
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order.

    The first error ends the work: calls that have not started are cancelled. Closing the generator does the same.

    Args:
        executor: where the calls run; by default in threads of this process, as many as it may use cores.
        progress_desc: shown with the number of finished calls; None shows nothing.

    Raises:
        WrongType: the function cannot be called.
    """
    if not callable(function):
        raise WrongType(f"{function!r} cannot be called for each chunk", fix="give a function")
    results = _in_threads(function, items) if executor is None else _submitted(function, items, executor)
    with ProgressLine(progress_desc, len(items)) as progress:
        for result in results:
            progress.advance()
            yield result


def _in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    cores = cores_here()
    threads = min(cores, len(items))

    def call(item: Item) -> Result:
        before, _CORES.count = _CORES.count, max(1, cores // threads)
        try:
            return function(item)
        finally:
            _CORES.count = before

    if threads < 2:
        yield from map(function, items)
    else:
        yield from ordered_map(call, items, threads)


def _submitted(function: Callable[[Item], Result], items: Iterable[Item], executor: SubmitsCalls) -> Generator[Result, None, None]:
    pending: deque[Submitted] = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        cancel_calls(pending)
