"""``wkpipe step RUN TASK [--no-marker]``: do one task; the jobs of the workflow call it."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.cli.streams import make_forgiving
from wkpipe.errors import WkpipeError

if TYPE_CHECKING:
    from wkpipe.plan.cut.task import Task
    from wkpipe.plan.plan import Plan
    from wkpipe.storage.lease import Epoch

USAGE = 2
NO_MARKER = "--no-marker"
"""For jobs of a cluster: leave the result in the state, where the executor looks for it."""


def step(arguments: list[str]) -> int:
    """Do one task of a stored plan and return the exit code."""
    with_marker = NO_MARKER not in arguments
    arguments = [argument for argument in arguments if argument != NO_MARKER]
    if len(arguments) != 2:
        print(f"wkpipe: usage: wkpipe step RUN TASK [{NO_MARKER}] (the workflow's jobs call this)", file=sys.stderr)
        return USAGE
    # Batch systems, Snakemake and closed terminals end a job by these signals: delete its temporary files.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    from wkpipe import __version__
    from wkpipe.engine.allocator import keep_freed_memory
    from wkpipe.plan.cut.task import VERIFY
    from wkpipe.runs.job_note import VERSION_VARIABLE
    from wkpipe.runs.stored_task import run_stored_task
    from wkpipe.storage.claim import Superseded
    from wkpipe.storage.process import limit_reached
    from wkpipe.storage.seal import Seal

    if (other := os.environ.get(VERSION_VARIABLE, __version__)) != __version__:
        # Before the first note of the job: it has not begun, and no other job of this environment can.
        print(f"the job's environment has wkpipe {__version__}, and wkpipe {other} has submitted it: use the same version", file=sys.stderr)
        return USAGE
    keep_freed_memory()
    try:
        directory = Path(arguments[0]).absolute()
        run_stored_task(directory, arguments[1], Seal.of_environment(directory), {VERIFY: _verify}, with_marker)
    except Superseded as error:
        print(error, file=sys.stderr)  # not as an error of the task, whose log this is
        return error.exit_code
    except WkpipeError as error:
        print(f"wkpipe: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if (reason := limit_reached(error)) is not None:
            print(f"wkpipe: {reason}", file=sys.stderr)
        else:  # a defect of wkpipe: the log of the job keeps the traceback
            traceback.print_exc()
        return WkpipeError.exit_code
    return 0


def step_in_fork(arguments: list[str]) -> int:
    """Do a task in a process that was forked for it, which has the standard streams of the job; return the exit code."""
    make_forgiving()
    return step(arguments)


def _verify(plan: Plan, task: Task, epoch: Epoch) -> bytes:
    from wkpipe.verify.as_jobs import verify_task  # slow to import, and needed by verify tasks only

    return verify_task(plan, task, epoch)
