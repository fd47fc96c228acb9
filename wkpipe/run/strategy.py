"""Distribution strategies: where jobs run, how many at once, and how the work is cut for that."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.cluster.backend import Backend
from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.sizing import DEFAULT_JOBS, job_slots, limits_of, memory_note
from wkpipe.cluster.strategies import STRATEGIES, cluster_of, usable_cores
from wkpipe.errors import UsageError
from wkpipe.plan.cost.resources import CoreSlots, Sizing, available_memory_mb
from wkpipe.plan.plan import Plan
from wkpipe.run.profiles import profile_path, profile_values
from wkpipe.run.workflow_files import profile_directory


@dataclass(frozen=True)
class Strategy:
    """A strategy with its settings: `jobs` are cores of this machine, or simultaneous jobs of the `cluster`.

    `asked` are the requests of cluster jobs, as options and values. With `leave_jobs`, a stopped run leaves its jobs running.
    """

    name: str
    jobs: int
    sizing: Sizing
    profile: Path
    cluster: Cluster | None = None
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
        """Return the strategy that the options select; with `may_run`, it may be run, not only shown.

        Raises:
            UsageError: it is not known or cannot be used here, or the options contradict each other.
        """
        if name not in STRATEGIES:
            raise UsageError(f"distribution strategy {name!r} is not known", fix=f"choose one of: {', '.join(STRATEGIES)}")
        directory = profile_directory(name) if profile is None else profile_path(profile)
        if (cluster := cluster_of(name)) is not None:
            return cls._on_cluster(cluster, jobs, job_resources, directory, leave_jobs, may_run)
        if name == "sequential" and jobs not in (None, 1):
            raise UsageError(
                f"--jobs {jobs} contradicts --distribution-strategy sequential, which uses one core", fix="leave one of them out"
            )
        for option, is_given in (("--job-resources", job_resources is not None), ("--leave-jobs-running", leave_jobs)):
            if is_given:
                raise UsageError(f"{option} is for cluster strategies", fix=f"leave it out with --distribution-strategy {name}")
        cores = 1 if name == "sequential" else jobs or usable_cores()
        return cls(name, cores, Sizing.of(CoreSlots(cores)), directory)

    @classmethod
    def _on_cluster(
        cls, cluster: Cluster, jobs: int | None, job_resources: str | None, directory: Path, leave_jobs: bool, may_run: bool
    ) -> Strategy:
        asked, values = requests_of(cluster, job_resources, directory)
        resources = cluster.resources(asked)
        jobs = jobs or most_jobs(values) or DEFAULT_JOBS
        sizing = Sizing.of(job_slots(jobs, resources, limits_of(cluster, resources, must_answer=may_run)))
        return cls(cluster.key, jobs, sizing, directory, cluster, asked, leave_jobs)

    @property
    def is_cluster(self) -> bool:
        return self.cluster is not None

    def notes(self, plan: Plan) -> list[str]:
        """Return the notes for the user on a plan before it is run."""
        if self.cluster is None or plan.is_empty:
            return []
        tasks = [task for task in plan.tasks if task.ranges]
        threads = max((task.threads for task in tasks), default=1)
        title = self.backend().title
        first = f"{len(tasks)} {title} job{'s' if len(tasks) != 1 else ''} of up to {threads} cores, at most {self.jobs} at once (--jobs)"
        memory = memory_note(plan, self.cluster.resources(self.asked), self.cluster.enforces_memory)
        return [first, *([memory] if memory else [])]

    def backend(self) -> Backend:
        """Return the cluster for the jobs of this strategy."""
        assert self.cluster is not None
        return self.cluster.backend(self.cluster.resources(self.asked))

    def arguments(self) -> list[str]:
        """Return Snakemake's arguments for it."""
        profile = ["--profile", str(self.profile), "--workflow-profile", "none"]
        if self.cluster is None:
            return [*profile, "--cores", str(self.jobs), "--resources", f"mem_mb={available_memory_mb()}"]
        executor = self.cluster.executor
        asked = [f"--{self.cluster.resources_key}", json.dumps(dict(self.asked))] if self.asked else []
        leave = [f"--{executor}-leave-jobs"] if self.leave_jobs else []
        return [*profile, "--executor", executor, "--jobs", str(self.jobs), *asked, *leave]


def requests_of(cluster: Cluster, job_resources: str | None, directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what jobs request, by the profile in a directory, the variable and ``--job-resources``; and the profile's values.

    Raises:
        UsageError: one of them cannot be read.
    """
    values = profile_values(directory)
    of_profile = values.get(cluster.resources_key, "")
    if not isinstance(of_profile, str):  # Snakemake drops it silently
        raise UsageError(f'{cluster.resources_key} must be one text like "account=mylab,partition=long"', where=directory)
    texts = (os.path.expandvars(of_profile), os.environ.get(cluster.resources_variable), job_resources)
    return {key: value for text in texts for key, value in cluster.parsed(text).items()}, values


def most_jobs(values: Mapping[str, Any]) -> int | None:
    """Return how many jobs at once a profile with these values allows; None if it sets no limit.

    >>> most_jobs({"jobs": 9}), most_jobs({"jobs": "unlimited"}), most_jobs({})
    (9, None, None)
    """
    most = values.get("jobs")
    return most if isinstance(most, int) and most > 0 else None
