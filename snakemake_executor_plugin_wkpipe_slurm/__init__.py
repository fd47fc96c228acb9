"""Snakemake's executor ``wkpipe-slurm``: one Slurm job for each task of a plan, which runs the step itself.

All that has to do with Slurm is in `wkpipe.run.slurm_watch`; here it meets Snakemake. Jobs of other rules, as a workflow that
includes wkpipe's may have, run Snakemake within their job.
"""

import asyncio
import shlex
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from wkpipe.run.interrupt import stopping_signals

TICK_SECONDS = 1.0
"""How often the records of jobs are looked for; Slurm itself is asked far less often."""

JOBS_PER_TICK = 100
"""More jobs than this are looked for less often: each costs the shared file system three lookups."""


def _interrupt(*_: object) -> None:
    """Have Snakemake cancel its jobs, once: another signal, as from an impatient user, must not disturb that.

    Its own way with SIGTERM is to wait for all jobs. Batch systems mean: now.
    """
    for number in stopping_signals():
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of the executor, as ``--wkpipe-slurm-…`` and in profiles."""

    job_resources: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "What each job is to have, in sbatch's words: JSON, or key=value,… like partition=long,mem=4G.", "env_var": True},
    )
    setup: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Shell command that each job runs first, like 'module load python'.", "env_var": True},
    )
    python: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Command that starts Python in jobs, where it is not this one; it may begin with a container's.",
            "env_var": True,
        },
    )
    status_seconds: float = field(
        default=15.0,
        metadata={"help": "Slurm is asked for the state of all jobs once in so many seconds at most.", "type": float},
    )
    leave_jobs: bool = field(
        default=False,
        metadata={"help": "When Snakemake is stopped, leave the jobs that were submitted running."},
    )

    def __post_init__(self) -> None:
        from wkpipe.run import cluster

        cluster.announce(self.job_resources)


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # sbatch hands the environment on
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Hands Snakemake's jobs to a `SlurmWatch` and tells Snakemake how they ended."""

    _watch: Any = None  # the waiting thread looks for it before this object is complete

    def __post_init__(self) -> None:
        from wkpipe.run.job_resources import JobResources, parse_job_resources

        settings = self.workflow.executor_settings or ExecutorSettings()
        self._settings = settings
        self._resources = JobResources.of(parse_job_resources(settings.job_resources))
        self._ended: dict[str, Any] = {}
        self._directory = Path.cwd()

    # -- from Snakemake's thread --------------------------------------------------------------------------------

    def run_job(self, job: JobExecutorInterface) -> None:
        """Have a job submitted."""
        if threading.current_thread() is threading.main_thread():
            for number in stopping_signals():
                signal.signal(number, _interrupt)
        made = self._of_task(job) or self._of_other(job)
        info = SubmittedJobInfo(job, external_jobid=made.name)
        self._watch.add(made)
        self.report_job_submission(info)

    def cancel(self) -> None:
        """Stop: cancel what was submitted and wait for it, unless it is to be left."""
        if self._watch is not None:
            self._watch.stop()
        super().shutdown()
        self._cancel_rest()

    def shutdown(self) -> None:
        super().shutdown()
        self._cancel_rest()

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """Cancel all jobs: which ones are active, Snakemake does not know while it looks at them."""
        self._cancel_rest()

    def _cancel_rest(self) -> None:
        from wkpipe.run.slurm import Away

        if self._watch is None or self._watch.is_idle or self._settings.leave_jobs:
            return
        try:
            if count := self._watch.cancel():
                self._say(f"{count} Slurm jobs were cancelled")
        except Away as reason:
            self._say(f"Slurm does not answer ({reason}): its jobs could not be cancelled; the next run will do that")

    def _say(self, text: str) -> None:
        self.logger.warning("wkpipe: %s", text)

    # -- from the waiting thread --------------------------------------------------------------------------------

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that have ended; the others stay active."""
        if self._watch is not None:
            # What Slurm refuses at once may have ended before Snakemake counts it as active: it waits here for that.
            self._ended.update((job.name, (job, error)) for job, error in self._watch.tick())
        for info in active_jobs:
            name = info.external_jobid
            if name not in self._ended:
                yield info
                continue
            job, error = self._ended.pop(name)
            if error:
                self.report_job_error(info, msg=f"{error}\n", aux_logs=[str(job.log)])
            else:
                self.report_job_success(info)

    async def sleep(self) -> None:
        await asyncio.sleep(TICK_SECONDS * max(1.0, len(self.active_jobs) / JOBS_PER_TICK))

    # -- what is submitted --------------------------------------------------------------------------------------

    def _of_task(self, job: JobExecutorInterface) -> Any:
        """Return the Slurm job for a task of a plan; None where the job is another rule's."""
        from wkpipe.run.cluster_job import TaskRecords
        from wkpipe.steps.job_note import forget_error

        if job.is_group():
            return None
        given, task = getattr(job.params, "run", None), getattr(job.wildcards, "task", None)
        if given is None or task is None or not (Path(given) / "tasks.jsonl").is_file():
            return None
        run = Path(given).absolute()
        self._begin(run)
        forget_error(run, task)  # of an earlier try, where Snakemake was told to --retries
        python = self._settings.python or shlex.quote(sys.executable)
        # The run's secret comes with the environment. Python imports nothing from where it starts, nor does what it starts.
        command = f"{python} -P -m wkpipe step {shlex.quote(str(run))} {shlex.quote(task)}"
        return self._made(
            job, task, f"exec {command}", run / "logs" / job.rule.name / f"{task}.log", TaskRecords(run, job.rule.name, task), 0
        )

    def _of_other(self, job: JobExecutorInterface) -> Any:
        from wkpipe.run.cluster_job import ExitCodeFile
        from wkpipe.run.job_resources import SNAKEMAKE_MIB

        name = f"{'group' if job.is_group() else job.rule.name}-{job.jobid}-{job.attempt}"
        run = Path(self.tmpdir)
        self._begin(run)
        code = run / f"{name}.exit"
        script = f"{self.format_job_exec(job)}\ncode=$?\necho $code > {shlex.quote(str(code))}\nexit $code"
        log = self._directory / ".snakemake" / "slurm_logs" / f"{name}.log"
        return self._made(job, name, script, log, ExitCodeFile(code), SNAKEMAKE_MIB)

    def _made(self, job: JobExecutorInterface, name: str, command: str, log: Path, records: Any, besides_mib: int) -> Any:
        from wkpipe.run.cluster import slurm_job

        setup = f"{self._settings.setup}\n" if self._settings.setup else ""
        script = f"#!/bin/bash\nexport PYTHONSAFEPATH=1\n{setup}{command}\n"  # whose functions, as `module`, go along with the environment
        return slurm_job(name, script, log, records, dict(job.resources), job.threads, self._resources, besides_mib)

    def _begin(self, run: Path) -> None:
        """Begin to watch, when the first job tells which run this is."""
        if self._watch is not None:
            return
        from wkpipe.run.slurm_watch import SlurmWatch
        from wkpipe.steps.run import place_of
        from wkpipe.storage.seal import Seal

        inside = place_of(run, Seal.of_environment(run)) if run.parent.name == "runs" else self._directory
        self._watch = SlurmWatch(
            run,
            inside,
            self._directory,
            float(self.workflow.execution_settings.latency_wait),
            self._say,
            poll=self._settings.status_seconds,
            partition=self._resources.options.get("partition"),
        )
