"""The memory model holds: tasks in processes of their own, their peak against what was predicted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.steps.helpers import Array, Layer, plan_of, write_dataset
from wkpipe.plan.resources import Sizing
from wkpipe.plan.task import PUBLISH
from wkpipe.steps.run import Run

# VmHWM counts from the start of the program; ru_maxrss would count the process that started it, too.
_JOB = r"""
import re, sys
from pathlib import Path
from wkpipe.steps.run import run_stored_task
run_stored_task(Path(sys.argv[1]), sys.argv[2])
print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


def check_memory(root: Path, threads: int, **values: Any) -> None:
    """Run every task and compare: never more than 15 % above the prediction, and the prediction not far too high."""
    plan = plan_of(root, Sizing(threads, 0.0, 1e9, 1), **values)
    job = Run(plan)
    with job.begun():
        for task in plan.tasks:
            result = subprocess.run([sys.executable, "-c", _JOB, job.directory, task.name], capture_output=True, text=True, check=True)
            peak = int(re.findall(r"\d+", result.stdout)[-1]) * 1024 / 1e6
            if task.rule == PUBLISH:
                continue
            assert task.threads == threads
            assert peak <= task.mem_mb * 1.15, f"{task.name}: {peak:.0f} MB, predicted {task.mem_mb} MB"
            # An allowance for threads that have not all been at their peak at once.
            assert task.mem_mb <= peak * 1.5 + 40 * threads + 20, f"{task.name}: {peak:.0f} MB, predicted {task.mem_mb} MB"


def random(shape: tuple[int, ...], dtype: str) -> Array:
    """Bytes that can not be compressed: the worst case."""
    raw = np.random.default_rng(1).integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, dtype=np.uint8)
    data = raw.view(dtype) if dtype[0] != "f" else raw.astype(dtype)[: int(np.prod(shape))]
    return np.asfortranarray(data.reshape(shape))


PLAIN: dict[str, Any] = {"chunk": (32, 32, 32), "shard": (256, 256, 256), "compression": False}
FAST = [
    ("uint8", (1, 1024, 256, 64), PLAIN, {}, "median", 4),
    ("uint8", (1, 1024, 256, 64), PLAIN, {}, "mode", 2),
]
SLOW = [
    ("uint64", (1, 1024, 128, 128), PLAIN, {}, "median", 2),
    ("float32", (1, 1024, 256, 128), PLAIN, {}, "bicubic", 4),
    ("uint16", (3, 1024, 128, 64), PLAIN, {}, "max", 1),
    ("uint8", (1, 1024, 256, 128), {**PLAIN, "data_format": "wkw"}, {"chunk_shape": 32, "shard_shape": 256}, "median", 2),
    ("uint8", (1, 512, 256, 128), {**PLAIN, "data_format": "zarr", "shard": None}, {"chunk_shape": 8}, "median", 1),
    ("uint8", (1, 512, 256, 128), PLAIN, {"chunk_shape": 8, "shard_shape": 1024}, "median", 1),  # two million chunks in a shard
    ("uint64", (1, 512, 256, 256), PLAIN, {"chunk_shape": 128, "shard_shape": 256}, "median", 2),  # chunks larger than a cube
    ("uint8", (1, 512, 256, 128), {**PLAIN, "chunk": (4, 4, 4)}, {}, "median", 2),  # many small source chunks
    ("uint8", (1, 1024, 256, 256), {**PLAIN, "chunk": (256, 256, 256)}, {}, "median", 2),  # few large ones
]


@pytest.mark.parametrize(
    "dtype, shape, layout, values, mode, threads", [*FAST, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_downsampling(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], layout: dict[str, Any], values: dict[str, Any], mode: str, threads: int
) -> None:
    write_dataset(tmp_path / "d", Layer(random(shape, dtype), **layout))
    check_memory(tmp_path / "d", threads, coarsest_mag="2", interpolation_mode=mode, **values)


@pytest.mark.parametrize(
    "kind, data_format, threads",
    [
        ("strips", "zarr3", 2),
        *(
            pytest.param(kind, data_format, threads, marks=pytest.mark.slow)
            for kind, data_format, threads in [
                ("strips", "zarr", 4),
                ("strip", "wkw", 1),
                ("strip", "zarr", 1),
                ("strip", "zarr3", 4),
                ("png", "zarr", 2),
                ("rgb", "zarr3", 2),
            ]
        ),
    ],
)
def test_converting(tmp_path: Path, kind: str, data_format: str, threads: int) -> None:
    """Images of 1024 × 1024, twice as many as a layer of chunks is deep: of decoded planes only one layer may be there at once."""
    source = tmp_path / "images"
    source.mkdir()
    for z in range(66 if kind != "rgb" else 34):
        if kind == "rgb":
            Image.fromarray(np.ascontiguousarray(random((1024, 1024, 3), "uint8"))).save(source / f"{z:03d}.png", compress_level=1)
        elif kind == "png":
            Image.fromarray(np.ascontiguousarray(random((1024, 1024), "uint8"))).save(source / f"{z:03d}.png", compress_level=1)
        elif kind == "strips":
            tifffile.imwrite(source / f"{z:03d}.tif", random((1024, 1024), "uint8"), rowsperstrip=16)
        else:
            plane = np.ascontiguousarray(random((1024, 1024), "uint16"))
            tifffile.imwrite(source / f"{z:03d}.tif", plane, rowsperstrip=1024, compression="zlib", compressionargs={"level": 1})
    check_memory(
        tmp_path / "d",
        threads,
        source=source,
        voxel_size=(1, 1, 1),
        category="color",
        layer_name="layer",
        downsample=False,
        data_format=data_format,
    )
