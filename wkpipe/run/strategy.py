"""Distribution strategies: where jobs run, how many at once, and how the work is cut for that."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import UsageError
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import Sizing, available_cores, available_memory_mb
from wkpipe.run.cluster import DEFAULT_JOBS, cluster_sizing, memory_note, slurm_limits
from wkpipe.run.job_resources import JobResources, parse_job_resources
from wkpipe.run.profiles import profile_path, profile_values
from wkpipe.run.workflow_files import profile_directory

LOCAL_STRATEGIES: Final = ("multiprocessing", "sequential")
SLURM: Final = "slurm"
CLUSTER_STRATEGIES: Final = (SLURM, "kubernetes")
STRATEGIES: Final = (*LOCAL_STRATEGIES, *CLUSTER_STRATEGIES)
RESOURCES_KEY: Final = "wkpipe-slurm-job-resources"
RESOURCES_VARIABLE: Final = "SNAKEMAKE_WKPIPE_SLURM_JOB_RESOURCES"
"""By which Snakemake takes it from the environment."""


@dataclass(frozen=True)
class Strategy:
    """A strategy with its settings: `jobs` are cores of this machine, or simultaneous jobs of the cluster.

    `asked` is what cluster jobs are to have, as options and values. With `leave_jobs`, a run that is stopped leaves its jobs running.
    """

    name: str
    jobs: int
    sizing: Sizing
    profile: Path
    asked: Mapping[str, Any] = field(default_factory=dict)
    leave_jobs: bool = False

    @classmethod
    def chosen(
        cls,
        name: str,
        jobs: int | None = None,
        job_resources: str | None = None,
        profile: str | None = None,
        leave_jobs: bool = False,
        may_run: bool = True,
    ) -> Strategy:
        """Return the strategy that the options ask for; with `may_run` it is there to be run, not only shown.

        Raises:
            UsageError: it is not known or can not be used here, or the options contradict each other.
        """
        if name not in STRATEGIES:
            raise UsageError(f"distribution strategy {name!r} is not known; choose one of: {', '.join(STRATEGIES)}")
        directory = profile_directory(name) if profile is None else profile_path(profile)
        if name == SLURM:
            return cls._slurm(jobs, job_resources, directory, leave_jobs, may_run)
        if name not in LOCAL_STRATEGIES:
            raise UsageError(
                f"the distribution strategy {name} is not available in this version; use {', '.join(LOCAL_STRATEGIES)} or slurm"
            )
        if name == "sequential" and jobs not in (None, 1):
            raise UsageError(f"--jobs {jobs} contradicts --distribution-strategy sequential, which uses one core; leave one of them out")
        for option, is_given in (("--job-resources", job_resources is not None), ("--leave-jobs-running", leave_jobs)):
            if is_given:
                raise UsageError(f"{option} is for cluster strategies; leave it out with --distribution-strategy {name}")
        cores = 1 if name == "sequential" else jobs or available_cores()
        return cls(name, cores, Sizing.local(cores), directory)

    @classmethod
    def _slurm(cls, jobs: int | None, job_resources: str | None, directory: Path, leave_jobs: bool, may_run: bool) -> Strategy:
        values = profile_values(directory)
        of_profile = values.get(RESOURCES_KEY, "")
        if not isinstance(of_profile, str):  # Snakemake passes over it
            raise UsageError(f'{directory}: {RESOURCES_KEY} must be one text like "account=mylab,partition=long"')
        texts = (os.path.expandvars(of_profile), os.environ.get(RESOURCES_VARIABLE), job_resources)
        asked = {key: value for text in texts for key, value in parse_job_resources(text).items()}
        resources = JobResources.of(asked)
        most = values.get("jobs")
        jobs = jobs or (most if isinstance(most, int) and most > 0 else DEFAULT_JOBS)
        return cls(SLURM, jobs, cluster_sizing(jobs, resources, slurm_limits(resources, must_answer=may_run)), directory, asked, leave_jobs)

    @property
    def is_cluster(self) -> bool:
        return self.name == SLURM

    def notes(self, plan: Plan) -> list[str]:
        """Return what the user is told of a plan before it is run."""
        if not self.is_cluster or plan.is_empty:
            return []
        tasks = [task for task in plan.tasks if task.parts]
        threads = max((task.threads for task in tasks), default=1)
        first = f"{len(tasks)} Slurm job{'s' if len(tasks) != 1 else ''} of up to {threads} cores, at most {self.jobs} at once (--jobs)"
        memory = memory_note(plan, JobResources.of(self.asked))
        return [first, *([memory] if memory else [])]

    def arguments(self) -> list[str]:
        """Return Snakemake's arguments for it."""
        profile = ["--profile", str(self.profile), "--workflow-profile", "none"]
        if not self.is_cluster:
            return [*profile, "--cores", str(self.jobs), "--resources", f"mem_mb={available_memory_mb()}"]
        asked = ["--wkpipe-slurm-job-resources", json.dumps(dict(self.asked))] if self.asked else []
        leave = ["--wkpipe-slurm-leave-jobs"] if self.leave_jobs else []
        return [*profile, "--executor", "wkpipe-slurm", "--jobs", str(self.jobs), *asked, *leave]
