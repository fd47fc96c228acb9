"""The executor that Snakemake was started with, and its options."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.resources import JobResources
from wkpipe.cluster.sizing import DEFAULT_JOBS, job_slots, limits_of
from wkpipe.cluster.strategies import cluster_of_executor, usable_cores
from wkpipe.plan.cost.resources import CoreSlots, JobSlots


@dataclass(frozen=True)
class ExecutorChoice:
    """An executor of Snakemake: its `name`, the kind of cluster that it submits to if known, and the resources of each job."""

    name: str = "local"
    cluster: Cluster | None = None
    resources: JobResources = field(default_factory=JobResources)

    @classmethod
    def of_this_process(cls) -> ExecutorChoice:
        """Return the executor that this process was started with; the local one if Snakemake does not say.

        Snakemake makes the settings of an executor before it parses the Snakefile, but puts them into the workflow afterwards, and
        never in a dry run. Until then they are local variables of the call that parses the Snakefile.

        Raises:
            UsageError: the settings are not valid.
        """
        frame = sys._getframe()
        while frame.f_back is not None and "executor_settings" not in frame.f_locals:
            frame = frame.f_back
        plugin, settings = frame.f_locals.get("executor_plugin"), frame.f_locals.get("executor_settings")
        name = getattr(plugin, "name", None)
        return cls() if name is None else cls.of(name.replace("_", "-"), settings)

    @classmethod
    def of(cls, name: str, settings: Any) -> ExecutorChoice:
        """Return an executor with its settings, as Snakemake has them.

        Raises:
            UsageError: the settings are not valid.
        """
        cluster = cluster_of_executor(name)
        if cluster is None or cluster.executor != name:
            return cls(name, cluster)
        return cls(name, cluster, cluster.resources(cluster.parsed(settings.job_resources)))

    @property
    def is_own(self) -> bool:
        """True if it is one of wkpipe's executors, which make requests from predictions themselves."""
        return self.cluster is not None and self.cluster.executor == self.name

    def submits(self, settings: Any) -> bool:
        """True if jobs run on other hosts; `settings` are Snakemake's for resources."""
        return self.is_own or (settings.nodes is not None and _cores(settings) is None)

    def slots(self, settings: Any) -> CoreSlots | JobSlots:
        """Return the slots where tasks run at once; `settings` are Snakemake's for resources.

        Raises:
            UsageError: no node of the cluster has the requested resources.
        """
        if not self.submits(settings):
            return CoreSlots(_cores(settings) or usable_cores())
        limits = None if self.cluster is None else limits_of(self.cluster, self.resources, must_answer=False)
        return job_slots(settings.nodes or DEFAULT_JOBS, self.resources, limits)


def _cores(settings: Any) -> int | None:
    return settings.cores if isinstance(settings.cores, int) and settings.cores < sys.maxsize else None
