"""A download's job keeps only a few cubes in memory, however large a storage shard is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reference.workshop import our_facts
from tests.server.wk_server import ServerProcess
from tests.steps.job_memory import job_command, job_environment, measured
from wkpipe import Dataset
from wkpipe.geometry import BoundingBox, Mag
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.state.on_server import found_dataset
from wkpipe.runs.run import Run
from wkpipe.server.http.token import Token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def large_dataset(path: Path, dtype: str, size: tuple[int, int, int]) -> Path:
    """Write noise into one layer, in slabs."""
    dataset = Dataset(path, voxel_size=(11, 11, 25))
    category = "color" if dtype == "uint8" else "segmentation"
    mag = dataset.add_layer("noise", category, dtype_per_channel=dtype, bounding_box=BoundingBox((0, 0, 0), size)).add_mag(
        Mag(1), shard_shape=(256, 256, 32)
    )
    rng = np.random.default_rng(1)
    for z in range(0, size[2], 32):
        mag.write(rng.integers(0, 250, (*size[:2], 32), dtype=dtype), absolute_offset=(0, 0, z))
    return path


@pytest.mark.parametrize("dtype, size", [("uint8", (1024, 1024, 256)), ("uint8", (512, 512, 64)), ("uint64", (512, 512, 96))])
def test_memory_is_that_of_cubes(tmp_path: Path, dtype: str, size: tuple[int, int, int]) -> None:
    source = large_dataset(tmp_path / "source", dtype, size)
    with ServerProcess(tmp_path / "server") as server:
        row = server.ask("add_dataset", str(source))
        page = f"{server.url}/datasets/{row['id']}"
        config = load_config({"target": str(tmp_path / "here"), "download_url": page}, "test")
        token = Token(server.token)
        plan = make_plan(config, Sizing.local(2), found=found_dataset(page, page, token, config))
        run = Run(plan)
        with run.begun(token=token):
            for task in plan.tasks:
                usage = measured(job_command(run.directory, task.name), job_environment(run.seal))
                print(task.rule, size, usage.total // 1_000_000, "MB, predicted", task.mem_mb)
                assert usage.total <= task.mem_mb * 1e6 * 1.15
                assert task.mem_mb < 260
        server.check()
    ours, theirs = (our_facts(path)["layers"]["noise"]["mags"]["1"]["voxels"] for path in (tmp_path / "here", source))
    np.testing.assert_array_equal(ours, theirs)
