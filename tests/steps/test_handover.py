"""Mags sampled along with the finer one have the same bytes as those that are read back and decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.content import content_of
from tests.steps.helpers import Layer, plan_of, write_dataset
from wkpipe.engine.handover import Handover
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import Run
from wkpipe.steps import from_mag
from wkpipe.steps.task import run_task

SHAPE = (1, 203, 70, 40)


def files_of(root: Path) -> dict[str, bytes]:
    """Return the content of all data files."""
    layer = root / "layer"
    return {str(path.relative_to(root)): content_of(path) for path in sorted(layer.rglob("*")) if path.is_file()}


def labels(dtype: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 9, (1, 26, 9, 5))
    return np.asfortranarray(np.kron(small, np.ones((1, 8, 8, 8)))[:, : SHAPE[1], : SHAPE[2], : SHAPE[3]].astype(dtype))


@pytest.mark.parametrize("fork", [False, True])
@pytest.mark.parametrize(
    "dtype, mode, layout",
    [
        ("uint8", "median", {"chunk": (32, 32, 32), "shard": (256, 256, 256)}),
        ("uint32", "mode", {"chunk": (8, 8, 8), "shard": (64, 64, 64)}),
        ("float32", "max", {"chunk": (32, 32, 32), "shard": None, "data_format": "zarr"}),
        ("uint16", "nearest", {"chunk": (32, 32, 32), "shard": (256, 256, 256), "data_format": "wkw"}),
        ("uint8", "bicubic", {"chunk": (32, 32, 32), "shard": (256, 256, 256)}),
    ],
)
def test_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, mode: str, layout: dict[str, Any], fork: bool) -> None:
    used: list[Any] = []
    get = Handover.get

    def noted(handover: Handover, *box: Any) -> Any:
        used.append(box)
        return get(handover, *box)

    made = {}
    for name in ("along", "apart"):
        root = tmp_path / name
        write_dataset(root, Layer(labels(dtype), **layout))
        plan = plan_of(root, Sizing.local(2), interpolation_mode=mode)
        with monkeypatch.context() as patch:
            if name == "apart":
                patch.setattr(from_mag, "handover", lambda finer, plan, origin: None)
            else:
                patch.setattr(Handover, "get", noted)
            with Run(plan).begun() as epoch:
                for task in plan.tasks:
                    run_task(plan, task, epoch, fork=fork)
        made[name] = files_of(root)
    assert made["along"] == made["apart"]
    assert bool(used) == (mode != "bicubic")


def test_mag_that_was_not_made_as_a_whole_is_read_back(tmp_path: Path) -> None:
    """A resumed run finds some finer units done: their voxels are not in memory."""
    root = tmp_path / "d"
    write_dataset(root, Layer(labels("uint8"), chunk=(8, 8, 8), shard=(64, 64, 64)))
    whole = tmp_path / "whole"
    write_dataset(whole, Layer(labels("uint8"), chunk=(8, 8, 8), shard=(64, 64, 64)))
    for place in (root, whole):
        plan = plan_of(place, Sizing(1, 1e9, 1e9, 1), interpolation_mode="median")
        with Run(plan).begun() as epoch:
            for task in plan.tasks:
                run_task(plan, task, epoch)
    removed = sorted((root / "layer" / "2" / "c").rglob("*"))
    first = next(path for path in removed if path.is_file())
    first.unlink()
    plan = plan_of(root, Sizing(1, 1e9, 1e9, 1), interpolation_mode="median")
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            run_task(plan, task, epoch)
    assert files_of(root) == files_of(whole)
