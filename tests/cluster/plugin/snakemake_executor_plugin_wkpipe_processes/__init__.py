"""Snakemake's executor ``wkpipe-processes``: all that a plugin for a new cluster needs, here for `LocalCluster`."""

import os
from pathlib import Path

from wkpipe.cluster.executor import COMMON_SETTINGS, ClusterExecutor, ClusterExecutorSettings
from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.local_cluster import LocalCluster
from wkpipe.cluster.resources import JobResources, parse_job_resources


class ExecutorSettings(ClusterExecutorSettings):
    """No options beyond the common ones."""


class Executor(ClusterExecutor):
    """Runs jobs as processes of the cluster in the directory LOCAL_CLUSTER."""

    @classmethod
    def kind(cls) -> Cluster:
        return Cluster(
            key="local-cluster",
            executor="wkpipe-processes",
            others=(),
            backend=lambda _: LocalCluster(Path(os.environ["LOCAL_CLUSTER"])),
            parsed=lambda text: parse_job_resources(text, ()),
            resources=lambda _: JobResources(),
            profile_resources=lambda _: JobResources(),
        )


common_settings = COMMON_SETTINGS
