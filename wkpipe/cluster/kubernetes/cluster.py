"""Kubernetes as a kind of cluster: what `wkpipe.cluster.strategies` registers."""

from __future__ import annotations

from typing import Final

from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.kubernetes.backend import KEY, Kubernetes
from wkpipe.cluster.kubernetes.main_run import MainOnKubernetes
from wkpipe.cluster.kubernetes.options import job_resources, parsed, profile_resources

KUBERNETES: Final = Cluster(
    key=KEY,
    executor="wkpipe-kubernetes",
    others=("kubernetes",),
    backend=Kubernetes,
    parsed=parsed,
    resources=job_resources,
    profile_resources=profile_resources,
    inside=MainOnKubernetes,
    python="python3",
    enforces_memory=True,
    has_time_limit=False,
)
