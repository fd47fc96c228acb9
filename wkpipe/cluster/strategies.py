"""The distribution strategies: the one table that says which of them run on which kind of cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wkpipe.cluster.kind import Cluster

# Nothing heavy is imported here, because the command line's help needs the names.

LOCAL: Final = ("multiprocessing", "sequential")


def _slurm() -> Cluster:
    from wkpipe.cluster.slurm.cluster import SLURM

    return SLURM


def _kubernetes() -> Cluster:
    from wkpipe.cluster.kubernetes.cluster import KUBERNETES

    return KUBERNETES


CLUSTERS: Final[dict[str, Callable[[], Cluster]]] = {"slurm": _slurm, "kubernetes": _kubernetes}
"""Clusters by their strategy."""


def _cores_from_slurm() -> int | None:
    from wkpipe.cluster.slurm.environment import cores_of_this_job

    return cores_of_this_job()


CORES_OF_JOB: Final[tuple[Callable[[], int | None], ...]] = (_cores_from_slurm,)
"""How many cores a cluster has given to the job that this process belongs to; None if to none. Control groups say it of Kubernetes."""

STRATEGIES: Final = (*LOCAL, *CLUSTERS)


def is_cluster(strategy: str) -> bool:
    """True if the jobs of a strategy run on other hosts."""
    return strategy in CLUSTERS


def cluster_of(strategy: str) -> Cluster | None:
    """Return the kind of cluster that a strategy runs on; None if it is local."""
    return CLUSTERS[strategy]() if strategy in CLUSTERS else None


def cluster_of_executor(executor: str) -> Cluster | None:
    """Return the kind of cluster that one of Snakemake's executors submits to; None if it is not known."""
    return next((cluster for cluster in _clusters() if executor in (cluster.executor, *cluster.others)), None)


def usable_cores() -> int:
    """Return the cores that this process may use: those of the machine, or of the cluster's job that it belongs to."""
    from wkpipe.plan.cost.resources import available_cores

    given = [cores for cores_of_job in CORES_OF_JOB if (cores := cores_of_job()) is not None]
    return min([available_cores(), *given])


def strategies_with_main_process() -> list[str]:
    """Return the strategies on whose clusters wkpipe's main process can run, too."""
    return [cluster.key for cluster in _clusters() if cluster.inside is not None]


def _clusters() -> list[Cluster]:
    return [load() for load in CLUSTERS.values()]
