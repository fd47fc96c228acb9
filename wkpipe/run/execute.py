"""Execute a plan with Snakemake: this process holds the lease and shows progress, Snakemake runs the jobs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import Interrupted, UsageError, WkpipeError
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import available_memory_mb
from wkpipe.run.progress import Progress
from wkpipe.run.snakefile import RUN_KEY
from wkpipe.run.workflow_files import profile_directory, workflow_root
from wkpipe.steps.run import Run, failed_tasks

LOCAL_STRATEGIES = ("multiprocessing", "sequential")
STRATEGIES = (*LOCAL_STRATEGIES, "slurm", "kubernetes")
POLL_SECONDS = 0.1
STOP_SECONDS = 20.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Execution:
    """How a plan is executed: strategy, cores, and what the user wants to see."""

    strategy: str = "multiprocessing"
    cores: int = 1
    break_lock: bool = False
    quiet: bool = False


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that is not known, or not there yet.

    Raises:
        UsageError: names the strategies.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"distribution strategy {strategy!r} is not known; choose one of: {', '.join(STRATEGIES)}")
    if strategy not in LOCAL_STRATEGIES:
        raise UsageError(f"the distribution strategy {strategy} is not available in this version; use {' or '.join(LOCAL_STRATEGIES)}")


def execute(plan: Plan, execution: Execution) -> None:
    """Run all tasks of a plan and return when they are done.

    Raises:
        WkpipeError: tasks have failed; the message names them, the exit code is that of the gravest error.
        TryAgain: another run works on the dataset.
        Interrupted: Ctrl-C or SIGTERM; what was finished is kept.
    """
    if plan.is_empty:
        return
    run = Run(plan)
    with _interruptible(), run.begun(execution.break_lock):
        log = run.directory / "snakemake.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(run, execution),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(run),
                # A session of its own: Ctrl-C reaches this process alone, which then ends Snakemake and its jobs in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            progress = Progress(plan, run.directory, quiet=execution.quiet)
            try:
                _wait(process, progress.update)
            except BaseException:
                _stop(process)
                raise
            finally:
                progress.close()
        if process.returncode != 0:
            raise _failure(run, log)


def _command(run: Run, execution: Execution) -> list[str]:
    root = workflow_root()
    return [
        *(sys.executable, "-m", "wkpipe.run.snakemake_process", execution.strategy),
        *("--snakefile", str(root / "Snakefile")),
        *("--directory", str(run.locations.state)),
        *("--profile", str(profile_directory(execution.strategy)), "--workflow-profile", "none"),
        *("--cores", str(execution.cores)),
        *("--resources", f"mem_mb={available_memory_mb()}"),
        *("--config", f"{RUN_KEY}={run.directory}"),
    ]


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to this (new) process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment(run: Run) -> dict[str, str]:
    """Return the environment for Snakemake: no default profile of the user, and its cache where we may write."""
    kept = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    return kept | {"XDG_CACHE_HOME": str(run.directory / "cache")}


def _wait(process: subprocess.Popen[bytes], on_tick: Callable[[], None]) -> None:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            on_tick()
            return
        on_tick()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End Snakemake and its jobs: politely, then by force."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    # Jobs that outlive a dying Snakemake would go on writing.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM within the block into `Interrupted`."""

    def interrupt(*_: object) -> None:
        raise Interrupted("stopped; what is finished is kept, the same command goes on from there")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failure(run: Run, log: Path) -> WkpipeError:
    """Return the error to raise for a run that did not end well."""
    notes = failed_tasks(run.directory)
    if not notes:
        return WkpipeError(f"Snakemake failed without a task's error: {_last_lines(log)}; its log is {log}")
    messages = list(dict.fromkeys(str(note["message"]) for note in notes))
    more = f" (and {len(messages) - 1} more errors)" if len(messages) > 1 else ""
    text = f"{messages[0]}{more}; {len(notes)} of {len(run.plan.tasks)} tasks failed, logs are in {run.directory / 'logs'}"
    return _error_of(notes[0]["exit_code"], text)


def _error_of(exit_code: int, text: str) -> WkpipeError:
    """Return an error of the kind that has this exit code."""
    return next((kind for kind in _all_kinds(WkpipeError) if kind.exit_code == exit_code), WkpipeError)(text)


def _all_kinds(base: type[WkpipeError]) -> Iterator[type[WkpipeError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _all_kinds(kind)


def _last_lines(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])
    return "no output"
