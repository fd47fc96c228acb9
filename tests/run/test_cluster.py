"""How work is cut for the jobs of a cluster."""

from __future__ import annotations

import pytest

from wkpipe.plan.resources import JOB_THREADS, RANGE_SECONDS, RANGES_PER_JOB
from wkpipe.run.cluster import RUNTIME_MARGIN, cluster_sizing
from wkpipe.run.job_resources import JobResources
from wkpipe.run.slurm import Limits


@pytest.mark.parametrize(
    "asked,of_partition,minutes",
    [
        (None, None, RANGES_PER_JOB * RANGE_SECONDS * RUNTIME_MARGIN / 60),
        (30, None, 30),
        (None, 45, 45),
        (30, 45, 30),
        (1, None, 1),
    ],
)
def test_a_job_ends_within_its_time(asked: int | None, of_partition: int | None, minutes: float) -> None:
    limits = Limits(memory_mib=64000, cpus=32, minutes=of_partition)
    sizing = cluster_sizing(10, JobResources(minutes=asked), limits)
    work = 1e6
    longest = work / sizing.ranges_of(work) / JOB_THREADS
    assert 0.9 * minutes < longest * RUNTIME_MARGIN / 60 <= 1.01 * minutes


@pytest.mark.parametrize("work,jobs", [(1.0, 1), (10 * RANGE_SECONDS * JOB_THREADS, 10), (1000 * RANGE_SECONDS * JOB_THREADS, 30)])
def test_slots_are_kept_busy_by_jobs_that_are_worth_it(work: float, jobs: int) -> None:
    """With 10 slots: no job below a range, then three for each slot."""
    assert cluster_sizing(10, JobResources(), None).ranges_of(work) == jobs
