"""Uncompressed WKW: a file has the size of all its chunks, so shards are not larger than the data need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, run, shards, write_dataset
from wkpipe import Dataset
from wkpipe.geometry import Vec3Int
from wkpipe.plan.origins.recorded import mag_plan_from_json
from wkpipe.plan.wishes.shapes import RAW_WKW_BYTES, RAW_WKW_EXCESS, Shapes

DEFAULT = Shapes(Vec3Int.full(32), Vec3Int.full(1024))
RAW = {"data_format": "wkw", "compress": False, "voxel_size": (1, 1, 1), "category": "color", "layer_name": "layer"}
extents = st.tuples(*[st.one_of(st.integers(1, 70), st.integers(1, 5000))] * 3)


@given(first=st.tuples(*[st.integers(0, 3000)] * 3), size=extents, voxel_bytes=st.sampled_from([1, 2, 3, 8]))
def test_files_are_bounded(first: tuple[int, int, int], size: tuple[int, int, int], voxel_bytes: int) -> None:
    low, high = Vec3Int(first), Vec3Int(first) + Vec3Int(size)
    shapes = DEFAULT.for_raw_wkw(low, high, voxel_bytes)
    edge = shapes.shard.x
    assert shapes.chunk == DEFAULT.chunk
    assert shapes.shard == Vec3Int.full(edge)
    assert edge in (32, 64, 128, 256, 512, 1024)
    file = edge**3 * voxel_bytes
    files = (high.ceildiv(shapes.shard) - low // shapes.shard).prod()
    needed = (high.ceildiv(shapes.chunk) - low // shapes.chunk).prod() * 32**3 * voxel_bytes
    assert file <= RAW_WKW_BYTES or file * files <= RAW_WKW_EXCESS * needed


@pytest.mark.parametrize(
    "size, edge", [((1024, 1024, 1024), 1024), ((3000, 2000, 1500), 1024), ((513, 700, 600), 1024), ((500, 500, 500), 512)]
)
def test_full_shards_stay_where_there_is_something_in_them(size: tuple[int, int, int], edge: int) -> None:
    assert DEFAULT.for_raw_wkw(Vec3Int.zeros(), Vec3Int(size), 1).shard.x == edge


def test_tiny_layers_get_tiny_files(tmp_path: Path) -> None:
    layer = Layer(
        noise((1, 62, 68, 1), "uint64", few=False), data_format="wkw", chunk=(32, 32, 32), shard=(128, 128, 128), compression=False
    )
    write_dataset(tmp_path / "d", layer)
    run(tmp_path / "d", compress=False)
    check_pyramid(tmp_path / "d", layer, "median")
    mags = [entry for entry in sorted((tmp_path / "d" / "layer").iterdir()) if entry.name != "1"]
    assert mags
    for mag in mags:
        assert sum(file.stat().st_size for file in shards(tmp_path / "d", mag=mag.name)) <= 32**3 * 8 * 8 + 16


def test_converted_and_added_mags(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((50, 70), "uint8", few=False))
    run(tmp_path / "d", source=tmp_path / "a.tif", **RAW, coarsest_mag="2-2-1")
    files = [*shards(tmp_path / "d"), *shards(tmp_path / "d", mag="2-2-1")]
    assert [file.stat().st_size for file in files] == [128**3 + 16, 64**3 + 16]
    mag = Dataset.open(tmp_path / "d").get_layer("layer").add_mag("4-4-1", compress=False)
    assert mag.info.shard_shape == Vec3Int.full(32)
    assert Dataset.open(tmp_path / "d").get_layer("layer").add_mag("8-8-1").info.shard_shape == Vec3Int.full(1024)


@pytest.mark.parametrize("values", [{"compress": True}, {"shard_shape": 1024}])
def test_given_shapes_and_compressed_files_stay(tmp_path: Path, values: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((50, 70), np.uint8))
    (layer,) = plan_of(tmp_path / "d", source=tmp_path / "a.tif", **(RAW | values)).layers
    assert {plan.spec.shard_shape for plan in layer.mags} == {(1, 1024, 1024, 1024)}


def test_mags_of_earlier_defaults_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command on a dataset of an older version keeps its shapes: there is nothing to do, and nothing is refused."""
    tifffile.imwrite(tmp_path / "a.tif", noise((50, 70), "uint8", few=False))
    values = {"source": tmp_path / "a.tif", **RAW, "coarsest_mag": "4-4-1"}
    with monkeypatch.context() as patch:
        patch.setattr(Shapes, "for_raw_wkw", lambda self, *_: Shapes(self.chunk, Vec3Int.full(128)))
        run(tmp_path / "d", **values)
    before = data_files(tmp_path / "d")
    assert plan_of(tmp_path / "d", **values).is_empty
    run(tmp_path / "d", **(values | {"coarsest_mag": "8-8-1"}))
    after = data_files(tmp_path / "d")
    assert {name: after[name] for name in before if name.endswith(".wkw")} == {
        name: v for name, v in before.items() if name.endswith(".wkw")
    }
    recipes = [mag_plan_from_json(json.loads(path.read_text())) for path in (tmp_path / "d/.wkpipe/ledger/layer").glob("*/recipe.json")]
    assert {str(recipe.mag): recipe.spec.shard_shape[1] for recipe in recipes} == {"1": 128, "2-2-1": 128, "4-4-1": 128, "8-8-1": 32}
