"""The interface of the Snakefile: the tasks of the plan as file targets, their inputs and resources.

A workflow may have several runs, each of a module with its own config. It may also parse the same Snakefile several times
for one run, as each ``use rule`` does. `WorkflowRun.of_config` returns the run of the config each time.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wkpipe.cluster.resources import BYTES_PER_MIB, SNAKEMAKE_MIB, needed_mib
from wkpipe.cluster.sizing import RUNTIME_MARGIN, memory_note
from wkpipe.errors import InputRefused, UsageError, WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import Task
from wkpipe.plan.plan import PLAN_FILE, Plan, load_plan
from wkpipe.plan.state.on_server import dataset_to_download, only_here
from wkpipe.plan.state.reasons import reason_lines
from wkpipe.plan.table import upload_lines
from wkpipe.run.begun import LATER_THAN_ALL_NS, BegunRun
from wkpipe.run.refusal import refuse, say
from wkpipe.run.snakemake_settings import ExecutorChoice
from wkpipe.run.targets import Targets
from wkpipe.run.workflow_files import workflow_root
from wkpipe.runs.run import Run
from wkpipe.server.http.token import Token, take_token, take_variable
from wkpipe.storage import disk
from wkpipe.storage.seal import VARIABLE, Seal
from wkpipe.stored.locations import Locations

RUN_KEY = "wkpipe_run"
"""The config key with which `wkpipe` reports that it has already begun the run, in the directory where Snakemake starts."""

LEAST_MINUTES = 10
"""Requested for the shortest task: a slow file system may take that long for a start."""

SNAKEMAKES = 2
"""How many Snakemakes start in a job of another executor: the most common one starts two, one within the other."""

_ATTRIBUTE = "wkpipe_runs"


class WorkflowRun:
    """The plan of a run of Snakemake; in jobs that parse the Snakefile again, the plan that the main process stored.

    A refusal while the Snakefile is parsed ends the process at once, with one line and the exit code of the error's class.
    """

    def __init__(self, plan: Plan, directory: Path, targets: Targets, begun: BegunRun | None = None) -> None:
        self.plan = plan
        self.targets = targets
        self.directory = str(directory)
        self.python = sys.executable
        self.script = str(workflow_root() / "workflow" / "scripts" / "step.sh")
        self._begun = begun

    @classmethod
    def of_config(cls, values: Mapping[str, Any], workflow: Any) -> WorkflowRun:
        """Return the run of a config; make or load its plan the first time.

        `wkpipe` has made the plan and taken the lease already; its run's directory is the current one. In jobs that parse
        the Snakefile, the environment says which run they belong to. Either plan must bear the run's seal.
        """
        given = {key: value for key, value in values.items() if value is not None and key != RUN_KEY}
        runs: _Runs | None = getattr(workflow, _ATTRIBUTE, None)
        if runs is None:
            runs = _Runs(take_variable())  # in any case: no job inherits it
            setattr(workflow, _ATTRIBUTE, runs)
        try:
            if values.get(RUN_KEY):
                directory = Path.cwd()
                plan = load_plan(directory, Seal.of_environment(directory))
                return cls(plan, directory, Targets(plan, directory, is_here=True))
            if "target" not in given and "--lint" in sys.argv:
                return _idle(Path.cwd(), Path.cwd())
            return runs.of(load_config(given, "config"), workflow)
        except WkpipeError as error:
            refuse(error)

    # -- tasks -------------------------------------------------------------------------------------

    def begin(self, workflow: Any) -> int:
        """Begin the run if Snakemake is about to execute; return the exit code of the job `begin`."""
        return 0 if self._begun is None else self._begun.begin(workflow)

    def end(self) -> None:
        """Release the lease after success."""
        if self._begun is not None:
            self._begun.end()

    def fail(self, logs: str | Sequence[str] = ()) -> None:
        """Release the lease after tasks have failed, and end the process with their error."""
        if self._begun is not None:
            self._begun.fail(logs)

    def task(self, name: str) -> Task:
        """Return a task by its name."""
        return self.targets.tasks[name]

    def publishing(self, wildcard: str) -> str:
        """Return the name of the task that publishes a layer; an empty text if its marker is up to date."""
        task = self.targets.publishing(wildcard)
        return "" if task is None else task.name

    def published(self, layer: str) -> str:
        """Return the published marker of a layer, for rules that depend on it."""
        known = [planned.name for planned in self.plan.layers]
        if known and layer not in known:
            refuse(UsageError(f"the run has no layer {layer!r}", where=self.plan.dataset, fix=f"choose one of: {', '.join(known)}"))
        return self.targets.published(layer)

    # -- resources ----------------------------------------------------------------------------------------------

    def mem_mb(self, name: str, attempt: int, workflow: Any) -> int:
        """Return the memory to request; more with each attempt, because only a lack of memory is worth another attempt.

        wkpipe's own executor turns the prediction into a request itself. Any other one that submits jobs requests just this
        amount, and starts Snakemake in the job.
        """
        task = self.task(name)
        predicted = task.mem_mb * attempt
        if workflow.local_exec or ExecutorChoice.of(workflow.executor_plugin.name, workflow.executor_settings).is_own:
            return predicted
        return math.ceil((needed_mib(predicted, task.threads) + SNAKEMAKES * SNAKEMAKE_MIB) * BYTES_PER_MIB / 1e6)

    def runtime_minutes(self, name: str, attempt: int) -> int:
        """Return the minutes to request; more with each attempt."""
        return max(LEAST_MINUTES, math.ceil(self.task(name).runtime_s * RUNTIME_MARGIN / 60)) * attempt


class _Runs:
    """The runs of one workflow. `secret` is the token that was in the environment before it was removed."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret
        self._runs: dict[Path, tuple[Config, WorkflowRun]] = {}
        self._seals: list[Seal] = []

    def of(self, config: Config, workflow: Any) -> WorkflowRun:
        """Return the run of a config.

        Raises:
            UsageError: another module of the workflow works on the same dataset.
            WkpipeError: see `make_plan`.
        """
        locations = Locations.of(config.target, config.state_dir)
        known, run = self._runs.get(locations.dataset, (config, None))
        if known != config:
            raise UsageError(
                "two modules of the workflow work on this dataset with different configs",
                where=config.target,
                fix="make one of them, or start Snakemake once for each",
            )
        if run is None:
            run = self._planned(config, locations, workflow) if workflow.is_main_process else _of_job(locations)
            self._runs[locations.dataset] = (config, run)
        return run

    def _planned(self, config: Config, locations: Locations, workflow: Any) -> WorkflowRun:
        for path in (locations.state, Path.cwd()):
            if {*"{}"} & {*str(path)}:
                raise InputRefused("Snakemake takes braces in a path for wildcards", where=path, fix="rename the directory, or use wkpipe")
        executor = ExecutorChoice.of_this_process()
        if config.download_url is not None and executor.submits(workflow.resource_settings):
            raise UsageError(only_here("jobs on other hosts"))

        @functools.cache
        def token() -> Token:
            # A token file in the config is meant for this run; the variable may be set for all of a user's work.
            return take_token(None if config.token_file else self._secret, config.token_file)

        found = dataset_to_download(config, token)
        plan = make_plan(config, Sizing.of(executor.slots(workflow.resource_settings)), found=found, say=say, with_markers=True)
        _say_plan(plan, executor)
        run = Run(plan)
        self._seals.append(run.seal)
        os.environ[VARIABLE] = ",".join(seal.variable for seal in self._seals)  # all processes that Snakemake starts inherit it
        targets = Targets(plan, run.directory, None if plan.is_empty else _trigger(workflow, run))
        return WorkflowRun(plan, run.directory, targets, BegunRun(run, targets, token))


def _of_job(locations: Locations) -> WorkflowRun:
    """Return the run that this process is a job of; if no run has begun, as for jobs of other rules, one with nothing to do."""
    for seal in Seal.all_of_environment():
        directory = locations.runs.path(seal.run)  # as Snakemake has it from `wkpipe`
        if locations.runs.has(f"{seal.run}/{PLAN_FILE}"):
            plan = load_plan(directory, seal)
            return WorkflowRun(plan, directory, Targets(plan, directory))
    return _idle(locations.dataset, locations.state)


def _idle(dataset: Path, state: Path) -> WorkflowRun:
    plan = Plan(dataset, state, (), ())
    directory = plan.locations.runs.path("none")
    return WorkflowRun(plan, directory, Targets(plan, directory))


def _trigger(workflow: Any, run: Run) -> Path:
    """Create the file that is newer than any marker, in the directory that Snakemake removes at its end."""
    path = Path(workflow.snakemake_tmp_dir) / f"wkpipe-{run.directory.name}"
    disk.close(disk.create(path), path)
    disk.set_mtime(path, LATER_THAN_ALL_NS, path)
    return path


def _say_plan(plan: Plan, executor: ExecutorChoice) -> None:
    memory = memory_note(plan, executor.resources, executor.cluster is not None and executor.cluster.enforces_memory)
    for note in (*plan.notes, *(account.text for account in plan.accounts), *reason_lines(plan.reasons), *([memory] if memory else [])):
        say(note)
    if plan.is_empty:
        say(f"nothing to do: {plan.dataset} is up to date")
    for line in upload_lines(plan):
        say(line)
