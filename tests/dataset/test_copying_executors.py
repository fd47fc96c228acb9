"""Copies and recoding through the caller's executor: the same bytes, and nothing created by a call that is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wkpipe import BoundingBox, Dataset, MagView
from wkpipe.dataset.errors import WrongType
from wkpipe.plan.cost.resources import Sizing
from wkpipe.verify.dataset import verify_dataset

pytestmark = pytest.mark.filterwarnings("ignore:chunk shape", "ignore:.*deprecated")
SHAPES: Any = {"chunk_shape": 16, "shard_shape": 16}
COPIES: dict[str, Callable[[Dataset, Dataset, Executor | None], object]] = {
    "add_mag_as_copy": lambda raw, new, executor: (
        new.add_layer("em", "color", bounding_box=raw.get_layer("em").bounding_box)
        .add_mag_as_copy(raw.get_layer("em").get_mag(1), executor=executor, progress_desc="copy")
    ),
    "add_copy_mag": lambda raw, new, executor: (
        new.add_layer("em", "color").add_copy_mag(raw.get_layer("em").get_mag(1), executor=executor, progress_desc="copy")
    ),
    "add_layer_as_copy": lambda raw, new, executor: new.add_layer_as_copy(raw.get_layer("em"), executor=executor),
    "add_copy_layer": lambda raw, new, executor: new.add_copy_layer(raw.get_layer("em"), executor=executor),
    "copy_dataset": lambda raw, new, executor: raw.copy_dataset(new.path, exists_ok=True, executor=executor),
    "MagView.rechunk": lambda raw, new, executor: (
        raw.get_layer("em").get_mag(1).rechunk(target_path=new.path, executor=executor)
    ),
    "MagView.compress": lambda raw, new, executor: (
        raw.get_layer("em").get_mag(1).compress(target_path=new.path, executor=executor)
    ),
}  # fmt: skip


@pytest.fixture
def raw(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path / "raw", voxel_size=(4, 4, 40))
    layer = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (64, 32, 32)))
    layer.add_mag(1, compress=False, **SHAPES).write(np.random.default_rng(0).integers(1, 250, (64, 32, 32), np.uint8))
    return dataset


def shards(mag: MagView) -> dict[str, bytes]:
    """Return the files of a mag that hold voxels."""
    return {
        str(path.relative_to(mag.path)): path.read_bytes() for path in mag.path.rglob("*") if path.is_file() and path.name[0].isdecimal()
    }


@pytest.mark.parametrize("name", COPIES)
def test_an_executor_makes_the_same_bytes(raw: Dataset, name: str, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(Sizing, "local", lambda _: Sizing(cores=3, least_seconds=0, target_seconds=0.001))
    here, there = (Dataset(raw.path.with_name(place), voxel_size=(4, 4, 40)) for place in ("here", "there"))
    COPIES[name](raw, here, None)
    capfd.readouterr()
    submitted = []

    class Counted(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            submitted.append(args)
            return super().submit(*args, **kwargs)

    with Counted(3) as executor:
        COPIES[name](raw, there, executor)
    made, same = (dataset.get_layer("em").get_mag(1) for dataset in (there, here))
    assert len(submitted) > 1
    assert shards(made) == shards(same) != {}
    assert not verify_dataset(there.path).problems
    if "mag" in name and "_" in name:
        assert capfd.readouterr().err.splitlines()[-1] == f"copy: {len(submitted)} of {len(submitted)}"


def test_processes_store_mags_in_another_way(raw: Dataset) -> None:
    mag = raw.get_layer("em").get_mag(1)
    data = mag.read()
    with ProcessPoolExecutor(1) as executor:
        raw.compress(executor=executor)
        assert mag.info.compression_mode
        mag.rechunk(chunk_shape=8, shard_shape=16, executor=executor)
    assert mag.info.chunk_shape == (8, 8, 8)
    assert np.array_equal(mag.read(), data)
    assert not verify_dataset(raw.path).problems


@pytest.mark.parametrize("name", [*COPIES, "in place", "Dataset.compress"])
def test_what_is_no_executor_is_refused(raw: Dataset, name: str) -> None:
    new = Dataset(raw.path.with_name("new"), voxel_size=(4, 4, 40))
    calls = COPIES | {
        "in place": lambda raw, _, executor: raw.get_layer("em").get_mag(1).compress(executor=executor),
        "Dataset.compress": lambda raw, _, executor: raw.compress(executor=executor),
    }
    before = sorted(path for path in raw.path.rglob("*"))
    with pytest.raises(WrongType, match="executor=3 has no method submit"):
        calls[name](raw, new, 3)  # type: ignore[arg-type]
    assert not any(layer.mags for layer in new.layers.values())
    assert sorted(path for path in raw.path.rglob("*")) == before
