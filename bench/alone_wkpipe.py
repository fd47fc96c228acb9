"""Downsample a dataset with wkpipe in this process, without plan and workflow, and time it; `run.py` starts it.

    PYTHON alone_wkpipe.py DATASET WARM_UP RESULT [--delay-ms N]

Before the clock starts, the small dataset WARM_UP is done. With a delay, every read and write of data first sleeps for that time, as
on a slow file system. The time includes the beginning of the run, its tasks with all commits, publishing, and a sync at the end.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.stopwatch import timed
from wkpipe.engine.allocator import keep_freed_memory
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing, available_cores
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task

DATA_CALLS: Final = ("pread", "preadv", "pwrite", "pwritev", "write")


def plan_of(dataset: str) -> Plan:
    """Plan the coarser mags of a dataset."""
    return make_plan(load_config({"target": dataset}, "bench"), Sizing.local(available_cores()))


def do(plan: Plan) -> None:
    """Do all tasks, one after the other with all cores."""
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            run_task(plan, dataclasses.replace(task, threads=available_cores()), epoch, fork=True)


def slow_down(seconds: float) -> Callable[[], int]:
    """Make each read and write of data wait; return a function that returns how many there were."""
    calls = itertools.count()

    def delayed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(descriptor: int, *arguments: Any) -> Any:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):  # not a pipe between processes
                next(calls)
                time.sleep(seconds)
            return call(descriptor, *arguments)

        return wrapper

    for name in DATA_CALLS:
        setattr(os, name, delayed(getattr(os, name)))
    return lambda: next(calls)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("warm_up")
    parser.add_argument("result")
    parser.add_argument("--delay-ms", type=float, default=0)
    wanted = parser.parse_args()
    keep_freed_memory()  # as the jobs of a workflow do
    do(plan_of(wanted.warm_up))
    plan = plan_of(wanted.dataset)
    facts: dict[str, Any] = {}
    count = slow_down(wanted.delay_ms / 1000) if wanted.delay_ms else None
    with timed(wanted.dataset, wanted.result, facts):
        do(plan)
        if count:
            facts["delayed_calls"] = count()


if __name__ == "__main__":
    main()
