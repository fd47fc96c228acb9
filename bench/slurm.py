"""Measure the overhead of Slurm: a run of 40 ranges on a Slurm of its own, compared with the work in them.

    python bench/slurm.py [--ranges 40] [--slices 36]

As root on Debian, like `make test-slurm`. The cluster is one node of two cores; a job gets one of them, so there are two slots. A layer
of labels gets one coarser mag at the highest level of compression: a range, which is one job here, is one storage shard of 1024²
labels in `--slices` slices, and takes about a minute. (Many ranges in one job, as in all runs that have more of them, cost less.)

Work is the time in the jobs' own records, from the start of the step to its end; wall time is that of the whole command.
Wrapper programs count the calls of Slurm's commands, so calls by Snakemake are counted too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil

from bench.cluster_work import LEVEL, Watched, make_dataset, one_range_a_job
from tests.slurm.cluster.cluster import Cluster, counting_programs, running
from wkpipe.cluster.news import events_directory, job_events
from wkpipe.runs.job_note import job_note

SLOTS: Final = 2
STATUS_COMMANDS: Final = ("squeue", "sacct")


def run(cluster: Cluster, dataset: Path, directory: Path, ranges: int, slices: int) -> list[str]:
    """Run it and return the measurements as lines."""
    log, output = directory / "calls", directory / "output"
    path = counting_programs(directory / "bin", log, cluster.environment)
    environment = cluster.environment | one_range_a_job(slices) | {"PATH": path}
    command = [
        *(sys.executable, "-m", "wkpipe", "downsample", str(dataset), "--coarsest-mag", "2-2-1", "--compression-level", LEVEL),
        *("--distribution-strategy", "slurm", "--jobs", str(ranges), "--job-resources", "cpus-per-task=1,time=60"),
    ]
    begin, watched = time.monotonic(), Watched()
    with output.open("wb") as file:
        process = psutil.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            watched.look(process)
            time.sleep(1)
    wall = time.monotonic() - begin
    if process.returncode != 0:
        raise SystemExit(f"the run ended with code {process.returncode}:\n{output.read_text()}")
    return summary(dataset, log, wall, watched)


def summary(dataset: Path, log: Path, wall: float, watched: Watched) -> list[str]:
    (jobs,) = dataset.glob(".wkpipe/runs/*/" + events_directory("slurm"))
    tasks = {event["task"] for event in job_events(jobs.parent, "slurm")}
    seconds = [job_note(jobs.parent, task)["seconds"] for task in tasks]
    calls = [line.split() for line in log.read_text().splitlines()]
    counted = Counter(call[1] for call in calls)
    asked = [float(call[0]) for call in calls if call[1] in STATUS_COMMANDS]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    work = sum(seconds) / SLOTS
    return [
        f"ranges {len(seconds)}, of {min(seconds):.1f} to {max(seconds):.1f} s; work / slots {work:.1f} s",
        f"wall time {wall:.1f} s, {wall / work:.3f} of it",
        f"calls: {', '.join(f'{count} {name}' for name, count in sorted(counted.items()))}",
        f"status calls: one in {wall / max(len(asked), 1):.1f} s; gaps (s) {' '.join(f'{gap:.1f}' for gap in sorted(gaps)[:4])} …",
        f"submitting host: {watched.megabytes:.0f} MB, {watched.cpu:.1f} s of CPU",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=40)
    parser.add_argument("--slices", type=int, default=36, help="labels along z: more make longer ranges; at least 33")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, running(nodes=1) as cluster:
        dataset = make_dataset(Path(name) / "dataset", arguments.ranges, arguments.slices)
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
        print("\n".join(run(cluster, dataset, Path(name), arguments.ranges, arguments.slices)))


if __name__ == "__main__":
    main()
