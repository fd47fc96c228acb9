"""Mags that are compressed or stored with other shapes in their places: the same voxels, connected as before."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dataset.test_copies import entries, identities, noise
from wkpipe import BoundingBox, Dataset, Layer
from wkpipe.dataset.errors import DatasetDiffers, DatasetExists
from wkpipe.errors import AlreadyExists, InputRefused, MissingShard, NotWritable
from wkpipe.geometry import Vec3Int
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.build import make_copy_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.wishes.copying import Recoding, RecodingRequest
from wkpipe.runs.run import Run
from wkpipe.steps.swap import noted_swap, put_in_place
from wkpipe.steps.task import run_task
from wkpipe.storage.local import Local
from wkpipe.stored import places
from wkpipe.verify.dataset import verify_dataset

WRITABLE = ("zarr3", "zarr", "wkw")
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def raw_layer(root: Path, data_format: str = "zarr3", coarsest: int = 4) -> Layer:
    """Make a dataset with a layer that is not compressed."""
    dataset = Dataset(root / "brain", voxel_size=(4, 4, 40))
    layer = dataset.add_layer("em", "color", data_format=data_format, bounding_box=BoundingBox((3, 5, 2), (60, 50, 20)))
    mag = layer.add_mag(1, chunk_shape=8, shard_shape=8 if data_format == "zarr" else 32, compress=False)
    mag.write(noise(layer), absolute_offset=(3, 5, 2), allow_unaligned=True)
    layer.downsample(coarsest_mag=coarsest, compress=False)
    return layer


def all_voxels(layer: Layer) -> dict[str, Any]:
    return {str(mag): view.read() for mag, view in layer.mags.items()}


def assert_same_voxels(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert [*found] == [*expected]
    assert all(np.array_equal(found[mag], expected[mag]) for mag in expected)


@pytest.mark.parametrize("data_format", WRITABLE)
def test_a_dataset_is_compressed_in_place(data_format: str, tmp_path: Path) -> None:
    layer = raw_layer(tmp_path, data_format)
    before, shapes = all_voxels(layer), [view.info.shard_shape for view in layer.mags.values()]
    layer.dataset.compress()
    assert all(view.info.compression_mode for view in layer.mags.values())
    assert [view.info.shard_shape for view in layer.mags.values()] == shapes
    assert_same_voxels(all_voxels(layer), before)
    assert verify_dataset(tmp_path / "brain").problems == ()
    files = {mag: identities(view) for mag, view in layer.mags.items()}
    layer.dataset.compress()
    layer.downsample(coarsest_mag=4)  # coarser mags are still those of mag 1
    assert {mag: identities(view) for mag, view in layer.mags.items()} == files
    layer.get_mag(1).write(np.zeros((32, 32, 20), np.uint8), relative_offset=(0, 0, 0), allow_unaligned=True)
    layer.downsample(coarsest_mag=4)
    assert not layer.get_mag("2-2-1").read()[:, 2:14, 2:14].any()


@pytest.mark.parametrize("data_format", WRITABLE)
def test_a_mag_gets_other_shapes(data_format: str, tmp_path: Path) -> None:
    layer = raw_layer(tmp_path, data_format)
    before, mag = all_voxels(layer), layer.get_mag(1)
    shard = 16 if data_format == "zarr" else 64
    mag.rechunk(chunk_shape=16, shard_shape=shard, compress=False)
    assert (mag.info.chunk_shape, mag.info.shard_shape) == (Vec3Int.full(16), Vec3Int.full(shard))
    assert mag.info.compression_mode is False
    files = identities(mag)
    mag.rechunk(chunk_shape=16, shard_shape=shard, compress=False)
    assert identities(mag) == files
    assert_same_voxels(all_voxels(layer), before)
    assert [*(tmp_path / "brain").rglob("remade")] == []
    assert verify_dataset(tmp_path / "brain").problems == ()


@pytest.mark.parametrize("data_format", WRITABLE)
def test_without_shapes_a_mag_gets_those_of_new_mags(data_format: str, tmp_path: Path) -> None:
    layer = raw_layer(tmp_path, data_format)
    before, mag = all_voxels(layer), layer.get_mag("2-2-1")
    mag.rechunk()
    new = Dataset(tmp_path / "new", voxel_size=(4, 4, 40)).add_layer("em", "color", data_format=data_format).add_mag(1)
    found, wanted = mag.info, new.info
    assert (found.chunk_shape, found.shard_shape, found.compression_mode) == (wanted.chunk_shape, wanted.shard_shape, True)
    assert_same_voxels(all_voxels(layer), before)


def test_a_stale_mag_keeps_its_voxels(tmp_path: Path) -> None:
    layer = raw_layer(tmp_path)
    layer.get_mag(1).write(np.zeros((32, 32, 20), np.uint8), relative_offset=(0, 0, 0), allow_unaligned=True)
    before = all_voxels(layer)
    layer.dataset.compress()
    assert_same_voxels(all_voxels(layer), before)


def test_a_mag_is_made_in_another_dataset(tmp_path: Path) -> None:
    layer = raw_layer(tmp_path)
    before = entries(tmp_path / "brain")
    layer.get_mag(1).compress(target_path=tmp_path / "other")
    layer.get_mag("2-2-1").rechunk(chunk_shape=16, shard_shape=16, target_path=tmp_path / "other")
    found = Dataset.open(tmp_path / "other").get_layer("em")
    assert found.get_mag(1).info.compression_mode
    assert found.get_mag("2-2-1").info.shard_shape == Vec3Int.full(16)
    assert found.bounding_box == layer.bounding_box
    for mag in ("1", "2-2-1"):
        assert np.array_equal(found.get_mag(mag).read(), layer.get_mag(mag).read())
    assert entries(tmp_path / "brain") == before
    with pytest.raises(AlreadyExists):
        layer.get_mag(1).compress(target_path=tmp_path / "other")
    Dataset(tmp_path / "third", voxel_size=(1, 1, 1))
    with pytest.raises(DatasetDiffers):
        layer.get_mag(1).compress(target_path=tmp_path / "third")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DatasetExists):
        layer.get_mag(1).compress(target_path=tmp_path / "full")


def test_arrays_get_new_directories_where_nothing_can_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "Local", functools.partial(Local, can_rename=False))
    layer = raw_layer(tmp_path)
    before = all_voxels(layer)
    for number, chunk in enumerate((16, 8), 1):
        layer.get_mag(1).rechunk(chunk_shape=chunk, shard_shape=64)
        assert layer.get_mag(1).path.name == f"1.{number}"
        assert_same_voxels(all_voxels(layer), before)
    assert sorted(path.name for path in layer.path.iterdir() if path.is_dir()) == ["1.2", "2-2-1.2", "4-4-1.2"]
    assert verify_dataset(tmp_path / "brain").problems == ()


def test_a_swap_that_was_stopped_is_ended_by_every_run(tmp_path: Path) -> None:
    layer = raw_layer(tmp_path)
    before = all_voxels(layer)
    mags = tuple(layer.mags)
    plan = make_copy_plan(RecodingRequest(tmp_path / "brain", {"em": mags}, Recoding(compress=True)), Sizing.local(1))
    with Run(plan).begun() as epoch:
        *makers, publish = plan.tasks
        for task in makers:
            run_task(plan, task, epoch)
        entries_of = [MagProperties(mag, f"./em/{mag}") for mag in mags]
        file = plan.locations.properties_file(plan.locations.data_scratch(epoch))
        swap = noted_swap(plan.layers[0], entries_of, file, plan.locations, epoch)
        assert publish.rule == PUBLISH
        assert swap is not None
        put_in_place([swap], file, plan.locations, epoch)  # as if it was killed here
    assert not layer.mags
    layer.dataset.downsample(coarsest_mag=4)
    assert_same_voxels(all_voxels(layer), before)
    assert all(view.info.compression_mode for view in layer.mags.values())


def test_a_refused_call_changes_nothing(tmp_path: Path) -> None:
    layer = raw_layer(tmp_path)
    mag, root = layer.get_mag(1), tmp_path / "brain"
    before = entries(root), (root / "datasource-properties.json").read_bytes()
    with pytest.raises(InputRefused):
        mag.rechunk(chunk_shape=33)
    with pytest.raises(NotWritable):
        Dataset.open(root, read_only=True).compress()
    lost = mag.path / min(name for name in identities(mag))
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(MissingShard):
        mag.compress()
    lost.write_bytes(content)
    assert (entries(root), (root / "datasource-properties.json").read_bytes()) == before
    mag.compress()
    assert mag.info.compression_mode


def test_an_array_of_two_layers_is_not_replaced(tmp_path: Path) -> None:
    layer = raw_layer(tmp_path, coarsest=1)
    file = tmp_path / "brain" / "datasource-properties.json"
    properties = json.loads(file.read_text())
    properties["dataLayers"].append(properties["dataLayers"][0] | {"name": "same"})
    file.write_text(json.dumps(properties))
    with pytest.raises(InputRefused, match="belongs to layer same"):
        layer.get_mag(1).compress()
