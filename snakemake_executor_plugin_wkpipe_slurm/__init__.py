"""Snakemake's executor ``wkpipe-slurm``: each task of a plan is a job of Slurm.

The name is what Snakemake looks for; the executor itself is in `wkpipe.cluster.executor`.
"""

from dataclasses import dataclass, field
from typing import Optional

from wkpipe.cluster.executor import COMMON_SETTINGS, ClusterExecutor, ClusterExecutorSettings


@dataclass
class ExecutorSettings(ClusterExecutorSettings):
    """Options of the executor, as ``--wkpipe-slurm-…`` and in profiles."""

    job_resources: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "What each job requests, in sbatch's words: JSON, or key=value,… like partition=long,mem=4G.", "env_var": True},
    )


class Executor(ClusterExecutor):
    """Submits jobs to Slurm."""

    strategy = "slurm"


common_settings = COMMON_SETTINGS
