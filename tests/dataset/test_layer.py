"""Layers: their mags, boxes and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.content import content_of
from wkpipe import BoundingBox, Dataset, Layer, Mag, NDBoundingBox, SamplingModes, Vec3Int
from wkpipe.errors import AlreadyExists, InputRefused, MissingShard, TryAgain
from wkpipe.storage.lease import RunLease
from wkpipe.storage.local import Local
from wkpipe.stored.locations import Locations

BOX = BoundingBox((3, 2, 1), (45, 30, 18))
SMALL: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color", bounding_box=BOX)


def _noise(box: NDBoundingBox, dtype: str = "uint8", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 255, tuple(box.size), dtype=dtype)


def _array_json(layer: Layer, mag: str) -> Any:
    return json.loads((layer.path / mag / "zarr.json").read_bytes())


# -- adding mags ----------------------------------------------------------------------------------------------------


def test_a_new_mag_is_there_at_once(layer: Layer) -> None:
    mag = layer.add_mag("2-2-1", **SMALL)
    assert Dataset.open(layer.dataset.path).get_layer("em").get_mag((2, 2, 1)).info == mag.info
    assert (mag.mag, mag.name, mag.layer, mag.path) == (Mag("2-2-1"), "2-2-1", layer, layer.path / "2-2-1")
    assert (mag.info.chunk_shape, mag.info.shard_shape, mag.info.chunks_per_shard) == (Vec3Int.full(8), Vec3Int.full(16), Vec3Int.full(2))
    assert (mag.info.compression_mode, mag.info.voxel_type, mag.get_dtype(), mag.num_channels) == (True, np.uint8, np.uint8, 1)
    assert mag.bounding_box == BoundingBox((2, 2, 1), (46, 30, 18))
    assert mag.info.shape == (1, 32, 16, 32)
    assert layer.get_mag("2-2-1") is mag
    assert not mag.read().any()


def test_default_shapes(tmp_path: Path) -> None:
    """The first mag of a thin layer has full shards, later ones are flat."""
    dataset = Dataset(tmp_path / "d", (4, 4, 10))
    thin = dataset.add_layer("thin", "color", bounding_box=BoundingBox((0, 0, 0), (100, 100, 20)))
    assert thin.add_mag(1).info.shard_shape == Vec3Int.full(1024)
    assert thin.add_mag(2).info.shard_shape == Vec3Int(4096, 4096, 32)
    assert thin.get_mag(2).info.chunk_shape == Vec3Int.full(32)
    assert dataset.add_layer("wkw", "color", data_format="wkw").add_mag(1).info.shard_shape == Vec3Int.full(1024)
    zarr = dataset.add_layer("zarr", "color", data_format="zarr").add_mag(1, chunk_shape=64)
    assert (zarr.info.chunk_shape, zarr.info.shard_shape, zarr.info.compression_mode) == (Vec3Int.full(64), Vec3Int.full(64), True)
    assert not zarr.layer.add_mag(2, compress=False).info.compression_mode


def test_a_wkw_mag_says_how_large_its_files_are(tmp_path: Path) -> None:
    layer = Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color", data_format="wkw", bounding_box=BOX)
    layer.add_mag(1, **SMALL)
    entry = json.loads((layer.dataset.path / "datasource-properties.json").read_bytes())["dataLayers"][0]["mags"][0]
    assert (entry["cubeLength"], entry["path"]) == (16, "./em/1")


def test_old_names_of_shapes_warn(layer: Layer) -> None:
    with pytest.warns(DeprecationWarning, match="chunks_per_shard is deprecated, use shard_shape"):
        assert layer.add_mag(1, chunk_shape=32, chunks_per_shard=(2, 2, 4)).info.shard_shape == Vec3Int(64, 64, 128)
    with pytest.warns(DeprecationWarning, match="block_len"), pytest.warns(DeprecationWarning, match="file_len"):
        assert layer.add_mag(2, block_len=64, file_len=2).info.shard_shape == Vec3Int.full(128)
    with pytest.warns(DeprecationWarning, match="chunk_size"):
        assert layer.add_mag(4, chunk_size=32).info.chunk_shape == Vec3Int.full(32)
    with pytest.warns(UserWarning, match="works best"):
        layer.add_mag(8, chunk_shape=16)


@pytest.mark.parametrize(
    "values",
    [
        {"mag": 3},
        {"mag": "2,2,1"},
        {"chunk_shape": 24},
        {"chunk_shape": 0},
        {"chunk_shape": (8, 8)},
        {"chunk_shape": 32, "shard_shape": 16},
        {"chunk_shape": 32, "shard_shape": 96},
    ],
    ids=str,
)
def test_impossible_mags_leave_nothing(layer: Layer, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        layer.add_mag(**{"mag": 1, **values})
    assert layer.mags == {}
    assert not layer.path.exists()


def test_shapes_that_a_format_does_not_allow(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "d", (4, 4, 10))
    with pytest.raises(InputRefused, match="cubes"):
        dataset.add_layer("wkw", "color", data_format="wkw").add_mag(1, chunk_shape=(32, 32, 16))
    with pytest.raises(InputRefused, match="no shards"):
        dataset.add_layer("zarr", "color", data_format="zarr").add_mag(1, chunk_shape=32, shard_shape=64)
    assert not (dataset.path / "wkw").exists()
    assert not (dataset.path / "zarr").exists()


def test_shard_shape_and_chunks_per_shard_exclude_each_other(layer: Layer) -> None:
    with pytest.warns(DeprecationWarning, match="chunks_per"), pytest.raises(ValueError, match="contradict"):
        layer.add_mag(1, shard_shape=64, chunks_per_shard=2)


def test_a_mag_exists_once(layer: Layer) -> None:
    layer.add_mag(1)
    with pytest.raises(IndexError, match="already has mag 1"):
        layer.add_mag("1")


def test_mags_stand_in_the_order_of_the_file(layer: Layer) -> None:
    for mag in (4, 1, 2):
        layer.add_mag(mag)
    assert [str(mag) for mag in layer.mags] == ["4", "1", "2"]
    assert layer.get_finest_mag().mag == Mag(1)
    for call in (layer.get_mag, layer.delete_mag):
        with pytest.raises(IndexError, match="The mag 8 is not a mag of this layer"):
            call(8)


def test_get_finest_mag_needs_a_mag(layer: Layer) -> None:
    with pytest.raises(IndexError, match="no mag"):
        layer.get_finest_mag()


@pytest.mark.filterwarnings("ignore:chunks_per_shard")
def test_get_or_add_mag(layer: Layer) -> None:
    mag = layer.get_or_add_mag(1, chunk_shape=32, shard_shape=64, compress=False)
    assert layer.get_or_add_mag(1) is mag
    assert layer.get_or_add_mag(1, chunk_shape=(32, 32, 32), shard_shape=64, chunks_per_shard=2, compress=False) is mag
    for values in [{"chunk_shape": 64}, {"shard_shape": 128}, {"chunks_per_shard": 4}, {"compress": True}]:
        with pytest.raises(ValueError, match="exists with"):
            layer.get_or_add_mag(1, **values)  # type: ignore[arg-type]


def test_a_deleted_mag_is_gone_and_can_be_added_again(layer: Layer) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    layer.delete_mag(1)
    assert layer.mags == {}
    assert not (layer.path / "1").exists()
    assert not list((layer.dataset.path / ".wkpipe").rglob("*removed*"))
    assert not layer.add_mag(1, chunk_shape=32, shard_shape=32).read().any()


def test_what_somebody_else_put_in_the_way_is_not_overwritten(layer: Layer) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    other = Dataset(layer.dataset.path.parent / "e", (4, 4, 10)).add_layer("em", "color", bounding_box=BOX)
    other.path.mkdir()
    (layer.path / "1").rename(other.path / "1")
    with pytest.raises(AlreadyExists, match="not empty"):
        other.add_mag(1, **SMALL)
    assert other.mags == {}
    assert list((other.path / "1").rglob("0"))


def test_a_crash_before_the_mag_was_registered_is_no_obstacle(layer: Layer) -> None:
    layer.add_mag(1, **SMALL)
    file = layer.dataset.path / "datasource-properties.json"
    properties = json.loads(file.read_bytes())
    properties["dataLayers"][0]["mags"] = []
    file.write_text(json.dumps(properties))
    assert layer.add_mag(1, chunk_shape=32, shard_shape=64).info.shard_shape == Vec3Int.full(64)


def test_a_linked_mag_is_read_only_and_its_data_survive(layer: Layer) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    real = layer.dataset.path.parent / "real"
    (layer.path / "1").rename(real)
    (layer.path / "1").symlink_to(real)
    mag = layer.get_mag(1)
    assert mag.read_only
    assert (mag.read()[0] == _noise(BOX)).all()
    with pytest.raises(RuntimeError, match="read-only"):
        mag.write(_noise(BOX))
    layer.bounding_box = BoundingBox((0, 0, 0), (90, 90, 90))
    assert mag.info.shape == (1, 48, 32, 32)
    layer.delete_mag(1)
    assert not (layer.path / "1").is_symlink()
    assert (real / "zarr.json").exists()


# -- the box --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["zarr3", "zarr"])
def test_arrays_end_with_the_box_in_whole_shards(tmp_path: Path, data_format: str) -> None:
    layer = Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color", data_format=data_format, bounding_box=BOX)
    shard = 16 if data_format == "zarr3" else 8
    for mag in (1, 2):
        layer.add_mag(mag, chunk_shape=8, shard_shape=shard)
    layer.bounding_box = BoundingBox((0, 0, 0), (33, 33, 33))
    assert layer.get_mag(1).info.shape == (1, *[48 if shard == 16 else 40] * 3)
    assert layer.get_mag(2).info.shape == (1, *[32 if shard == 16 else 24] * 3)
    layer.get_mag(2).write(np.full((17, 17, 17), 3, np.uint8))
    assert (layer.get_mag(2).read() == 3).all()
    other = Dataset.open(layer.dataset.path).get_layer("em")
    assert other.bounding_box == BoundingBox((0, 0, 0), (33, 33, 33))
    assert (other.get_mag(2).read() == 3).all()


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_voxels_outside_of_the_box_come_back_with_it(tmp_path: Path, data_format: str) -> None:
    layer = Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color", data_format=data_format, bounding_box=BOX)
    mag = layer.add_mag(1, chunk_shape=8, shard_shape=8)
    mag.write(_noise(BOX))
    layer.bounding_box = BoundingBox((3, 2, 1), (5, 5, 5))
    assert (mag.read()[0] == _noise(BOX)[:5, :5, :5]).all()
    layer.bounding_box = BOX
    assert (mag.read()[0] == _noise(BOX)).all()


def test_boxes_that_do_not_fit(layer: Layer) -> None:
    layer.add_mag(1, **SMALL)
    boxes = [
        BoundingBox((-1, 0, 0), (5, 5, 5)),
        NDBoundingBox((0, 0, 0, 0), (2, 5, 5, 5), ("c", "x", "y", "z")),
        NDBoundingBox((0, 0, 0, 0), (2, 5, 5, 5), ("t", "x", "y", "z")),
    ]
    for box in boxes:
        with pytest.raises(ValueError, match="em"):
            layer.bounding_box = box
    assert layer.bounding_box == BOX


def test_a_box_with_time_grows_in_time(tmp_path: Path) -> None:
    box = NDBoundingBox((0, 0, 0, 0), (2, 16, 16, 16), ("t", "x", "y", "z"))
    layer = Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color", bounding_box=box)
    mag = layer.add_mag(1, **SMALL)
    later = box.with_bounds("t", 2, 3)
    mag.write(np.ones((3, 16, 16, 16), np.uint8), absolute_bounding_box=later, allow_resize=True)
    assert layer.bounding_box == box.with_bounds("t", 0, 5)
    assert mag.read().any(axis=(1, 2, 3)).tolist() == [False, False, True, True, True]


# -- runs -----------------------------------------------------------------------------------------------------------


def test_downsample_extends_the_ladder(layer: Layer) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    layer.downsample(coarsest_mag=2, sampling_mode=SamplingModes.ISOTROPIC, **SMALL)
    assert [str(mag) for mag in layer.mags] == ["1", "2"]
    layer.downsample(from_mag=Mag(2), coarsest_mag=Mag(4), sampling_mode="isotropic", **SMALL)
    layer.downsample(from_mag=Mag(1), coarsest_mag=Mag(4), sampling_mode="isotropic", **SMALL)
    assert [str(mag) for mag in layer.mags] == ["1", "2", "4"]
    assert layer.get_mag(4).bounding_box == BoundingBox((0, 0, 0), (48, 32, 20))


def test_downsample_of_a_dataset_takes_all_layers(layer: Layer) -> None:
    cells = layer.dataset.add_layer("cells", "segmentation", bounding_box=BOX)
    for each in (layer, cells):
        each.add_mag(1, **SMALL).write(_noise(BOX))
    layer.dataset.downsample(coarsest_mag="4-4-2", sampling_mode="AUTO")
    assert [str(mag) for mag in layer.mags] == [str(mag) for mag in cells.mags] == ["1", "2-2-1", "4-4-2"]


@pytest.mark.parametrize(
    "values",
    [
        {"sampling_mode": "upside_down"},
        {"interpolation_mode": "foo"},
        {"coarsest_mag": 3},
        {"coarsest_mag": 4, "max_mag": 4},
        {"from_mag": 2},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:max_mag")
def test_impossible_ladders(layer: Layer, values: dict[str, Any]) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    with pytest.raises(ValueError, match=r"."):
        layer.downsample(**values)
    assert [str(mag) for mag in layer.mags] == ["1"]


def test_downsample_from_a_mag_that_has_foreign_coarser_ones(layer: Layer) -> None:
    for mag in (1, 2):
        layer.add_mag(mag, **SMALL).write(np.ones(layer.get_mag(mag).bounding_box.in_mag(Mag(mag)).size, np.uint8))
    with pytest.raises(InputRefused, match="was not made from it"):
        layer.downsample(from_mag=1)
    with pytest.warns(DeprecationWarning, match="max_mag"):
        layer.downsample(max_mag=4, sampling_mode="isotropic")
    assert [str(mag) for mag in layer.mags] == ["1", "2", "4"]


def _shards(layer: Layer) -> dict[str, bytes]:
    files = [path for path in layer.path.rglob("*") if path.is_file()]
    return {path.relative_to(layer.path).as_posix(): content_of(path) for path in files}


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_a_write_is_taken_over_by_the_coarser_mags(tmp_path: Path, data_format: str) -> None:
    """Only units that depend on the written shards are made again, and all bytes equal those of a fresh build."""
    shapes = {"chunk_shape": 8, "shard_shape": 8 if data_format == "zarr" else 16}
    patch = np.full((1, 9, 7, 6), 200, np.uint8)
    offset = (5, 4, 3)
    layers = []
    for name in ("patched", "fresh"):
        layer = Dataset(tmp_path / name, (4, 4, 10), name="same").add_layer("em", "color", data_format=data_format, bounding_box=BOX)
        voxels = _noise(BOX)
        if name == "fresh":
            voxels[2:11, 2:9, 2:8] = patch[0]
        layer.add_mag(1, **shapes).write(voxels)
        layers.append(layer)
    patched, fresh = layers
    patched.downsample(**shapes)
    untouched = {path: path.stat().st_mtime_ns for path in (patched.path / "2-2-1").rglob("*") if path.is_file()}
    patched.get_mag(1).write(patch, absolute_offset=offset, allow_unaligned=True)
    patched.downsample(**shapes)
    fresh.downsample(**shapes)
    assert _shards(patched) == _shards(fresh)
    if data_format != "zarr":  # there, the whole mag is one unit
        assert any(path.exists() and path.stat().st_mtime_ns == before for path, before in untouched.items() if path.suffix != ".json")


def test_a_mag_that_was_written_by_hand_stays_as_it_is(layer: Layer) -> None:
    layer.add_mag(1, **SMALL).write(_noise(BOX))
    layer.downsample(coarsest_mag="4-4-2", **SMALL)
    middle = layer.get_mag("2-2-1")
    middle.write(np.full((23, 15, 18), 77, np.uint8))
    layer.downsample(coarsest_mag="4-4-2", **SMALL)
    assert (middle.read() == 77).all()
    assert (layer.get_mag("4-4-2").read() == 77).all()


def test_a_lost_shard_is_no_black_one(layer: Layer) -> None:
    mag = layer.add_mag(1, **SMALL)
    mag.write(np.ones((45, 30, 18), np.uint8))
    (mag.path / "c/0/1/1/0").unlink()
    with pytest.raises(MissingShard, match=r"0\.1\.1\.0"):
        mag.read()
    assert mag.read(absolute_offset=(3, 2, 1), size=(5, 5, 5)).all()
    with pytest.raises(MissingShard):
        layer.downsample()


@pytest.mark.parametrize("how", ["write", "add", "delete", "box", "layer", "downsample"])
def test_nobody_changes_arrays_during_a_run(layer: Layer, how: str) -> None:
    mag = layer.add_mag(1, **SMALL)
    mag.write(_noise(BOX))
    calls = {
        "write": lambda: mag.write(np.zeros((45, 30, 18), np.uint8)),
        "add": lambda: layer.add_mag(2),
        "delete": lambda: layer.delete_mag(1),
        "box": lambda: setattr(layer, "bounding_box", BoundingBox((0, 0, 0), (1, 1, 1))),
        "layer": lambda: layer.dataset.delete_layer("em"),
        "downsample": lambda: layer.downsample(),
    }
    locks = Locations.of(layer.dataset.path).locks.path()
    with RunLease(Local(locks)), pytest.raises(TryAgain, match="being worked on"):
        calls[how]()
    assert layer.bounding_box == BOX
    assert (mag.read()[0] == _noise(BOX)).all()
    calls[how]()
