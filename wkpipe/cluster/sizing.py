"""How work is cut into jobs of a cluster, and what a single job requests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wkpipe.cluster.backend import Away, Limits, Refused, Request
from wkpipe.cluster.job import ClusterJob
from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.records import Records
from wkpipe.cluster.resources import JobResources, needed_mib, predicted_mb
from wkpipe.errors import TryAgain, UsageError
from wkpipe.plan.cost.resources import JOB_THREADS, RANGE_SECONDS, JobSlots
from wkpipe.plan.plan import Plan

DEFAULT_JOBS: Final = 100

RUNTIME_MARGIN: Final = 4.0
"""Requested over predicted runtime: predictions are rough, and a job that reaches its limit costs more than a long request."""

RANGE_VARIABLE: Final = "WKPIPE_RANGE_SECONDS"


def job_slots(jobs: int, resources: JobResources, limits: Limits | None) -> JobSlots:
    """Return the slots that decide how work is cut for `jobs` simultaneous jobs with these resources."""
    threads = resources.cpus or min(JOB_THREADS, limits.cpus if limits is not None else JOB_THREADS)
    memory = resources.memory_of(threads)
    memory_mb = None if memory is None else max(1, predicted_mb(memory, threads))
    minutes = resources.minutes or (limits.minutes if limits is not None else None) or math.inf
    return JobSlots(jobs, threads, memory_mb, _range_seconds(), 60 * minutes / RUNTIME_MARGIN)


def _range_seconds() -> float:
    """Return the least time of a range; a variable can set it for clusters with short queues.

    Raises:
        UsageError: the variable is not a positive number.
    """
    text = os.environ.get(RANGE_VARIABLE, "")
    try:
        seconds = float(text) if text else RANGE_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is not valid", where=RANGE_VARIABLE, expected="seconds like 60")
    return seconds


def limits_of(cluster: Cluster, resources: JobResources, must_answer: bool) -> Limits | None:
    """Return the most that a job can get on a cluster; None if the cluster does not say.

    Raises:
        TryAgain: it `must_answer`, and does not.
        UsageError: it `must_answer`, and cannot be used from this host; or no node has the requested resources.
    """
    backend, limits = cluster.backend(resources), None
    try:
        limits = backend.limits(resources)
    except Away as reason:
        if must_answer:
            raise TryAgain(f"{backend.title} does not answer: {reason}", fix="nothing was submitted, try again later") from None
    except Refused as reason:
        if must_answer:
            raise UsageError(f"the strategy {cluster.key} cannot be used here: {reason}") from None
    if limits is not None:
        _check_fits(resources, limits, backend.pool)
    return limits


def _check_fits(resources: JobResources, limits: Limits, pool: str) -> None:
    """Refuse a request that no node can meet: the cluster may accept such a job and let it wait for ever."""
    cpus = resources.cpus or 1
    memory = resources.memory_of(cpus) or 0
    for what, asked, most, unit in (("cpus-per-task", cpus, limits.cpus, "cores"), ("mem", memory, limits.memory_mib, "MiB")):
        if asked > most:
            raise UsageError(
                f"{what}: {asked} {unit} for each job, but no node of the {pool} has more than {most}", where="--job-resources"
            )


def memory_note(plan: Plan, resources: JobResources, is_enforced: bool = False) -> str | None:
    """Return a warning if jobs need more memory than the user requests, else None; `is_enforced` as in `Cluster`."""
    tasks = [(needed_mib(task.mem_mb, task.threads), resources.memory_of(task.threads)) for task in plan.tasks if task.ranges]
    short = [(need, asked) for need, asked in tasks if asked is not None and need > asked]
    if not short:
        return None
    need, asked = max(short)
    if is_enforced:
        return f"jobs need up to {need} MiB, more than the {asked} MiB that --job-resources asks for, so they request what they need"
    return (
        f"jobs need up to {need} MiB, more than the {asked} MiB that --job-resources asks for: they run where memory is not enforced; "
        f'where it is, they are tried again with more, or ask for "mem": "{need}M"'
    )


def cluster_job(
    name: str,
    script: str,
    log: Path,
    records: Records,
    given: Mapping[str, Any],
    threads: int,
    resources: JobResources,
    cluster: Cluster,
    besides_mib: int = 0,
) -> ClusterJob:
    """Return the job of a `cluster` for a job of Snakemake.

    `given` are its resources in Snakemake: predicted mem_mb and runtime (minutes). `resources` are those that the user requests, which
    come first, before those that the user's profile sets. `besides_mib` is memory on top of the prediction.
    """
    profile = cluster.profile_resources(given)
    cpus = resources.cpus or profile.cpus or threads
    need = needed_mib(int(given.get("mem_mb") or 0), threads) + besides_mib
    memory = 0 if resources.memory_mib == 0 else resources.memory_of(cpus) or need
    request = Request(
        cpus=cpus,
        memory_mib=max(memory, need) if cluster.enforces_memory else memory,
        minutes=resources.minutes or (int(given.get("runtime") or 0) or None if cluster.has_time_limit else None),
        options=tuple(sorted((dict(profile.options) | dict(resources.options)).items())),
        extra=(*profile.extra, *resources.extra),
    )
    return ClusterJob(name, script, log, records, need, request)
