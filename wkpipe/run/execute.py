"""Execute a plan with Snakemake: this process holds the lease and shows progress, Snakemake runs the jobs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from wkpipe.errors import UsageError
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import available_memory_mb
from wkpipe.run.failure import failure_of
from wkpipe.run.interrupt import interruptible
from wkpipe.run.progress import Progress
from wkpipe.run.snakefile import RUN_KEY
from wkpipe.run.workflow_files import profile_directory, workflow_root
from wkpipe.server.token import TOKEN_VARIABLE, Token
from wkpipe.server.upload import Uploaded
from wkpipe.steps.run import Run, uploaded_by
from wkpipe.storage import disk
from wkpipe.storage.lease import Epoch

LOCAL_STRATEGIES = ("multiprocessing", "sequential")
STRATEGIES = (*LOCAL_STRATEGIES, "slurm", "kubernetes")
POLL_SECONDS = 0.1
LEASE_CHECK_SECONDS = 5.0
STOP_SECONDS = 20.0
STOPPED = "stopped; what is finished is kept, the same command goes on from there"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Execution:
    """How a plan is executed: strategy, cores, what the user wants to see, and the token of the server it uploads to."""

    strategy: str = "multiprocessing"
    cores: int = 1
    break_lock: bool = False
    quiet: bool = False
    token: Token | None = None


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that is not known, or not there yet.

    Raises:
        UsageError: names the strategies.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"distribution strategy {strategy!r} is not known; choose one of: {', '.join(STRATEGIES)}")
    if strategy not in LOCAL_STRATEGIES:
        raise UsageError(f"the distribution strategy {strategy} is not available in this version; use {' or '.join(LOCAL_STRATEGIES)}")


def execute(plan: Plan, execution: Execution) -> Uploaded | None:
    """Run all tasks of a plan and return when they are done, with what was uploaded.

    Raises:
        WkpipeError: tasks have failed; the message names them, the exit code is that of the gravest error.
        TryAgain: another run works on the dataset.
        Interrupted: Ctrl-C or SIGTERM; what was finished is kept.
    """
    if plan.is_empty:
        return plan.uploaded
    run = Run(plan)
    with interruptible(STOPPED), run.begun(execution.break_lock, execution.token) as epoch:
        log = run.directory / "snakemake.log"
        with os.fdopen(disk.create(log), "wb") as output:
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
                _wait(process, epoch, progress.update)
            except BaseException:
                _stop(process)
                raise
            finally:
                progress.close()
        if process.returncode != 0:
            raise epoch.cause_of(failure_of(run, log))
        return uploaded_by(run)


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
    """Return the environment for Snakemake: no default profile of the user, no token, and its cache where we may write."""
    kept = {key: value for key, value in os.environ.items() if key not in ("SNAKEMAKE_PROFILE", TOKEN_VARIABLE)}
    return kept | {"XDG_CACHE_HOME": str(run.directory / "cache")}


def _wait(process: subprocess.Popen[bytes], epoch: Epoch, on_tick: Callable[[], None]) -> None:
    checked = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            on_tick()
            return
        on_tick()
        if time.monotonic() - checked > LEASE_CHECK_SECONDS:
            checked = time.monotonic()
            epoch.check()


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
