"""Start wkpipe on the cluster, catch its jobs in the middle of their work, and look at what becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.slurm.cluster.cluster import Cluster, Job
from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, data_files, identities, proven, registered_mags

ON_SLURM = ["--distribution-strategy", "slurm"]
MANY_JOBS = {"WKPIPE_RANGE_SECONDS": "0.1"}
"""Ranges so short that even these datasets make some."""

IMPATIENT = {"wkpipe-slurm-status-seconds": "3", "latency-wait": "5"}
"""Values of the profile for a cluster whose jobs are short and whose file system shows files at once."""

LAYER = "em"


@dataclass
class Started:
    """A command that runs: its output goes to a file."""

    process: psutil.Popen
    output: Path

    def ends_with(self, code: int, seconds: float = 240) -> str:
        """Wait for the end, check the exit code, and return what was printed."""
        try:
            found = self.process.wait(seconds)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            raise AssertionError(f"still runs after {seconds:g} s:\n{self.text}") from None
        assert found == code, f"exit code {found}, expected {code}:\n{self.text}"
        assert "Traceback" not in self.text
        return self.text

    @property
    def text(self) -> str:
        return self.output.read_text()


def start(cluster: Cluster, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Started:
    """Start a command in the cluster's environment."""
    with output.open("ab") as file:
        process = psutil.Popen(command, env=cluster.environment | environment, cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
    return Started(process, output)


@contextlib.contextmanager
def started(cluster: Cluster, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Iterator[Started]:
    """Start a command; what a failing test leaves of it is killed."""
    run = start(cluster, command, output, cwd, **environment)
    try:
        yield run
    finally:
        end_by_force(run.process)


def end_by_force(process: psutil.Popen) -> None:
    """SIGKILL a process and what it has started on this host, as the reboot of a login node does. Jobs of Slurm go on."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    for member in family:  # the parent first: it must not see its children die
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=10)


def downsample(dataset: Path, *more: str) -> list[str]:
    """The command that makes the coarser mags of a dataset on the cluster, slowly enough to be caught."""
    return [*WKPIPE, "downsample", str(dataset), "--compression-level", "19", *ON_SLURM, *more]


def profile_with(directory: Path, values: Mapping[str, str]) -> list[str]:
    """Write the profile with other values into a directory, and return the option for it."""
    shutil.copytree(REPOSITORY / "profiles" / "slurm", directory)
    file = directory / "config.yaml"
    kept = [line for line in file.read_text().splitlines() if line.partition(":")[0] not in values]
    file.write_text("\n".join([*kept, *(f"{key}: {json.dumps(value)}" for key, value in values.items())]) + "\n")
    return ["--profile", str(directory)]


def copy_of(dataset: Path, target: Path) -> Path:
    """Copy a dataset under the same name, so that even its properties are to be the same."""
    target.mkdir(parents=True)
    return Path(shutil.copytree(dataset, target / dataset.name))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


def jobs_of(cluster: Cluster, dataset: Path) -> list[Job]:
    """Return the jobs that work on a dataset, those that have ended too."""
    return [job for job in cluster.jobs() if job.directory.is_relative_to(dataset)]


def live(cluster: Cluster, dataset: Path) -> list[Job]:
    return [job for job in jobs_of(cluster, dataset) if not job.ended]


def coarse_files(dataset: Path) -> int:
    """Return how many storage shards of coarser mags have their final names."""
    return sum(1 for mag in (dataset / LAYER).glob("[2-9]*") for path in mag.rglob("c/*/*/*/*") if path.is_file())


@dataclass
class Frozen:
    """A job that was stopped in the middle of its work, and the storage shards that it had proven by then."""

    job: Job
    processes: list[psutil.Process]
    proven: dict[str, tuple[int, int]]

    def thaw(self) -> None:
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def freeze_a_job(cluster: Cluster, run: Started, dataset: Path, files: int = 3) -> Frozen:
    """Stop all jobs on a dataset (SIGSTOP) as soon as some shards are finished, and return one that runs."""

    processes: list[psutil.Process] = []

    def are_caught() -> bool:
        assert run.process.poll() is None, f"ended before its jobs could be caught:\n{run.text}"
        if coarse_files(dataset) >= files:  # there may be none that runs just now
            processes.extend(process for process in cluster.job_processes() if _works_on(process, dataset))
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
            processes[:] = [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        return bool(processes)

    wait_until(are_caught, "a job with some finished storage shards")
    time.sleep(0.3)  # what was being written is written
    node = processes[0].environ()["SLURMD_NODENAME"]
    number = processes[0].environ()["SLURM_JOB_ID"]
    job = next(job for job in jobs_of(cluster, dataset) if job.id == number)
    assert job.node == node
    return Frozen(job, processes, proven(dataset))


def _works_on(process: psutil.Process, dataset: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(dataset)
    return False


def assert_kept(before: dict[str, tuple[int, int]], dataset: Path) -> None:
    """Finished shards are the same files still: by inode and mtime."""
    assert before
    assert before.items() <= identities(dataset).items()


def assert_same(dataset: Path, expected: Path) -> None:
    """All data files have the same bytes, and the same mags are registered."""
    assert data_files(dataset) == data_files(expected)
    assert registered_mags(dataset) == registered_mags(expected)


def events(dataset: Path) -> list[dict[str, object]]:
    """Return what became of the jobs of a dataset's newest run."""
    newest = max(dataset.glob(".wkpipe/runs/*/slurm-jobs.jsonl"), key=lambda path: path.stat().st_mtime)
    return [json.loads(line) for line in newest.read_text().splitlines()]


def damage(source: Path) -> None:
    """Flip bits in a stored chunk, so that size and mtime stay."""
    stat = source.stat()
    content = bytearray(source.read_bytes())
    for index in range(100, 200):
        content[index] ^= 0xFF
    source.write_bytes(content)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
