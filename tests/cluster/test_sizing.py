"""How work is cut into jobs of a cluster."""

from __future__ import annotations

import pytest

from wkpipe.cluster.backend import Limits
from wkpipe.cluster.resources import JobResources
from wkpipe.cluster.sizing import RUNTIME_MARGIN, job_slots
from wkpipe.cluster.strategies import usable_cores
from wkpipe.plan.cost.resources import JOB_THREADS, RANGE_SECONDS, RANGES_PER_JOB, Sizing, available_cores


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
    sizing = Sizing.of(job_slots(10, JobResources(minutes=asked), limits))
    work = 1e6
    longest = work / sizing.ranges_of(work) / JOB_THREADS
    assert 0.9 * minutes < longest * RUNTIME_MARGIN / 60 <= 1.01 * minutes


@pytest.mark.parametrize("work,jobs", [(1.0, 1), (10 * RANGE_SECONDS * JOB_THREADS, 10), (1000 * RANGE_SECONDS * JOB_THREADS, 30)])
def test_slots_are_kept_busy_by_jobs_that_are_worth_it(work: float, jobs: int) -> None:
    """With 10 slots: no job is shorter than a range; beyond that, three jobs for each slot."""
    assert Sizing.of(job_slots(10, JobResources(), None)).ranges_of(work) == jobs


@pytest.mark.parametrize("given, cores", [("1", 1), ("0", 1), ("many", None), ("", None), ("100000", None)])
def test_a_process_in_a_job_uses_the_cores_of_the_job(given: str, cores: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Slurm does not bind processes to cores, only its variable says how many a job has."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert usable_cores() == (available_cores() if cores is None else cores)
