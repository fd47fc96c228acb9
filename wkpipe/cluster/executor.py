"""Snakemake's executor for any cluster: one job for each task of a plan, which runs the step itself.

A plugin has the name that Snakemake looks for, and only says which cluster it is for. `wkpipe.cluster.watch` handles the jobs; this
module connects it to Snakemake. A workflow that includes wkpipe's may have other rules: their jobs run Snakemake themselves.
"""

# Without `from __future__ import annotations`: Snakemake reads the types of the settings from the class.
import asyncio
import shlex
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Optional

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from wkpipe.storage.process import stopping_signals

if TYPE_CHECKING:
    from wkpipe.cluster.job import ClusterJob
    from wkpipe.cluster.kind import Cluster
    from wkpipe.cluster.records import Records
    from wkpipe.cluster.watch import Watch

# All else is imported when it is needed, because every start of Snakemake imports all installed plugins.

TICK_SECONDS = 1.0
"""The time between two looks for records of jobs; the cluster itself is asked far less often."""

JOBS_PER_TICK = 100
"""More jobs than this are looked for less often: each costs the shared file system three lookups."""


def _interrupt(*_: object) -> None:
    """Have Snakemake cancel its jobs, once; further signals, as from an impatient user, must not disturb that.

    By default, Snakemake waits for all jobs after SIGTERM. Batch systems mean: now.
    """
    for number in stopping_signals():
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


@dataclass
class ClusterExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of an executor, as ``--NAME-…`` and in profiles."""

    job_resources: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "What each job requests: JSON, or key=value,… like mem=4G,time=2:00:00.", "env_var": True},
    )
    setup: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Shell command that each job runs first, like 'module load python'.", "env_var": True},
    )
    python: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Command that starts Python in jobs, if it is not this one; it may begin with the command of a container.",
            "env_var": True,
        },
    )
    status_seconds: float = field(
        default=15.0,
        metadata={"help": "The cluster is asked for the state of all jobs at most once in this many seconds.", "type": float},
    )
    leave_jobs: bool = field(
        default=False,
        metadata={"help": "When Snakemake is stopped, leave the jobs that were submitted running."},
    )


COMMON_SETTINGS = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # backends pass the environment on
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class ClusterExecutor(RemoteExecutor):  # type: ignore[misc]
    """Hands Snakemake's jobs to a `Watch` for each run, and reports to Snakemake how they ended. A plugin's class names the `strategy`."""

    strategy: ClassVar[str]

    def __init__(self, *arguments: object) -> None:
        # The base class starts the waiting thread, which uses these before this object is complete.
        self._watches: dict[Path, Watch] = {}
        self._ended: dict[int, str] = {}
        super().__init__(*arguments)

    @classmethod
    def kind(cls) -> "Cluster":
        """Return the kind of cluster that the strategy runs on."""
        from wkpipe.cluster.strategies import cluster_of

        cluster = cluster_of(cls.strategy)
        assert cluster is not None
        return cluster

    def __post_init__(self) -> None:
        settings, cluster = self.workflow.executor_settings or ClusterExecutorSettings(), self.kind()
        self._settings, self._cluster = settings, cluster
        self._resources = cluster.resources(cluster.parsed(settings.job_resources))
        self._directory = Path.cwd()

    # -- from Snakemake's thread --------------------------------------------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Queue a job for submission."""
        if threading.current_thread() is threading.main_thread():
            for number in stopping_signals():
                signal.signal(number, _interrupt)
        watch, made = self._of_task(job) or self._of_other(job)
        watch.add(made)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=made.name, aux={"job": made}))

    def cancel(self) -> None:
        """Stop: cancel the submitted jobs and wait for their end, unless they are to be left running."""
        for watch in self._watches.values():
            watch.stop()
        super().shutdown()
        self._cancel_rest()

    def shutdown(self) -> None:
        super().shutdown()
        self._cancel_rest()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Cancel all jobs; while Snakemake checks its jobs, it does not know which ones are active."""
        self._cancel_rest()

    def _cancel_rest(self) -> None:
        from wkpipe.cluster.backend import Away

        for watch in self._watches.values():
            if watch.is_idle or self._settings.leave_jobs:
                continue
            title = watch.backend.title
            try:
                if count := watch.cancel():
                    self._say(f"{count} {title} jobs were cancelled")
            except Away as reason:
                self._say(f"{title} does not answer ({reason}): its jobs could not be cancelled; the next run will do that")

    def _say(self, text: str) -> None:
        self.logger.warning("wkpipe: %s", text)

    # -- from the waiting thread --------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that have ended; the others stay active."""
        # A job that is refused at once may end before Snakemake counts it as active; it waits here until then.
        self._ended |= {id(job): error for watch in list(self._watches.values()) for job, error in watch.tick()}
        for info in active_jobs:
            job = info.aux["job"]
            if id(job) not in self._ended:
                yield info
                continue
            if error := self._ended.pop(id(job)) or _not_delivered(job):
                self.report_job_error(info, msg=f"{error}\n", aux_logs=[str(job.log)])
            else:
                self.report_job_success(info)

    async def sleep(self) -> None:
        await asyncio.sleep(TICK_SECONDS * max(1.0, len(self.active_jobs) / JOBS_PER_TICK))

    # -- the submitted jobs --------------------------------------------------------------------------------------

    def _of_task(self, job: JobExecutorInterface) -> "Optional[tuple[Watch, ClusterJob]]":  # noqa: UP045
        """Return the job for a task of a plan, and the watch of its run; None if the job is another rule's."""
        if job.is_group():
            return None
        given, task = getattr(job.params, "run", None), getattr(job.wildcards, "task", None)
        if given is None or task is None:
            return None
        from wkpipe.cluster.records import TaskRecords
        from wkpipe.plan.plan import TASKS_FILE
        from wkpipe.runs.job_note import forget_error
        from wkpipe.stored.places import place_at

        if not place_at(Path(given)).has(TASKS_FILE):
            return None
        run = Path(given).absolute()
        watch = self._watch_of(run)
        forget_error(run, task)  # of an earlier try, if Snakemake was started with --retries
        python = self._settings.python or self._cluster.python or shlex.quote(sys.executable)
        # The run's secret is in the environment. Neither Python nor its child processes import anything from the current directory.
        command = f"exec {python} -P -m wkpipe step {shlex.quote(str(run))} {shlex.quote(task)} --no-marker"
        records = TaskRecords(run, task, Path(str(job.output[0])).absolute())
        return watch, self._made(job, task, command, run / "logs" / job.rule.name / f"{task}.log", records, 0)

    def _of_other(self, job: JobExecutorInterface) -> "tuple[Watch, ClusterJob]":
        from wkpipe.cluster.records import ExitCodeFile
        from wkpipe.cluster.resources import SNAKEMAKE_MIB

        name = f"{'group' if job.is_group() else job.rule.name}-{job.jobid}-{job.attempt}"
        run = Path(self.tmpdir)
        code = run / f"{name}.exit"
        script = f"{self.format_job_exec(job)}\ncode=$?\necho $code > {shlex.quote(str(code))}\nexit $code"
        log = self._directory / ".snakemake" / f"{self._cluster.key}_logs" / f"{name}.log"
        # Any watch will do; fewer watches mean fewer calls of the cluster.
        watch = next(iter(self._watches.values()), None) or self._watch_of(run)
        return watch, self._made(job, name, script, log, ExitCodeFile(code), SNAKEMAKE_MIB)

    def _made(self, job: JobExecutorInterface, name: str, command: str, log: Path, records: "Records", besides_mib: int) -> "ClusterJob":
        from wkpipe import __version__
        from wkpipe.cluster.sizing import cluster_job
        from wkpipe.runs.job_note import VERSION_VARIABLE

        setup = f"{self._settings.setup}\n" if self._settings.setup else ""
        script = (
            f"#!/bin/bash\nexport PYTHONSAFEPATH=1 {VERSION_VARIABLE}={shlex.quote(__version__)}\n"
            f"{setup}{command}\n"  # exported functions such as `module` come with the environment
        )
        return cluster_job(name, script, log, records, dict(job.resources), job.threads, self._resources, self._cluster, besides_mib)

    def _watch_of(self, run: Path) -> "Watch":
        """Return the watch of a run; it begins with the run's first job."""
        if (watch := self._watches.get(run)) is not None:
            return watch
        from wkpipe.cluster.watch import Watch
        from wkpipe.runs.stored_task import place_of
        from wkpipe.storage.seal import Seal

        inside = place_of(run, Seal.of_environment(run)) if run.parent.name == "runs" else self._directory
        self._watches[run] = Watch(
            self._cluster.backend(self._resources),
            run,
            inside,
            self._directory,
            float(self.workflow.execution_settings.latency_wait),
            self._say,
            poll=self._settings.status_seconds,
            resources=self._resources,
        )
        return self._watches[run]


def _not_delivered(job: "ClusterJob") -> str:
    """Make Snakemake's marker of a job that is done; return why it cannot be made, or an empty text."""
    from wkpipe.errors import WkpipeError

    try:
        job.records.deliver()
    except WkpipeError as error:
        return str(error)
    return ""
