"""Execute a plan with Snakemake: this process holds the lease and shows progress, Snakemake runs the jobs."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from wkpipe.cluster.backend import Away, Backend
from wkpipe.cluster.orphans import end_jobs, prefix_of
from wkpipe.cluster.report import cluster_report
from wkpipe.errors import Interrupted
from wkpipe.plan.cut.task import VERIFY
from wkpipe.plan.plan import Plan
from wkpipe.run.failure import failure_of
from wkpipe.run.interrupt import interruptible, undisturbed
from wkpipe.run.progress import RunProgress
from wkpipe.run.snakefile import RUN_KEY
from wkpipe.run.strategy import Strategy
from wkpipe.run.warm import WarmSnakemake
from wkpipe.run.workflow_files import workflow_root
from wkpipe.runs.run import Run, units_made, uploaded_by
from wkpipe.server.http.token import TOKEN_VARIABLE, Token
from wkpipe.storage import disk
from wkpipe.storage.lease import Epoch
from wkpipe.storage.process import end_with_parent
from wkpipe.storage.seal import VARIABLE

if TYPE_CHECKING:  # slow to import, and needed by uploads only
    from wkpipe.server.upload.request import Uploaded

POLL_SECONDS = 0.1
LEASE_CHECK_SECONDS = 5.0
STOP_SECONDS = 20.0
CLUSTER_STOP_SECONDS = 60.0
"""When Snakemake is stopped, it cancels its cluster jobs and waits for their end."""
STOPPED = "stopped; what is finished is kept, the same command resumes"

Process = subprocess.Popen[bytes] | WarmSnakemake
"""Snakemake, or the server of its jobs, which ends as Snakemake does."""


@dataclass(frozen=True)
class Execution:
    """How a plan is executed: the strategy, the output for the user, the token of the upload's server, and a Snakemake that waits."""

    strategy: Strategy
    break_lock: bool = False
    quiet: bool = False
    token: Token | None = None
    warm: WarmSnakemake | None = None


@dataclass(frozen=True)
class Done:
    """The result of a run: how many units were made, what was uploaded, and the contents of the markers of verifying tasks."""

    units: int = 0
    reports: tuple[bytes, ...] = ()
    uploaded: Uploaded | None = None


def execute(plan: Plan, execution: Execution) -> Done:
    """Run all tasks of a plan and return when they are done.

    Raises:
        WkpipeError: tasks have failed; the message names them, the exit code is that of the gravest error.
        TryAgain: another run works on the dataset.
        Interrupted: Ctrl-C or SIGTERM; finished units are kept.
    """
    if plan.is_empty:
        return Done(uploaded=plan.uploaded)
    run = Run(plan)
    with interruptible(STOPPED), run.begun(execution.break_lock, execution.token) as epoch:
        log = run.directory / "snakemake.log"
        with os.fdopen(disk.create(log), "wb") as output:
            process = _started(run, execution, log, output)
            progress = RunProgress(plan, run.directory, cluster=execution.strategy.cluster, quiet=execution.quiet)
            try:
                code = _wait(process, epoch, progress.update)
            except BaseException as error:
                with undisturbed():
                    if execution.strategy.leave_jobs and isinstance(error, Interrupted):
                        _leave(process, progress)
                    _stop(process, CLUSTER_STOP_SECONDS if execution.strategy.is_cluster else STOP_SECONDS)
                raise
            finally:
                progress.close()
                if execution.strategy.cluster is not None:
                    with undisturbed():
                        _end_cluster(execution.strategy.backend(), run, process.returncode, execution.quiet)
        if code != 0:
            if code < 0:
                _signal(process, signal.SIGKILL)  # its jobs may still run
            raise epoch.cause_of(failure_of(run, log, code))
        reports = tuple(run.marker(task).read_bytes() for task in plan.of_rule(VERIFY))
        return Done(units_made(run), reports, uploaded_by(run) or plan.uploaded)


def _started(run: Run, execution: Execution, log: Path, output: IO[bytes]) -> Process:
    """Start Snakemake in the run's directory. It reads and writes its own state there: nothing there came with the dataset."""
    arguments = _arguments(execution)
    if execution.warm is not None:
        execution.warm.start(arguments, run.directory, _environment(run), log)
        return execution.warm
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "wkpipe.run.snakemake_process", execution.strategy.name, *arguments],
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=run.directory,
        env=_environment(run),
        # In a session of its own: Ctrl-C reaches only this process, which then ends Snakemake and its jobs in order.
        start_new_session=True,
        preexec_fn=functools.partial(end_with_parent, os.getpid()),
    )


def _arguments(execution: Execution) -> list[str]:
    return ["--snakefile", str(workflow_root() / "Snakefile"), *execution.strategy.arguments(), "--config", f"{RUN_KEY}=here"]


def _environment(run: Run) -> dict[str, str]:
    """Return the environment for Snakemake and its jobs.

    It has no default profile of the user and no token; Snakemake's cache is where wkpipe may write; it has the run's secret, and Python
    imports no module from the current directory.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("SNAKEMAKE_PROFILE", TOKEN_VARIABLE)}
    return kept | _name_of_user() | {"XDG_CACHE_HOME": str(run.directory / "cache"), VARIABLE: run.seal.variable, "PYTHONSAFEPATH": "1"}


def _name_of_user() -> dict[str, str]:
    """Return a variable with a name for a user who has none, as in containers: Snakemake needs one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        return {"LOGNAME": str(os.geteuid())}
    return {}


def _wait(process: Process, epoch: Epoch, on_tick: Callable[[], None]) -> int:
    """Return the exit code of Snakemake when it has ended; until then, call `on_tick`, and check that the run holds its lease."""
    checked = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(POLL_SECONDS)
            on_tick()
            return code
        on_tick()
        if time.monotonic() - checked > LEASE_CHECK_SECONDS:
            checked = time.monotonic()
            epoch.check()


def _stop(process: Process, patience: float) -> None:
    """End Snakemake and its jobs: politely, then by force."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, STOP_SECONDS)):
        _signal(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    # Jobs that outlive a dying Snakemake would continue to write.
    _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to Snakemake and all processes that it has started on this host."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _leave(process: Process, progress: RunProgress) -> NoReturn:
    """End this process as if it had been killed: jobs continue while the lease stays as it is."""
    _signal(process, signal.SIGKILL)
    progress.close()
    print("wkpipe: stopped; the jobs that were submitted continue, the same command waits for them and resumes", file=sys.stderr)
    sys.stderr.flush()
    os._exit(Interrupted.exit_code)


def _end_cluster(backend: Backend, run: Run, code: int | None, quiet: bool) -> None:
    """Ensure that no job of the run is left, however Snakemake has ended; print the resources that the jobs used."""
    if code != 0:
        try:
            end_jobs(backend, prefix_of(run.locations.inside.path(), run.directory), seconds=30.0, say=_say)
        except Away as reason:
            _say(f"{backend.title} does not answer ({reason}): jobs that still run are cancelled by the next run of this command")
    if not quiet:
        for line in cluster_report(run.directory, backend):
            print(line, file=sys.stderr)


def _say(text: str) -> None:
    print(f"wkpipe: {text}", file=sys.stderr)
