"""What the way over Slurm costs: a run of 40 ranges on a Slurm of its own, against the work that is in them.

    python bench/slurm.py [--ranges 40] [--slices 36]

As root on Debian, like `make test-slurm`. The cluster is one node of two cores; a job gets one of them, so there are two slots. A layer
of labels gets one coarser mag at the highest level of compression: a range, which is one job here, is one storage shard of 1024²
labels in so many slices, and takes a minute or so. (Many ranges in one job, as in all runs that have more of them, cost less.)

Work is the time that the jobs' own records tell, from the start of the step to its end; wall time is that of the whole command.
Slurm's commands are counted by programs in their place, so what Snakemake might call is counted too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import psutil

from tests.slurm.cluster.cluster import Cluster, counting_programs, running
from wkpipe import BoundingBox, Dataset
from wkpipe.plan.resources import READ_RATE
from wkpipe.run.cluster_news import JOBS_FILE
from wkpipe.steps.job_note import job_note

EDGE: Final = 1024
SLOTS: Final = 2
LEVEL: Final = "22"
STATUS_COMMANDS: Final = ("squeue", "sacct")


@dataclass
class Watched:
    """The processes on the submitting host: the most memory (MB) they had together, and the CPU (s) they took."""

    megabytes: float = 0.0
    cpu: float = 0.0

    def look(self, process: psutil.Popen) -> None:
        memory = cpu = 0.0
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory += member.memory_full_info().pss / 1e6
                times = member.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
        self.megabytes, self.cpu = max(self.megabytes, memory), max(self.cpu, cpu)


def make_dataset(directory: Path, ranges: int, slices: int) -> Path:
    """Make a layer from which so many ranges of the next mag are made; its storage shards are one file under many names."""
    dataset = Dataset(directory, voxel_size=(10, 10, 20), name="bench_slurm")
    box = BoundingBox((0, 0, 0), (2 * ranges * EDGE, 2 * EDGE, slices))
    layer = dataset.add_layer("labels", "segmentation", dtype="uint32", data_format="zarr3", bounding_box=box)
    mag = layer.add_mag(1)
    mag.write(np.random.default_rng(0).integers(1, 200, size=(EDGE, EDGE, slices), dtype=np.uint32), absolute_offset=(0, 0, 0))
    shards = directory / "labels" / "1" / "c" / "0"
    for x, y in product(range(2 * ranges), range(2)):
        (shards / str(x) / str(y)).mkdir(parents=True, exist_ok=True)
        if (x, y) != (0, 0):
            (shards / str(x) / str(y) / "0").hardlink_to(shards / "0" / "0" / "0")
    shutil.rmtree(directory / ".wkpipe")  # it knows one shard; so the dataset is taken as one of another tool
    return directory


def run(cluster: Cluster, dataset: Path, directory: Path, ranges: int, slices: int) -> list[str]:
    """Run it and return what was measured, as lines."""
    log, output = directory / "calls", directory / "output"
    environment = cluster.environment | {
        "PATH": counting_programs(directory / "bin", log, cluster.environment),
        # By the model of costs, which knows nothing of the level of compression, a range takes little more than this.
        "WKPIPE_RANGE_SECONDS": str(0.9 * slices * EDGE**2 * 4 * 4 / READ_RATE),
    }
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
    (jobs,) = dataset.glob(f".wkpipe/runs/*/{JOBS_FILE}")
    tasks = {json.loads(line)["task"] for line in jobs.read_text().splitlines()}
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
