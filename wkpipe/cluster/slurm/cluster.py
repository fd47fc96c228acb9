"""Slurm as a kind of cluster: what `wkpipe.cluster.strategies` registers."""

from __future__ import annotations

from typing import Final

from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.slurm.backend import KEY, Slurm
from wkpipe.cluster.slurm.options import job_resources, parsed, profile_resources

SLURM: Final = Cluster(
    key=KEY,
    executor="wkpipe-slurm",
    others=("slurm", "slurm-jobstep", "cluster-generic"),
    backend=lambda _: Slurm(),
    parsed=parsed,
    resources=job_resources,
    profile_resources=profile_resources,
)
