"""What the Snakefile asks: the tasks of the plan as file targets, their inputs and resources."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from wkpipe.errors import InputRefused, UsageError, WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.download import dataset_to_download, only_here
from wkpipe.plan.mag_plan import DOWNLOAD
from wkpipe.plan.plan import Plan, load_plan
from wkpipe.plan.reasons import reason_lines
from wkpipe.plan.resources import Sizing, available_cores, available_memory_mb
from wkpipe.plan.table import upload_lines
from wkpipe.plan.task import UPLOAD, Task
from wkpipe.run.cluster import DEFAULT_JOBS, RUNTIME_MARGIN, announced_resources, cluster_sizing, is_announced, memory_note, slurm_limits
from wkpipe.run.failure import failure_of
from wkpipe.run.job_resources import BYTES_PER_MIB, SNAKEMAKE_MIB, needed_mib
from wkpipe.run.workflow_files import workflow_root
from wkpipe.server.token import Token, take_token, take_variable
from wkpipe.steps.run import Run, uploaded_by
from wkpipe.storage.lease import Epoch
from wkpipe.storage.seal import VARIABLE, Seal
from wkpipe.stored.locations import Locations

RUN_KEY = "wkpipe_run"
"""The config key by which `wkpipe` tells that it has begun the run already: in the directory where Snakemake starts."""

LEAST_MINUTES = 10
"""Requested for the shortest task: a slow file system may take that long for a start."""

SNAKEMAKES = 2
"""How many Snakemakes executors of others start in a job: that for Slurm starts one that starts one for the step."""


class WorkflowRun:
    """The plan of this run of Snakemake; in jobs that parse the Snakefile again, the plan that the main process stored.

    `targets` is the run's directory as Snakemake names it. `wkpipe` starts Snakemake in that directory and uses paths
    relative to it, so that its path may hold any character.

    Everything that is refused ends the process at once, with one line and the exit code of the error's kind.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        run: Run | None,
        is_here: bool = False,
        take: Callable[[], Token] | None = None,
    ) -> None:
        self.plan = plan
        self.directory = str(directory)
        self._prefix = "" if is_here else f"{directory}/"
        self.python = sys.executable
        self.script = str(workflow_root() / "workflow" / "scripts" / "step.sh")
        self._run = run
        self._take_token = take
        self._tasks = {task.name: task for task in plan.tasks}
        self._memory = available_memory_mb()
        self._lease = contextlib.ExitStack()
        self._epoch: Epoch | None = None

    @classmethod
    def of_config(cls, values: Mapping[str, Any], workflow: Any) -> WorkflowRun:
        """Make or load the plan of a config.

        `wkpipe` has made the plan and taken the lease already; its run's directory is the current one. In jobs that parse
        the Snakefile, the environment says which run they belong to. Either plan must bear the run's seal.
        """
        given = {key: value for key, value in values.items() if value is not None and key != RUN_KEY}
        secret = take_variable()  # whatever is asked for: no job inherits it
        try:
            if values.get(RUN_KEY):
                directory = Path.cwd()
                return cls(load_plan(directory, Seal.of_environment(directory)), directory, None, is_here=True)
            if "target" not in given and "--lint" in sys.argv:
                return cls(Plan(Path.cwd(), Path.cwd(), (), ()), Path.cwd(), None)
            config = load_config(given, "config")

            @functools.cache
            def token() -> Token:
                # A file that the config names is meant for this run; the variable may be there for all of a user's work.
                return take_token(None if config.token_file else secret, config.token_file)

            if not workflow.is_main_process:
                seal = Seal.of_environment()
                directory = Locations.of(config.target, config.state_dir).runs / seal.run
                return cls(load_plan(directory, seal), directory, None)
            if set("{}") & set(str(Locations.of(config.target, config.state_dir).state)):
                raise InputRefused(f"{config.target}: Snakemake takes braces in a path for wildcards; rename the directory, or use wkpipe")
            if config.download_url is not None and _is_cluster(workflow.resource_settings):
                raise UsageError(only_here("jobs on other hosts"))
            found = dataset_to_download(config, token)
            plan = make_plan(config, _sizing(workflow.resource_settings), found=found, say=_say)
        except WkpipeError as error:
            refuse(error)
        memory = memory_note(plan, announced_resources()) if is_announced() else None
        for note in (*plan.notes, *reason_lines(plan.reasons), *([memory] if memory else [])):
            _say(note)
        if plan.is_empty:
            _say(f"nothing to do: {plan.dataset} is up to date")
        for line in upload_lines(plan):
            _say(line)
        run = Run(plan)
        os.environ[VARIABLE] = run.seal.variable  # which all that Snakemake starts inherits
        return cls(plan, run.directory, run, take=token)

    # -- file targets -------------------------------------------------------------------------------------------

    def task(self, name: str) -> Task:
        return self._tasks[name]

    def pattern(self, rule: str) -> str:
        """Return the file target of a rule's tasks, with the wildcard ``{task}``."""
        return f"{self._prefix}{rule}/{{task}}.done"

    def log_pattern(self, rule: str) -> str:
        return f"{self._prefix}logs/{rule}/{{task}}.log"

    def _marker(self, task: Task) -> str:
        return f"{self._prefix}{task.marker}"

    def inputs(self, name: str) -> list[str]:
        """Return the markers of the tasks that must be done before."""
        return [self._marker(self._tasks[needed]) for needed in self._tasks[name].inputs if needed in self._tasks]

    @property
    def final_markers(self) -> list[str]:
        """The markers of all tasks: what rule all asks for."""
        return [self._marker(task) for task in self.plan.tasks]

    # -- resources ----------------------------------------------------------------------------------------------

    def mem_mb(self, name: str, attempt: int, workflow: Any) -> int:
        """Return the memory to request; more with each attempt, as only a lack of memory is worth another one.

        wkpipe's own executor turns the prediction into a request itself. Any other one that submits jobs requests just what is
        said here, and starts Snakemake in the job.
        """
        task = self._tasks[name]
        predicted = task.mem_mb * attempt
        if workflow.local_exec or is_announced():
            return predicted
        return math.ceil((needed_mib(predicted, task.threads) + SNAKEMAKES * SNAKEMAKE_MIB) * BYTES_PER_MIB / 1e6)

    def runtime_minutes(self, name: str, attempt: int) -> int:
        return max(LEAST_MINUTES, math.ceil(self._tasks[name].runtime_s * RUNTIME_MARGIN / 60)) * attempt

    # -- the run ------------------------------------------------------------------------------------------------

    def begin(self, workflow: Any) -> None:
        """Take the lease and prepare the dataset: called by Snakemake before the first job, never in a dry run."""
        if not workflow.is_main_process or workflow.touch:
            return
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # a terminal that closes stops Snakemake as SIGTERM does
            signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        if workflow.local_exec and "mem_mb" not in workflow.global_resources:
            workflow.register_resource("mem_mb", self._memory)
        if self._run is None or self.plan.is_empty:
            return
        try:
            is_needed = self.plan.of_rule(UPLOAD) or self.plan.of_rule(DOWNLOAD)
            token = self._take_token() if self._take_token is not None and is_needed else None
            self._epoch = self._lease.enter_context(self._run.begun(token=token))
        except WkpipeError as error:
            refuse(error)

    def end(self) -> None:
        """Give the lease back after all has gone well; say where the dataset is that was uploaded."""
        uploaded = None if self._run is None or self._epoch is None else uploaded_by(self._run)
        self._lease.close()
        if uploaded is not None:
            _say(f"uploaded: {uploaded.url}")

    def fail(self, logs: str | Sequence[str] = ()) -> None:
        """Give the lease back after tasks have failed; end the process with their error and its exit code, as `wkpipe` does.

        `logs` are the files in which Snakemake keeps what it prints (of older versions, one).
        """
        if self._epoch is None or self._run is None:
            return
        log = next((Path(name) for name in ([logs] if isinstance(logs, str) else logs)), None)
        error = self._epoch.cause_of(failure_of(self._run, log))
        self._lease.close()
        refuse(error)


def _cores(settings: Any) -> int | None:
    return settings.cores if isinstance(settings.cores, int) and settings.cores < sys.maxsize else None


def _is_cluster(settings: Any) -> bool:
    return is_announced() or (settings.nodes is not None and _cores(settings) is None)


def _sizing(settings: Any) -> Sizing:
    """Return how work is cut: for cores of this machine, or for the jobs of a cluster, of whatever executor."""
    if _is_cluster(settings):
        resources = announced_resources()
        return cluster_sizing(settings.nodes or DEFAULT_JOBS, resources, slurm_limits(resources, must_answer=False))
    return Sizing.local(_cores(settings) or available_cores())


def refuse(error: WkpipeError) -> NoReturn:
    """End the process with one line and the error's exit code."""
    hint = "; all keys are in config/config.yaml" if isinstance(error, UsageError) else ""
    with contextlib.suppress(OSError):  # nobody reads it
        if "--debug" in sys.argv or os.environ.get("WKPIPE_DEBUG"):
            traceback.print_exception(error)
        print(f"wkpipe: {error}{hint}", file=sys.stderr)
        sys.stderr.flush()
    sys.exit(error.exit_code)


def _say(text: str) -> None:
    print(f"wkpipe: {text}", file=sys.stderr)
