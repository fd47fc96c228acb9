"""Follow a command that runs jobs on a cluster, and examine the dataset that it has made."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile

from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, VOXEL_SIZE, data_files, identities, registered_mags, run, send
from wkpipe.cluster import news

MANY_JOBS = {"WKPIPE_RANGE_SECONDS": "0.1"}
"""Ranges so short that even these small datasets have several."""

LAYER = "em"

STOPPED = {"T"}
GONE = {"Z", "X"}
"""States of threads as in proc(5)."""


@dataclass
class Started:
    """A running command whose output goes to a file."""

    process: psutil.Popen
    output: Path

    def ends_with(self, code: int, seconds: float = 300) -> str:
        """Wait for the end, check the exit code, and return the output."""
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


def stopped(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Stop processes (SIGSTOP) and return those that are stopped: others may be about to end, which no signal prevents."""
    send(signal.SIGSTOP, processes)
    wait_until(lambda: all(_states(process) <= STOPPED or _states(process) & GONE for process in processes), "processes to stop")
    return [process for process in processes if _states(process) == STOPPED]


def _states(process: psutil.Process) -> set[str]:
    """Return the states of the threads of a process: one may still be writing when the others are stopped."""
    states = set()
    for path in Path(f"/proc/{process.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # this thread has ended
            states.add(path.read_text().rpartition(")")[2].split()[0])
    return states or set(GONE)


def stop_jobs(run: Started, dataset: Path, files: int, found: Callable[[], list[psutil.Process]], least: int = 1) -> list[psutil.Process]:
    """Stop the processes of jobs (SIGSTOP) as soon as some shards of coarser mags are finished and at least that number is found."""
    processes: list[psutil.Process] = []

    def are_caught() -> bool:
        assert run.process.poll() is None, f"ended before its jobs could be caught:\n{run.text}"
        if coarse_files(dataset) >= files:  # no job may be running at this moment
            seen = found()
            if len(seen) >= least:
                processes[:] = stopped(seen)
                if len(processes) < least:  # the others have just ended
                    send(signal.SIGCONT, processes)
                    processes.clear()
        return bool(processes)

    def explained() -> str:
        return f"{coarse_files(dataset)} shards are finished; the run printed:\n{run.text}"

    wait_until(are_caught, "a job with some finished storage shards", explain=explained)
    return processes


def write_finest(directory: Path, shape: tuple[int, int, int]) -> Path:
    """Convert noise (z, y, x) to a dataset of one layer without coarser mags, and return it; the slices are in `images` beside it."""
    images = directory / "images" / LAYER
    images.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for z in range(shape[0]):
        tifffile.imwrite(images / f"{z:03d}.tif", rng.integers(100, 140, size=shape[1:], dtype="u1"))
    return converted_here(images.parent, directory / "dataset", "--no-downsample")


def converted_here(images: Path, target: Path, *more: str) -> Path:
    """Convert images with the local strategy, and return the dataset."""
    done = run("convert", images, target, "--voxel-size", VOXEL_SIZE, *SHARDS, *more)
    assert done.returncode == 0, done.stderr
    return target


def downsampled_here(dataset: Path, directory: Path) -> Path:
    """Return a copy of a dataset with the coarser mags of the local strategy, compressed as slowly as those that jobs make."""
    target = copy_of(dataset, directory)
    done = run("downsample", target, "--compression-level", "19")
    assert done.returncode == 0, done.stderr
    return target


def profile_with(kind: str, directory: Path, values: Mapping[str, Any]) -> list[str]:
    """Write the profile of a kind of cluster with other values into a directory, and return the option for it."""
    shutil.copytree(REPOSITORY / "profiles" / kind, directory)
    file = directory / "config.yaml"
    kept = [line for line in file.read_text().splitlines() if line.partition(":")[0] not in values]
    file.write_text("\n".join([*kept, *(f"{key}: {json.dumps(value)}" for key, value in values.items())]) + "\n")
    return ["--profile", str(directory)]


def newest_file(dataset: Path, name: str) -> Path:
    """Return the newest file of this name of the dataset's runs."""
    return max(dataset.glob(f".wkpipe/runs/*/{name}"), key=lambda path: path.stat().st_mtime)


def job_events(dataset: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of the jobs of a dataset's newest run."""
    return news.job_events(newest_file(dataset, news.events_directory(kind)).parent, kind)


def copy_of(dataset: Path, target: Path) -> Path:
    """Copy a dataset under the same name, so that even its properties must be the same."""
    target.mkdir(parents=True)
    return Path(shutil.copytree(dataset, target / dataset.name))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 300, explain: Callable[[], str] = str) -> None:
    """Wait for a condition; a failure says what it waited for, and what `explain` returns."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}\n{explain()}"
        time.sleep(0.05)


def coarse_files(dataset: Path) -> int:
    """Return how many storage shards of coarser mags have their final names."""
    return sum(1 for mag in (dataset / LAYER).glob("[2-9]*") for path in mag.rglob("c/*/*/*/*") if path.is_file())


def assert_kept(before: dict[str, tuple[int, int]], dataset: Path) -> None:
    """Finished shards are still the same files, by inode and mtime."""
    assert before
    assert before.items() <= identities(dataset).items()


def assert_same(dataset: Path, expected: Path) -> None:
    """All data files have the same bytes, and the same mags are registered."""
    assert data_files(dataset) == data_files(expected)
    assert registered_mags(dataset) == registered_mags(expected)


def damage(source: Path) -> None:
    """Flip bits in a stored chunk, so that size and mtime stay."""
    stat = source.stat()
    content = bytearray(source.read_bytes())
    for index in range(100, 200):
        content[index] ^= 0xFF
    source.write_bytes(content)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
