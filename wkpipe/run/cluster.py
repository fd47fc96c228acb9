"""What a cluster strategy is asked for, and how it becomes the requests of single jobs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import TryAgain, UsageError
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import JOB_THREADS, RANGE_SECONDS, Sizing
from wkpipe.run.cluster_job import ClusterJob, Records
from wkpipe.run.job_resources import JobResources, needed_mib, parse_job_resources, predicted_mb
from wkpipe.run.slurm import Away, Limits, Refused, Slurm

DEFAULT_JOBS: Final = 100

RUNTIME_MARGIN: Final = 4.0
"""Requested over predicted runtime: predictions are rough, and a job that is cut off costs more than a long request."""

RANGE_VARIABLE: Final = "WKPIPE_RANGE_SECONDS"

_RESOURCE_NAMES: Final = {
    "partition": ("slurm_partition", "partition"),
    "account": ("slurm_account", "account"),
    "qos": ("slurm_qos", "qos"),
    "constraint": ("constraint",),
    "gres": ("gres",),
    "exclude": ("exclude",),
    "nodelist": ("nodelist",),
    "reservation": ("reservation",),
    "cpus-per-task": ("cpus_per_task",),
    "extra": ("slurm_extra",),
}
"""Names of Snakemake's resources, as profiles for Slurm use them in default-resources and set-resources."""

_announced: list[str | None] = []


def announce(job_resources: str | None) -> None:
    """Note that Snakemake is about to run with a cluster executor of ours, before it parses the Snakefile."""
    _announced[:] = [job_resources]


def is_announced() -> bool:
    return bool(_announced)


def announced_resources() -> JobResources:
    """Return what the executor was asked for."""
    return JobResources.of(parse_job_resources(_announced[0] if _announced else None))


def cluster_sizing(jobs: int, resources: JobResources, limits: Limits | None) -> Sizing:
    """Return how work is cut for `jobs` simultaneous jobs with these resources."""
    threads = resources.cpus or min(JOB_THREADS, limits.cpus if limits is not None else JOB_THREADS)
    memory = resources.memory_of(threads)
    memory_mb = None if memory is None else max(1, predicted_mb(memory, threads))
    minutes = resources.minutes or (limits.minutes if limits is not None else None) or math.inf
    return Sizing.cluster(jobs, threads, memory_mb, _range_seconds(), 60 * minutes / RUNTIME_MARGIN)


def _range_seconds() -> float:
    """Return what a range takes at least; a variable may say it for clusters whose queues are short.

    Raises:
        UsageError: it does not hold a positive number.
    """
    text = os.environ.get(RANGE_VARIABLE, "")
    try:
        seconds = float(text) if text else RANGE_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{RANGE_VARIABLE}: {text!r} is not valid; expected seconds like 60")
    return seconds


def slurm_limits(resources: JobResources, must_answer: bool) -> Limits | None:
    """Ask Slurm what a job can get at most in the partition; None where it does not tell.

    Raises:
        TryAgain: it must answer, and does not.
        UsageError: it must, and this host has no Slurm; or no node has what is asked for.
    """
    limits = None
    try:
        limits = Slurm().limits(resources.options.get("partition"))
    except Away as reason:
        if must_answer:
            raise TryAgain(f"Slurm does not answer: {reason}; nothing was submitted, try again later") from None
    except Refused as reason:
        if must_answer:
            raise UsageError(f"the strategy slurm can not be used here: {reason}") from None
    if limits is not None:
        _check_fits(resources, limits)
    return limits


def _check_fits(resources: JobResources, limits: Limits) -> None:
    """Refuse what no node has: Slurm may take such a job, and let it wait for ever."""
    cpus = resources.cpus or 1
    memory = resources.memory_of(cpus) or 0
    for what, asked, most, unit in (("cpus-per-task", cpus, limits.cpus, "cores"), ("mem", memory, limits.memory_mib, "MiB")):
        if asked > most:
            raise UsageError(f"--job-resources: {what}: {asked} {unit} for each job, but no node of the partition has more than {most}")


def memory_note(plan: Plan, resources: JobResources) -> str | None:
    """Return a warning where jobs will take more memory than was asked for."""
    tasks = [(needed_mib(task.mem_mb, task.threads), resources.memory_of(task.threads)) for task in plan.tasks if task.parts]
    short = [(need, asked) for need, asked in tasks if asked is not None and need > asked]
    if not short:
        return None
    need, asked = max(short)
    return (
        f"jobs need up to {need} MiB, more than the {asked} MiB that --job-resources asks for: they run where memory is not enforced; "
        f'where it is, they are tried again with more, or ask for "mem": "{need}M"'
    )


def slurm_job(
    name: str,
    script: str,
    log: Path,
    records: Records,
    given: Mapping[str, Any],
    threads: int,
    resources: JobResources,
    besides_mib: int = 0,
) -> ClusterJob:
    """Return the Slurm job for a job of Snakemake.

    `given` are the resources that Snakemake has for it: predicted mem_mb and runtime (minutes), and what profiles set; `resources`
    are those that the user asked for, which come first. `besides_mib` is memory on top of the prediction.
    """
    named = {option: given[name] for option, names in _RESOURCE_NAMES.items() for name in names if given.get(name) not in (None, "")}
    profile = JobResources.of(named)
    cpus = resources.cpus or profile.cpus or threads
    need = needed_mib(int(given.get("mem_mb") or 0), threads) + besides_mib
    asked = resources.memory_of(cpus)
    whole_node = resources.memory_mib == 0
    options = dict(profile.options) | dict(resources.options)
    arguments = [f"--{key}" if value is None else f"--{key}={value}" for key, value in sorted(options.items())]
    if "no-requeue" not in options and "requeue" not in options:
        arguments.append("--requeue")
    return ClusterJob(
        name=name,
        script=script,
        log=log,
        records=records,
        cpus=cpus,
        need_mib=need,
        memory_mib=None if whole_node else asked or need,
        minutes=resources.minutes or int(given.get("runtime") or 0) or None,
        options=(*arguments, *(["--mem=0"] if whole_node else []), *profile.extra, *resources.extra),
    )
