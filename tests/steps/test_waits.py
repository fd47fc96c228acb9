"""How often a run waits for the disk: for a small layer, that is most of its time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.waits import Waits
from wkpipe import BoundingBox, Dataset
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here


@pytest.fixture
def no_syncs() -> None:
    """Let the syncs be made, unlike in the other tests of steps: they are counted."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


def make_layers(root: Path, count: int) -> None:
    dataset = Dataset(root, voxel_size=(1, 1, 1))
    voxels = np.random.default_rng(0).integers(0, 255, (64, 64, 64), "u1")
    for number in range(count):
        layer = dataset.add_layer(f"color{number}", "color", bounding_box=BoundingBox((0, 0, 0), (64, 64, 64)))
        layer.add_mag(1).write(voxels)
    shutil.rmtree(root / ".wkpipe")  # as if another tool had made it


def downsample(root: Path, waits: Waits) -> tuple[int, int]:
    """Return how many tasks were done, and how often they waited."""
    plan = make_plan(load_config({"target": str(root)}, "test"), Sizing.local(1))
    before = waits.count
    run_here(plan)
    return len(plan.tasks), waits.count - before


def test_a_small_layer_waits_a_few_times(tmp_path: Path, waits: Waits) -> None:
    make_layers(tmp_path / "one", 1)
    syncs = waits.syncs
    assert downsample(tmp_path / "one", waits)[1] <= 22
    assert waits.syncs - syncs > 50, "all of them are still made"


def test_many_small_layers_wait_together(tmp_path: Path, waits: Waits) -> None:
    make_layers(tmp_path / "one", 1)
    make_layers(tmp_path / "eight", 8)
    (_, one), (tasks, eight) = downsample(tmp_path / "one", waits), downsample(tmp_path / "eight", waits)
    assert tasks == 2
    assert eight == one
