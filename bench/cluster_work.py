"""A dataset whose ranges take about a minute each, for measuring the overhead of clusters."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from wkpipe import BoundingBox, Dataset
from wkpipe.plan.origins.from_mag import FromMag

EDGE: Final = 1024
LEVEL: Final = "22"


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
    """Make a layer that gives `ranges` ranges of the next mag; its storage shards are one file under many names."""
    dataset = Dataset(directory, voxel_size=(10, 10, 20), name="bench_cluster")
    box = BoundingBox((0, 0, 0), (2 * ranges * EDGE, 2 * EDGE, slices))
    layer = dataset.add_layer("labels", "segmentation", dtype="uint32", data_format="zarr3", bounding_box=box)
    mag = layer.add_mag(1)
    mag.write(np.random.default_rng(0).integers(1, 200, size=(EDGE, EDGE, slices), dtype=np.uint32), absolute_offset=(0, 0, 0))
    shards = directory / "labels" / "1" / "c" / "0"
    for x, y in product(range(2 * ranges), range(2)):
        (shards / str(x) / str(y)).mkdir(parents=True, exist_ok=True)
        if (x, y) != (0, 0):
            (shards / str(x) / str(y) / "0").hardlink_to(shards / "0" / "0" / "0")
    shutil.rmtree(directory / ".wkpipe")  # it has only one shard; without it the dataset counts as another tool's
    return directory


def one_range_a_job(slices: int) -> dict[str, str]:
    """Return the variables with which each range is a job. By the cost model, which ignores the compression level, it takes little more."""
    return {"WKPIPE_RANGE_SECONDS": str(0.9 * slices * EDGE**2 * 4 * 4 / FromMag.bytes_per_second)}
