"""Execute a plan with Snakemake: this process holds the lease and shows progress, Snakemake runs the jobs."""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from wkpipe.errors import Interrupted
from wkpipe.plan.plan import Plan
from wkpipe.plan.task import VERIFY
from wkpipe.run.cluster_report import cluster_report
from wkpipe.run.failure import failure_of
from wkpipe.run.interrupt import interruptible, undisturbed
from wkpipe.run.progress import Progress
from wkpipe.run.slurm import Away, Slurm, prefix_of
from wkpipe.run.snakefile import RUN_KEY
from wkpipe.run.strategy import Strategy
from wkpipe.run.workflow_files import workflow_root
from wkpipe.server.token import TOKEN_VARIABLE, Token
from wkpipe.server.upload import Uploaded
from wkpipe.steps.run import Run, units_made, uploaded_by
from wkpipe.storage import disk
from wkpipe.storage.lease import Epoch
from wkpipe.storage.seal import VARIABLE

POLL_SECONDS = 0.1
LEASE_CHECK_SECONDS = 5.0
STOP_SECONDS = 20.0
CLUSTER_STOP_SECONDS = 60.0
"""Snakemake cancels its cluster jobs when it is stopped, and waits for them."""
STOPPED = "stopped; what is finished is kept, the same command goes on from there"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Execution:
    """How a plan is executed: the strategy, what the user wants to see, and the token of the server it uploads to."""

    strategy: Strategy
    break_lock: bool = False
    quiet: bool = False
    token: Token | None = None


@dataclass(frozen=True)
class Done:
    """What a run has done: how many units were made, what was uploaded, and what the markers of verifying tasks hold."""

    units: int = 0
    reports: tuple[bytes, ...] = ()
    uploaded: Uploaded | None = None


def execute(plan: Plan, execution: Execution) -> Done:
    """Run all tasks of a plan and return when they are done.

    Raises:
        WkpipeError: tasks have failed; the message names them, the exit code is that of the gravest error.
        TryAgain: another run works on the dataset.
        Interrupted: Ctrl-C or SIGTERM; what was finished is kept.
    """
    if plan.is_empty:
        return Done(uploaded=plan.uploaded)
    run = Run(plan)
    with interruptible(STOPPED), run.begun(execution.break_lock, execution.token) as epoch:
        log = run.directory / "snakemake.log"
        with os.fdopen(disk.create(log), "wb") as output:
            process = subprocess.Popen(
                _command(execution),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Snakemake reads and writes its own state here: in a new directory, there is nothing that came with the dataset.
                cwd=run.directory,
                env=_environment(run),
                # A session of its own: Ctrl-C reaches this process alone, which then ends Snakemake and its jobs in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            progress = Progress(plan, run.directory, quiet=execution.quiet)
            try:
                _wait(process, epoch, progress.update)
            except BaseException as error:
                with undisturbed():
                    if execution.strategy.leave_jobs and isinstance(error, Interrupted):
                        _leave(process, progress)
                    _stop(process, CLUSTER_STOP_SECONDS if execution.strategy.is_cluster else STOP_SECONDS)
                raise
            finally:
                progress.close()
                if execution.strategy.is_cluster:
                    with undisturbed():
                        _end_cluster(run, process.returncode, execution.quiet)
        if process.returncode != 0:
            raise epoch.cause_of(failure_of(run, log, process.returncode))
        reports = tuple(run.marker(task).read_bytes() for task in plan.of_rule(VERIFY))
        return Done(units_made(run), reports, uploaded_by(run))


def _command(execution: Execution) -> list[str]:
    root = workflow_root()
    return [
        *(sys.executable, "-P", "-m", "wkpipe.run.snakemake_process", execution.strategy.name),
        *("--snakefile", str(root / "Snakefile")),
        *execution.strategy.arguments(),
        *("--config", f"{RUN_KEY}=here"),
    ]


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to this (new) process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _environment(run: Run) -> dict[str, str]:
    """Return the environment for Snakemake and its jobs.

    No default profile of the user, no token, Snakemake's cache where wkpipe may write, the secret of the run, and no module
    from the directory where Python starts.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("SNAKEMAKE_PROFILE", TOKEN_VARIABLE)}
    return kept | _name_of_user() | {"XDG_CACHE_HOME": str(run.directory / "cache"), VARIABLE: run.seal.variable, "PYTHONSAFEPATH": "1"}


def _name_of_user() -> dict[str, str]:
    """Return a name for a user who has none, as in containers: Snakemake does without anything but that."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        return {"LOGNAME": str(os.geteuid())}
    return {}


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


def _stop(process: subprocess.Popen[bytes], patience: float) -> None:
    """End Snakemake and its jobs: politely, then by force."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, STOP_SECONDS)):
        _signal(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    # Jobs that outlive a dying Snakemake would go on writing.
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to Snakemake and to all that it has started here."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _leave(process: subprocess.Popen[bytes], progress: Progress) -> NoReturn:
    """End this process as if it had been killed: jobs go on while the lease stays as it is."""
    _signal(process, signal.SIGKILL)
    progress.close()
    print("wkpipe: stopped; the jobs that were submitted go on, the same command waits for them and goes on from there", file=sys.stderr)
    sys.stderr.flush()
    os._exit(Interrupted.exit_code)


def _end_cluster(run: Run, code: int | None, quiet: bool) -> None:
    """See that no job of the run is left, whatever has become of Snakemake; print what the jobs took."""
    slurm = Slurm()
    if code != 0:
        try:
            slurm.end(prefix_of(run.locations.inside, run.directory), seconds=30.0, say=_say)
        except Away as reason:
            _say(f"Slurm does not answer ({reason}): jobs that still run are cancelled by the next run of this command")
    if not quiet:
        for line in cluster_report(run.directory, slurm):
            print(line, file=sys.stderr)


def _say(text: str) -> None:
    print(f"wkpipe: {text}", file=sys.stderr)
