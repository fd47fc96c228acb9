"""The memory model holds: the peak of all processes of real jobs, compared with the prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.steps.helpers import Array, Layer, plan_of, write_dataset
from tests.steps.job_memory import job_command, job_environment, measured
from wkpipe.engine.budget import LARGE_CUBE_BYTES, LARGE_UNIT_CUBES
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.native.library import VARIABLE
from wkpipe.plan.build import make_upsampling_plan
from wkpipe.plan.cost.resources import Sizing, available_cores
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.plan import Plan
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.runs.run import Run

SLACK_MB = 10
"""Memory (MB) for read-ahead and the allocator's slack, which a job may not use: once for a job, in addition to the 25 %."""

CONVERT_SLACK_MB = 20
"""Threads beyond the second take turns on few cores, so not all have bands at once: in addition, for each of them."""

WAITING_SLACK_MB = 5
"""Threads that wait for a core hold less: in addition, for each thread without a core of its own."""

# Reads ahead as on a slow disk, however fast this one is.
_SLOW_READING = """
import sys
import wkpipe.engine.read_ahead as read_ahead
from wkpipe.cli.step import step
read_ahead.SHARE = -1.0
sys.exit(step(sys.argv[1:]))
"""


@pytest.fixture
def is_alone(request: pytest.FixtureRequest) -> bool:
    """True for the slow tests: `make test` must also pass on a busy machine."""
    return request.node.get_closest_marker("slow") is not None


def check_memory(root: Path, threads: int, is_slow: bool = False, is_alone: bool = True, **values: Any) -> None:
    """Run every task and compare: at most 15 % above the prediction, which is at most 25 % too high.

    The second is checked only if the job's threads get their cores (`is_alone`): on a busy machine, not all of them work at once. It is
    checked without the native engine, which needs less: a prediction is for both, because the nodes of a cluster may differ.
    """
    check_plan(plan_of(root, Sizing(threads, 0.0, 1e9, 1), **values), threads, is_slow, is_alone)


def check_plan(plan: Plan, threads: int, is_slow: bool = False, is_alone: bool = True) -> None:
    """Run every task of a plan and compare; see `check_memory`."""
    job = Run(plan)
    engine = {VARIABLE: "0"} if is_alone else {}
    with job.begun():
        for task in plan.tasks:
            command = job_command(job.directory, task.name)
            if is_slow:
                command = [sys.executable, "-c", _SLOW_READING, *command[-2:]]
            usage = measured(command, job_environment(job.seal) | engine)
            if task.rule == PUBLISH:
                continue
            assert task.threads == threads
            peak = usage.total / 1e6
            note = f"{task.name}: {peak:.0f} MB, predicted {task.mem_mb} MB; {usage}"
            print(note)
            assert peak <= task.mem_mb * 1.15, note
            slack = SLACK_MB + WAITING_SLACK_MB * max(0, threads - available_cores())
            slack += CONVERT_SLACK_MB * max(0, threads - 2) if task.rule == FromImages.kind else 0
            assert not is_alone or task.mem_mb <= peak * 1.25 + slack, note


def random(shape: tuple[int, ...], dtype: str) -> Array:
    """Bytes that cannot be compressed: the worst case, which is the predicted one."""
    raw = np.random.default_rng(1).integers(0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, dtype=np.uint8)
    return np.asfortranarray(raw.view(dtype).reshape(shape))


def source(data_format: str, dtype: str, threads: int) -> Layer:
    """Return 64 MB of noise for every thread, so that all workers and slots are in use."""
    z = threads * (64 << 20) // (512 * 256 * np.dtype(dtype).itemsize)
    layout: dict[str, Any] = {
        "zarr3": {"shard": (512, 512, 512)},
        "raw": {"shard": (512, 512, 512), "compression": False},
        "wkw": {"shard": (512, 512, 512), "data_format": "wkw"},
        "zarr": {"shard": None, "data_format": "zarr"},
    }[data_format]
    return Layer(random((1, 512, 256, z), dtype), chunk=(32, 32, 32), **layout)


MATRIX = [
    *(("zarr3", dtype, mode) for dtype in ("uint8", "uint16", "uint32", "uint64", "float32") for mode in ("median", "mode", "bicubic")),
    *((kind, dtype, "median") for kind in ("raw", "wkw", "zarr") for dtype in ("uint8", "uint32")),
]
FAST = [("zarr3", "uint8", "median", 1, False), ("zarr3", "uint32", "mode", 2, True)]


@pytest.mark.parametrize(
    "data_format, dtype, mode, threads, is_slow",
    [
        *FAST,
        *(
            pytest.param(*case, threads, is_slow, marks=[pytest.mark.slow, pytest.mark.sampled(every=5)])
            for case in MATRIX
            for threads in (1, 2, 4)
            for is_slow in (False, True)
        ),
    ],
)
def test_downsampling(tmp_path: Path, is_alone: bool, data_format: str, dtype: str, mode: str, threads: int, is_slow: bool) -> None:
    write_dataset(tmp_path / "d", source(data_format, dtype, threads))
    layout = {"chunk_shape": 32, "shard_shape": 512} if data_format == "wkw" else {}
    check_memory(tmp_path / "d", threads, is_slow, is_alone, coarsest_mag="2", interpolation_mode=mode, **layout)


@pytest.mark.parametrize(
    "data_format, dtype, from_mag, threads",
    [
        ("zarr3", "uint8", "2", 1),
        *(
            pytest.param(*case, threads, marks=[pytest.mark.slow, pytest.mark.sampled(every=5)])
            for case in (
                ("zarr3", "uint8", "2"),
                ("zarr3", "uint64", "2-2-1"),
                ("raw", "uint32", "4-1-1"),
                ("wkw", "uint8", "2"),
                ("zarr", "uint32", "2"),
            )
            for threads in (1, 2, 4)
        ),
    ],
)
def test_upsampling(tmp_path: Path, is_alone: bool, data_format: str, dtype: str, from_mag: str, threads: int) -> None:
    """Repeated voxels compress well, so that the slots of several workers are never full: then only the upper bound is checked."""
    layer = source(data_format, dtype, threads)
    layer.mag = Mag(from_mag)
    layer.data = layer.data[:, :256, :128, : layer.data.shape[3] // 2]
    write_dataset(tmp_path / "d", layer)
    storing = Storing(Vec3Int(layer.chunk), None if layer.shard is None else Vec3Int(layer.shard), data_format != "raw")
    request = UpsamplingRequest(tmp_path / "d", "layer", layer.mag, Mag(1), storing=storing)
    plan = make_upsampling_plan(request, Sizing(threads, 0.0, 1e9, 1))
    check_plan(plan, threads, is_slow=threads > 1, is_alone=is_alone and (threads == 1 or data_format == "raw"))


PLAIN: dict[str, Any] = {"chunk": (32, 32, 32), "shard": (256, 256, 256), "compression": False}


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "dtype, shape, layout, values, mode, threads",
    [
        ("uint16", (3, 1024, 128, 64), PLAIN, {}, "max", 1),
        ("uint8", (1, 512, 512, 256), PLAIN, {"sampling_mode": "constant_z", "coarsest_mag": "2-2-1"}, "median", 4),
        ("uint8", (1, 509, 507, 250), PLAIN, {}, "median", 2),  # borders are mirrored
        ("uint8", (1, 1024, 256, 128), {**PLAIN, "data_format": "wkw"}, {"chunk_shape": 32, "shard_shape": 256}, "median", 2),
        ("uint8", (1, 512, 256, 128), {**PLAIN, "data_format": "zarr", "shard": None}, {"chunk_shape": 8}, "median", 1),
        ("uint8", (1, 512, 256, 128), PLAIN, {"chunk_shape": 8, "shard_shape": 1024}, "median", 1),  # two million chunks in a shard
        ("uint64", (1, 512, 256, 256), PLAIN, {"chunk_shape": 128, "shard_shape": 256}, "median", 2),  # chunks larger than a cube
        ("uint8", (1, 512, 256, 128), {**PLAIN, "chunk": (4, 4, 4)}, {}, "median", 2),  # many small source chunks
        ("uint8", (1, 1024, 512, 256), {**PLAIN, "chunk": (256, 256, 256)}, {}, "median", 2),  # few large ones
        ("uint8", (1, 512, 512, 256), PLAIN, {"coarsest_mag": "16"}, "median", 2),  # mags sampled along with the finer one
    ],
)
def test_downsampling_odd_shapes(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], layout: dict[str, Any], values: dict[str, Any], mode: str, threads: int
) -> None:
    write_dataset(tmp_path / "d", Layer(random(shape, dtype), **layout))
    check_memory(tmp_path / "d", threads, **{"coarsest_mag": "2", "interpolation_mode": mode, **values})


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("dtype, mode, threads", [("uint8", "median", 1), ("uint8", "bicubic", 2), ("uint32", "mode", 2)])
def test_downsampling_a_large_unit(tmp_path: Path, dtype: str, mode: str, threads: int, is_slow: bool) -> None:
    """Half a gigabyte for one unit, whose cubes are large."""
    shape = (1, 1024, 512, (LARGE_UNIT_CUBES * LARGE_CUBE_BYTES >> 19) // np.dtype(dtype).itemsize)
    write_dataset(tmp_path / "d", Layer(random(shape, dtype), chunk=(32, 32, 32), shard=(512, 512, 512)))
    check_memory(tmp_path / "d", threads, is_slow, coarsest_mag="2", interpolation_mode=mode, shard_shape=1024)


@pytest.mark.parametrize(
    "kind, data_format, threads",
    [
        ("strips", "zarr3", 2),
        *(
            pytest.param(kind, data_format, threads, marks=[pytest.mark.slow, pytest.mark.sampled(every=2)])
            for kind, data_format, threads in [
                ("strips", "zarr", 4),
                ("tall", "zarr3", 2),
                ("tall", "zarr3", 4),
                ("strip", "wkw", 1),
                ("strip", "zarr", 1),
                ("strip", "zarr3", 4),
                ("png", "zarr", 2),
                ("rgb", "zarr3", 2),
                ("tiles", "zarr3", 2),
                ("straddling", "zarr3", 2),
            ]
        ),
    ],
)
def test_converting(tmp_path: Path, is_alone: bool, kind: str, data_format: str, threads: int) -> None:
    """Images of 1024 × 1024, twice as many as a layer of chunks is deep: only one such layer of decoded planes may be in memory at once."""
    folder = tmp_path / "images"
    folder.mkdir()
    for z in range(66 if kind != "rgb" else 34):
        if kind == "rgb":
            Image.fromarray(np.ascontiguousarray(random((1024, 1024, 3), "uint8"))).save(folder / f"{z:03d}.png", compress_level=1)
        elif kind == "png":
            Image.fromarray(np.ascontiguousarray(random((1024, 1024), "uint8"))).save(folder / f"{z:03d}.png", compress_level=1)
        elif kind == "tall":
            tifffile.imwrite(folder / f"{z:03d}.tif", random((8192, 1024), "uint8"), rowsperstrip=16)
        elif kind == "tiles":
            tifffile.imwrite(
                folder / f"{z:03d}.tif", np.ascontiguousarray(random((1024, 1024), "uint8")), tile=(256, 256), compression="zlib"
            )
        elif kind == "straddling":  # rows of chunks
            tifffile.imwrite(
                folder / f"{z:03d}.tif", np.ascontiguousarray(random((1024, 1024), "uint8")), rowsperstrip=85, compression="zlib"
            )
        elif kind == "strips":
            tifffile.imwrite(folder / f"{z:03d}.tif", random((1024, 1024), "uint8"), rowsperstrip=16)
        else:
            plane = np.ascontiguousarray(random((1024, 1024), "uint16"))
            tifffile.imwrite(folder / f"{z:03d}.tif", plane, rowsperstrip=1024, compression="zlib", compressionargs={"level": 1})
    values = {"voxel_size": (1, 1, 1), "category": "color", "layer_name": "layer", "downsample": False}
    check_memory(tmp_path / "d", threads, is_alone=is_alone, source=folder, data_format=data_format, **values)


@pytest.mark.slow
def test_a_job_ends_well_under_a_limit_of_its_cgroup(tmp_path: Path) -> None:
    """The kernel's own accounting: a systemd scope with 15 % more memory than the prediction, and no swap."""
    scope = ["systemd-run", "--quiet", "--scope", *([] if os.geteuid() == 0 else ["--user"])]
    try:
        probe = subprocess.run([*scope, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no systemd-run")
    if probe.returncode:
        pytest.skip(f"systemd-run cannot start a scope: {probe.stderr.strip()}")
    write_dataset(tmp_path / "d", source("zarr3", "uint8", 2))
    plan = plan_of(tmp_path / "d", Sizing(2, 0.0, 1e9, 1), coarsest_mag="2", interpolation_mode="median")
    job = Run(plan)
    with job.begun():
        for task in plan.tasks:
            limit = ["-p", f"MemoryMax={int(task.mem_mb * 1.15e6)}", "-p", "MemorySwapMax=0"]
            subprocess.run([*scope, *limit, *job_command(job.directory, task.name)], check=True, env=job_environment(job.seal))
