"""Snakemake's executor ``wkpipe-kubernetes``: each task of a plan is a Job of Kubernetes.

The name is what Snakemake looks for; the executor itself is in `wkpipe.cluster.executor`.
"""

from dataclasses import dataclass, field
from typing import Optional

from wkpipe.cluster.executor import COMMON_SETTINGS, ClusterExecutor, ClusterExecutorSettings


@dataclass
class ExecutorSettings(ClusterExecutorSettings):
    """Options of the executor, as ``--wkpipe-kubernetes-…`` and in profiles."""

    job_resources: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "What each job requests: JSON, or key=value,… like mem=4G,volume=pvc:shared:/data.", "env_var": True},
    )


class Executor(ClusterExecutor):
    """Creates Jobs on a Kubernetes cluster."""

    strategy = "kubernetes"


common_settings = COMMON_SETTINGS
