"""Do the tasks of a plan through the executor of the caller: a pool of processes or threads, or the jobs of a cluster.

A task is sent with its share of the plan and the run's epoch, so a worker needs no more than the file system of the dataset. The
tasks that are ready are submitted at once; their results are awaited in the same order.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any, Protocol

from wkpipe.errors import ProcessKilled, WkpipeError
from wkpipe.plan.cut.task import Task
from wkpipe.plan.plan import LayerPlan, Plan, Preparation
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task
from wkpipe.storage.lease import Epoch
from wkpipe.stored.places import place_at


class Submitted(Protocol):
    """The answer of an executor: a call that ends later."""

    def result(self) -> Any:
        """Wait for the call; return its result, or raise its error."""

    def cancel(self) -> Any:
        """Do not start the call if it has not started yet."""


def run_with(
    plan: Plan,
    submit: Callable[..., Submitted],
    on_task: Callable[[Task], None] = lambda _: None,
    notify: Callable[[str], None] = lambda _: None,
    first: Callable[[Epoch], None] = lambda _: None,
) -> int:
    """Do all tasks of a plan through ``submit(function, *arguments)``; the bytes are those of `run_here`.

    Return how many units were made. The first error ends the run: calls that have not started are cancelled, and those that have
    are awaited. `on_task` is called with each task that is done; `notify` gets the notices for the user; `first` is called before the
    first task, under the lease.

    Raises:
        ProcessKilled: a worker was killed.
        WkpipeError: as the first task that fails.
    """
    if plan.is_empty:
        return 0
    made = 0
    tasks = {task.name: task for task in plan.tasks}
    order = TopologicalSorter({task.name: task.inputs for task in plan.tasks})
    order.prepare()
    layer_of = functools.cache(functools.partial(_clean_layer, plan))
    calls: deque[tuple[str, Submitted]] = deque()
    with Run(plan).begun() as epoch:
        first(epoch)
        right = epoch.to_json()
        try:
            while order.is_active():
                ready = [tasks[name] for name in order.get_ready()]
                calls.extend((task.name, submit(_task_done, _share(plan, task, layer_of), right)) for task in ready)
                name, call = calls.popleft()
                units, notices = _result(call, epoch)
                made += units
                for notice in notices:
                    notify(notice)
                order.done(name)
                on_task(tasks[name])
        finally:
            left = [call for _, call in calls]
            cancel_calls(left)
            for call in left:
                with contextlib.suppress(Exception):  # the run's error is on its way already
                    call.result()
    return made


def _clean_layer(plan: Plan, name: str) -> LayerPlan:
    """Return a layer without what planning has computed beside it."""
    return LayerPlan.from_json(plan.layer(name).to_json())


def _share(plan: Plan, task: Task, layer_of: Callable[[str], LayerPlan]) -> Plan:
    """Return the part of a plan that a task needs."""
    layers = tuple(layer_of(name) for name in task.all_layers)
    return replace(plan, layers=layers, tasks=(task,), notes=(), preparation=Preparation(), reasons=(), space=None, accounts=())


def _task_done(plan: Plan, right: dict[str, Any]) -> tuple[int, list[str]]:
    """Do the only task of a plan; return how many units it made, and the notices for the user."""
    notices: list[str] = []
    units = run_task(plan, plan.tasks[0], Epoch.from_json(right, place_at), notify=notices.append)
    return units, notices


def _result(call: Submitted, epoch: Epoch) -> tuple[int, list[str]]:
    try:
        units, notices = call.result()
    except BrokenExecutor as error:
        raise ProcessKilled(
            "a process of the executor was killed, most likely because of its memory", fix="use fewer workers, and call again to resume"
        ) from error
    except WkpipeError as error:
        raise epoch.cause_of(error) from error
    return units, notices


def cancel_calls(calls: Iterable[Submitted]) -> None:
    """Cancel calls quietly: cluster_tools asks each of its cancelled calls for an error, and concurrent.futures would log that."""
    log = logging.getLogger("concurrent.futures")
    log.addFilter(_is_no_cancellation)
    try:
        for call in calls:
            call.cancel()
    finally:
        log.removeFilter(_is_no_cancellation)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], CancelledError)
