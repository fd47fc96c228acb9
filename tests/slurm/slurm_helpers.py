"""Start wkpipe on the cluster, stop its jobs in the middle of their work, and examine the outcome."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.cluster.cluster_helpers import Started, job_events, profile_with, stop_jobs
from tests.slurm.cluster.cluster import Cluster, Job
from tests.workflow.workflow_helpers import WKPIPE, kill_tree, proven, send

ON_SLURM = ["--distribution-strategy", "slurm"]
IMPATIENT = {"wkpipe-slurm-status-seconds": "3", "latency-wait": "5"}
"""Values of the profile for a cluster whose jobs are short and whose file system shows files at once."""


def start(cluster: Cluster, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Started:
    """Start a command in the cluster's environment."""
    with output.open("ab") as file:
        process = psutil.Popen(command, env=cluster.environment | environment, cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
    return Started(process, output)


@contextlib.contextmanager
def started(cluster: Cluster, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Iterator[Started]:
    """Start a command; after a failed test, its processes are killed."""
    run = start(cluster, command, output, cwd, **environment)
    try:
        yield run
    finally:
        kill_tree(run.process)


def downsample(dataset: Path, *more: str) -> list[str]:
    """The command that makes the coarser mags of a dataset on the cluster, slowly enough to be caught."""
    return [*WKPIPE, "downsample", str(dataset), "--compression-level", "19", *ON_SLURM, *more]


def impatient(dataset: Path, *more: str) -> list[str]:
    """As `downsample`; the run asks often for its jobs, and soon gives up waiting for the records of one that is gone."""
    return downsample(dataset, *more, *profile_with("slurm", dataset.parent / "profile", IMPATIENT))


def jobs_of(cluster: Cluster, dataset: Path) -> list[Job]:
    """Return the jobs on a dataset, also ended ones."""
    return [job for job in cluster.jobs() if job.directory.is_relative_to(dataset)]


def live(cluster: Cluster, dataset: Path) -> list[Job]:
    return [job for job in jobs_of(cluster, dataset) if not job.ended]


@dataclass
class Frozen:
    """A job that was stopped in the middle of its work, and the storage shards that were proven by then."""

    job: Job
    processes: list[psutil.Process]
    proven: dict[str, tuple[int, int]]

    def thaw(self) -> None:
        send(signal.SIGCONT, self.processes)


def freeze_a_job(cluster: Cluster, run: Started, dataset: Path, files: int = 3) -> Frozen:
    """Stop all jobs on a dataset (SIGSTOP) as soon as some shards are finished, and return a running one."""
    processes = stop_jobs(run, dataset, files, lambda: [process for process in cluster.job_processes() if _works_on(process, dataset)])
    node = processes[0].environ()["SLURMD_NODENAME"]
    number = processes[0].environ()["SLURM_JOB_ID"]
    job = next(job for job in jobs_of(cluster, dataset) if job.id == number)
    assert job.node == node
    return Frozen(job, processes, proven(dataset))


def _works_on(process: psutil.Process, dataset: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(dataset)
    return False


def events(dataset: Path) -> list[dict[str, object]]:
    """Return the events of the jobs of a dataset's newest run."""
    return job_events(dataset, "slurm")
