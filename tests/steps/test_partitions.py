"""The bytes do not depend on how the work is cut, ordered and spread over threads and processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, run, write_dataset
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import Task
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import Run
from wkpipe.runs.stored_task import run_stored_task
from wkpipe.steps.task import run_task
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.seal import VARIABLE
from wkpipe.stored.locations import Locations

SHAPES: dict[str, dict[str, Any]] = {
    "zarr3": {"chunk_shape": (8, 8, 4), "shard_shape": (16, 32, 8)},
    "zarr": {"chunk_shape": (16, 8, 8)},
    "wkw": {"chunk_shape": (8, 8, 8), "shard_shape": (32, 32, 32)},
}


def example(data_format: str) -> Layer:
    shape = SHAPES[data_format]
    return Layer(
        noise((2, 70, 50, 34), "uint16", 5), (5, 3, 9), ("c", "x", "y", "z"), data_format, shape["chunk_shape"], shape.get("shard_shape")
    )


def any_order(plan: Plan, rng: random.Random) -> list[Task]:
    """A random order in which every task comes after those that it needs."""
    left, done, order = list(plan.tasks), set(), []
    while left:
        ready = [task for task in left if done.issuperset(task.inputs)]
        assert ready, f"tasks wait for each other: {left}"
        task = rng.choice(ready)
        left.remove(task)
        done.add(task.name)
        order.append(task)
    return order


def in_any_order(plan: Plan, seed: int) -> None:
    with Run(plan).begun() as epoch:
        for task in any_order(plan, random.Random(seed)):
            run_task(plan, task, epoch)


SIZINGS = st.builds(
    Sizing,
    cores=st.integers(1, 7),
    least_seconds=st.sampled_from([0.0, 0.02, 0.1, 1.0]),
    target_seconds=st.sampled_from([0.001, 0.02, 0.05, 10.0]),
    most_tasks=st.sampled_from([1, 5, 4000]),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images")
    for z, plane in enumerate(noise((41, 70, 50), "uint8", 3)):
        tifffile.imwrite(directory / f"{z:03d}.tif", np.ascontiguousarray(plane), compression="zlib" if z % 2 else None)
    return directory


@pytest.fixture(scope="module")
def wanted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The files of the plainest run, by format and kind of work."""
    files = {}
    for data_format in SHAPES:
        root = tmp_path_factory.mktemp(data_format) / "d"
        write_dataset(root, example(data_format))
        run(root, **SHAPES[data_format])
        check_pyramid(root, example(data_format), "median")
        files[data_format] = data_files(root)
        root = tmp_path_factory.mktemp(data_format) / "d"
        run(root, source=images, voxel_size=(1, 1, 1), data_format=data_format, layer_name="layer", category="color", **SHAPES[data_format])
        files[f"{data_format} convert"] = data_files(root)
    return files


@settings(max_examples=12)
@given(sizing=SIZINGS, seed=st.integers(0, 10**6))
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_any_partition_of_downsampling(
    temporary: Path, data_format: str, sizing: Sizing, seed: int, wanted: dict[str, dict[str, str]]
) -> None:
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "d"
        write_dataset(root, example(data_format))
        plan = plan_of(root, sizing, **SHAPES[data_format])
        in_any_order(plan, seed)
        assert data_files(root) == wanted[data_format], (sizing, seed)
        assert plan_of(root, sizing, **SHAPES[data_format]).is_empty


@settings(max_examples=8)
@given(sizing=SIZINGS, seed=st.integers(0, 10**6))
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_any_partition_of_a_conversion(
    temporary: Path, data_format: str, sizing: Sizing, seed: int, images: Path, wanted: dict[str, dict[str, str]]
) -> None:
    values = {"source": images, "voxel_size": (1, 1, 1), "data_format": data_format, "layer_name": "layer", "category": "color"}
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "d"
        in_any_order(plan_of(root, sizing, **values, **SHAPES[data_format]), seed)
        assert data_files(root) == wanted[f"{data_format} convert"], (sizing, seed)
        assert plan_of(root, sizing, **values, **SHAPES[data_format]).is_empty


def test_every_task_in_a_process_of_its_own(tmp_path: Path, wanted: dict[str, dict[str, str]]) -> None:
    root = tmp_path / "d"
    write_dataset(root, example("zarr3"))
    plan = plan_of(root, Sizing(cores=2, least_seconds=0.03, target_seconds=0.05), **SHAPES["zarr3"])
    assert 4 <= len(plan.tasks) <= 12
    job = Run(plan)
    with job.begun():
        left = any_order(plan, random.Random(1))
        while left:
            ready = [task for task in left if all(job.marker(other).exists() for other in plan.tasks if other.name in task.inputs)]
            environment = os.environ | {VARIABLE: job.seal.variable}
            command = [sys.executable, "-P", "-m", "wkpipe", "step", job.directory]
            jobs = [subprocess.Popen([*command, task.name], env=environment) for task in ready[:2]]
            assert [process.wait() for process in jobs] == [0] * len(jobs)
            left = [task for task in left if task not in ready[:2]]
        # A job that runs twice does no harm.
        before = data_files(root)
        for task in plan.tasks:
            run_stored_task(job.directory, task.name, job.seal)
        assert data_files(root) == before
    assert data_files(root) == wanted["zarr3"]


def test_few_chunks_in_a_wide_space(tmp_path: Path) -> None:
    """Default shards, two along every axis and almost empty: quick, correct, and no file without data."""
    layer = Layer(np.zeros((1, 1, 1, 1), "uint8"), (1500, 1500, 1500), chunk=(32, 32, 32), shard=(1024, 1024, 1024))
    root = tmp_path / "d"
    layer.data[:] = 9
    write_dataset(root, layer)
    from dataclasses import replace

    from wkpipe.formats import open_array
    from wkpipe.geometry import BoundingBox
    from wkpipe.storage.scratch import Scratch

    array = open_array(root / "layer" / "1", "zarr3", layer.axes)
    array.resize((1, 2048, 2048, 2048), Scratch(tmp_path / "scratch"))
    with array.unit_writer((0, 0, 1, 0), Scratch(tmp_path / "scratch")) as writer:
        writer.append((0, 31, 0, 31), writer.encode(np.full((1, 32, 32, 32), 200, "uint8", order="F")))
        writer.commit()
    box = BoundingBox((3, 5, 7), (2040, 2041, 2030))
    Locations(root, root / ".wkpipe").properties_file().update(lambda p: p.with_layer(replace(p.layer("layer"), box=box)))
    plan = run(root, Sizing.local(2))
    mags = [Mag(m) for m in (1, 2, 4, 8, 16, 32)]
    for mag in mags[1:]:
        array = open_array(root / "layer" / str(mag), "zarr3", layer.axes)
        assert array.spec.shard_shape == (1, 1024, 1024, 1024)
        got = array.read((0, 992 // mag.x, 1024 // mag.x, 992 // mag.x), (1, 32 // mag.x, 32 // mag.x, 32 // mag.x))
        assert (got == 200).all(), mag
        at = (0, *(1500 // mag.x for _ in range(3)))
        assert array.read(at, (1, 1, 1, 1)).item() == 0, mag  # one voxel is no majority
    for mag in ("1", "2"):
        ledger = Ledger.load(Locations.of(root).ledger("layer", Mag(mag)))
        directory = root / "layer" / mag / "c"
        assert {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()} == {
            "/".join(map(str, unit)) for unit, record in ledger.records.items() if not record.proof.is_fill
        }
        assert len(ledger.records) == (8 if mag == "1" else 1)
    assert plan.units_to_do == 5
    assert plan_of(root).is_empty
