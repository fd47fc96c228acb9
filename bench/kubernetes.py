"""Measure the overhead of Kubernetes: a run of 40 ranges on a cluster of its own, compared with the work in them.

    python bench/kubernetes.py [--ranges 40] [--slices 36] [--runs 1]

As root on Debian, like `make test-kubernetes`. The cluster is one node of two cores; a pod requests most of one of them, so there are two
slots. A layer of labels gets one coarser mag at the highest level of compression: a range, which is one job here, is one storage shard of
1024² labels in `--slices` slices, and takes about a minute.

Work is the time in the jobs' own records, from the start of the step to its end; wall time is that of the whole command. The memory of a
pod is what its processes have together, without the cache of its files. The code is 1 if a median exceeds its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil

from bench.cluster_work import LEVEL, Watched, make_dataset, one_range_a_job
from containers.build import build_image
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.bed.layout import CONTROL_GROUPS
from tests.kubernetes.bed.parts import built_parts
from tests.kubernetes.ground import Ground, grant
from tests.kubernetes.kubernetes_helpers import Access, new_space
from tests.kubernetes.run_helpers import let_the_pods_in
from wkpipe.cluster.news import events_directory, job_events
from wkpipe.runs.job_note import job_note

SLOTS: Final = 2
MOST_WALL: Final = 1.15
MOST_CALLS: Final = 3.0


@dataclass
class Pods:
    """The most memory (MB) that the processes of any pod had together, and the smallest request."""

    group: Path
    peak: float = 0.0
    request: float = field(default=float("inf"))

    def look(self) -> None:
        for stat in self.group.glob("**/pod*/*/memory.stat"):
            with contextlib.suppress(OSError, KeyError):
                values = dict(line.split() for line in stat.read_text().splitlines())
                limit = int((stat.parent / "memory.limit_in_bytes").read_text())
                if limit < 1 << 40:  # the pause container has none
                    self.peak = max(self.peak, int(values["total_rss"]) / 1e6)
                    self.request = min(self.request, limit / 1e6)


@dataclass(frozen=True)
class Measured:
    """One run: the seconds of its jobs, and of the whole, calls of the API, and memory (MB)."""

    load: float
    seconds: list[float]
    wall: float
    calls: dict[str, int]
    host: Watched
    pods: Pods

    @property
    def share(self) -> float:
        """Wall time by the work that each slot has."""
        return self.wall / (sum(self.seconds) / SLOTS)

    @property
    def calls_per_job(self) -> float:
        return sum(count for name, count in self.calls.items() if not name.startswith("watch")) / len(self.seconds)

    def __str__(self) -> str:
        calls = ", ".join(f"{count} {name}" for name, count in sorted(self.calls.items()))
        return (
            f"load {self.load:.1f}; {len(self.seconds)} ranges of {min(self.seconds):.1f} to {max(self.seconds):.1f} s;"
            f" work / slots {sum(self.seconds) / SLOTS:.1f} s; wall time {self.wall:.1f} s, {self.share:.3f} of it\n"
            f"  calls: {calls}; {self.calls_per_job:.2f} a job beside the watches\n"
            f"  largest pod {self.pods.peak:.0f} MB of {self.pods.request:.0f} MB that it requests;"
            f" submitting host: {self.host.megabytes:.0f} MB, {self.host.cpu:.1f} s of CPU"
        )


def measured(ground: Ground, cluster: Cluster, dataset: Path, output: Path, ranges: int, slices: int) -> Measured:
    """Run it once."""
    command = [
        *(sys.executable, "-m", "wkpipe", "downsample", str(dataset), "--coarsest-mag", "2-2-1", "--compression-level", LEVEL),
        *("--distribution-strategy", "kubernetes", "--jobs", str(ranges), *ground.asked(cpu="0.9")),
    ]
    load, watched, pods = os.getloadavg()[0], Watched(), Pods(CONTROL_GROUPS / "memory" / cluster.layout.control_group)
    begin = time.monotonic()
    with ground.started(command, output, **one_range_a_job(slices)) as run:
        while run.process.poll() is None:
            watched.look(run.process)
            pods.look()
            time.sleep(1)
        wall = time.monotonic() - begin
        run.ends_with(0)
    (jobs,) = dataset.glob(".wkpipe/runs/*/" + events_directory("kubernetes"))
    tasks = {event["task"] for event in job_events(jobs.parent, "kubernetes")}
    seconds = [job_note(jobs.parent, task)["seconds"] for task in tasks]
    calls = json.loads((jobs.parent / "kubernetes.json").read_text())["calls"]
    return Measured(load, seconds, wall, calls, watched, pods)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=40)
    parser.add_argument("--slices", type=int, default=36, help="labels along z: more make longer ranges; at least 33")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="wkpipe-bench-") as name:
        image = build_image(Path(name) / "image")
        cluster = Cluster.started(built_parts(), [Path(name) / "image" / "wkpipe.oci.tar"])
        try:
            with cluster.network():
                space = new_space(Access(cluster.kubeconfig, image), "bench")
                grant(space, "wkpipe")
                volume = Path(name)
                space.share(volume)
                ground = Ground(space, volume, cluster.layout.user_kubeconfig, cluster)
                for number in range(arguments.runs):
                    dataset = make_dataset(volume / f"dataset-{number}", arguments.ranges, arguments.slices)
                    let_the_pods_in(volume)
                    found.append(measured(ground, cluster, dataset, volume / f"output-{number}", arguments.ranges, arguments.slices))
                    print(found[-1], flush=True)
        except (subprocess.CalledProcessError, psutil.Error):
            print(cluster.log_ends(), file=sys.stderr)
            raise
        finally:
            cluster.close()
    share, calls = median(each.share for each in found), median(each.calls_per_job for each in found)
    print(f"median: wall time {share:.3f} of the work (at most {MOST_WALL}), {calls:.2f} calls a job (at most {MOST_CALLS:g})")
    return int(share > MOST_WALL or calls > MOST_CALLS or any(each.pods.peak >= each.pods.request for each in found))


if __name__ == "__main__":
    sys.exit(main())
