"""Layer.upsample: which mags it makes, how they are stored, what it refuses; what a refused call leaves behind: nothing."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.content import content_of
from tests.material import GOLDEN
from wkpipe import BoundingBox, Dataset, Layer, Mag, SamplingModes, Vec3Int
from wkpipe.errors import AlreadyExists, InputRefused, LadderRefused, MagNotFound, NotWritable, TryAgain, UnknownMode
from wkpipe.storage.lease import RunLease
from wkpipe.storage.local import Local
from wkpipe.stored.locations import Locations

BOX = BoundingBox((3, 2, 1), (45, 30, 18))
SMALL: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def layer_with(path: Path, mag: str, name: str = "cells", **values: Any) -> Layer:
    dataset = Dataset(path, (4, 4, 10), exist_ok=True)
    layer = dataset.add_layer(name, "segmentation", dtype="uint64", bounding_box=BOX, **values)
    view = layer.add_mag(mag, **SMALL)
    size = tuple(view.bounding_box.in_mag(view.mag).size)
    view.write(np.random.default_rng(0).integers(0, 2**63, size, dtype=np.uint64))
    return layer


def picture(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): content_of(file) for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize(
    "values, mags",
    [
        ({}, ["4-4-2", "2-2-1", "1"]),
        ({"finest_mag": None}, ["4-4-2", "2-2-1", "1"]),
        ({"finest_mag": "2-2-1"}, ["4-4-2", "2-2-1"]),
        ({"sampling_mode": SamplingModes.CONSTANT_Z}, ["4-4-2", "1-1-2"]),  # a single step: mags are distinguished by their largest edge
        ({"sampling_mode": "ISOTROPIC"}, ["4-4-2", "2", "1"]),
        ({"finest_mag": "4-4-2"}, ["4-4-2"]),
    ],
)
def test_the_ladder(tmp_path: Path, values: dict[str, Any], mags: list[str]) -> None:
    layer = layer_with(tmp_path / "d", "4-4-2")
    layer.upsample("4-4-2", **values)
    assert [str(mag) for mag in layer.mags] == mags
    assert layer.bounding_box == BOX
    source = layer.get_mag("4-4-2")
    for mag in layer.mags:
        voxels = source.read()
        for axis, (own, fine) in enumerate(zip(source.mag, mag, strict=True), 1):
            voxels = voxels.repeat(own // fine, axis)
        shift = [a - b for a, b in zip(layer.get_mag(mag).bounding_box.topleft, source.bounding_box.topleft, strict=True)]
        first = Vec3Int(shift) // mag.to_vec3_int()
        end = first + layer.get_mag(mag).bounding_box.in_mag(mag).size
        want = voxels[:, first.x : end.x, first.y : end.y, first.z : end.z]
        np.testing.assert_array_equal(layer.get_mag(mag).read(), want)


def test_the_golden_dataset(tmp_path: Path) -> None:
    """The reference package made mags 2-2-1 and 1 of it."""
    shutil.copytree(GOLDEN / "z3_upsample", tmp_path / "d", ignore=shutil.ignore_patterns("2-2-1", "1"))
    properties = json.loads((tmp_path / "d" / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["mags"] = properties["dataLayers"][0]["mags"][:1]
    (tmp_path / "d" / "datasource-properties.json").write_text(json.dumps(properties))
    layer = Dataset.open(tmp_path / "d").get_layer("color")
    layer.upsample(Mag("4-4-2"), **SMALL)
    assert [str(mag) for mag in layer.mags] == ["4-4-2", "2-2-1", "1"]
    golden = Dataset.open(GOLDEN / "z3_upsample", read_only=True).get_layer("color")
    for mag in layer.mags:
        np.testing.assert_array_equal(layer.get_mag(mag).read(), golden.get_mag(mag).read())
        assert layer.get_mag(mag).info == golden.get_mag(mag).info


def test_how_the_new_mags_are_stored(tmp_path: Path) -> None:
    layer = layer_with(tmp_path / "d", "4-4-2")
    layer.upsample("4-4-2", "2-2-1", compress=False)
    layer.upsample("2-2-1", chunk_shape=16, shard_shape=(32, 32, 16))
    plain, shaped = layer.get_mag("2-2-1").info, layer.get_mag(1).info
    assert (plain.chunk_shape, plain.shard_shape, plain.compression_mode) == (Vec3Int.full(32), Vec3Int(4096, 4096, 32), False)
    assert (shaped.chunk_shape, shaped.shard_shape, shaped.compression_mode) == (Vec3Int.full(16), Vec3Int(32, 32, 16), True)


def test_other_layers_decide_the_mags(tmp_path: Path) -> None:
    layer_with(tmp_path / "d", "2", "em").upsample(2)
    cells = layer_with(tmp_path / "d", "4")
    cells.upsample(4)
    assert [str(mag) for mag in cells.mags] == ["4", "2", "1"]
    elsewhere = layer_with(tmp_path / "e", "4")
    elsewhere.upsample(4, align_with_other_layers=Dataset.open(tmp_path / "d").get_layer("em").dataset, finest_mag=2)
    assert [str(mag) for mag in elsewhere.mags] == ["4", "2"]
    apart = layer_with(tmp_path / "d", "8-8-4", "apart")
    apart.upsample("8-8-4", align_with_other_layers=False)
    assert [str(mag) for mag in apart.mags] == ["8-8-4", "4-4-2", "2-2-1", "1"]


@pytest.mark.parametrize(
    "values, kinds, line",
    [
        ({"from_mag": 8}, (MagNotFound, AssertionError, KeyError), "layer cells: the layer has no mag 8; choose one of 4-4-2, 2-2-1"),
        (
            {"from_mag": "4-4-2"},
            (AlreadyExists, AssertionError),
            "layer cells: the layer already has mag 2-2-1; choose another finest mag, or overwrite the existing ones",
        ),
        (
            {"from_mag": "2-2-1", "finest_mag": 4},
            (LadderRefused, AssertionError),
            "the finest mag 4 is coarser than mag 2-2-1 on some axis",
        ),
        (
            {"from_mag": "2-2-1", "sampling_mode": "auto2"},
            (UnknownMode, AttributeError, ValueError),
            "sampling mode 'auto2' does not exist",
        ),
        ({"from_mag": "2-2-1", "finest_mag": 0}, (ValueError, AssertionError), "mag 0 is not valid"),
        ({"from_mag": "2-2-1", "compress": 3}, (TypeError,), "compress 3 is not possible"),
        ({"from_mag": "2-2-1", "align_with_other_layers": "em"}, (TypeError,), "align_with_other_layers='em' is not possible"),
        ({"from_mag": "2-2-1", "chunk_shape": 7}, (ValueError,), "7"),
        ({"from_mag": "2-2-1", "chunk_shape": 32, "shard_shape": 16}, (InputRefused,), "32"),
    ],
)
def test_refused_calls_leave_nothing_behind(tmp_path: Path, values: dict[str, Any], kinds: tuple[type, ...], line: str) -> None:
    layer = layer_with(tmp_path / "d", "4-4-2")
    layer.upsample("4-4-2", "2-2-1")
    before = picture(tmp_path / "d")
    with pytest.raises(kinds[0], match=re.escape(line)) as caught:
        layer.upsample(**values)
    assert all(isinstance(caught.value, kind) for kind in kinds)
    assert "\n" not in str(caught.value)
    assert picture(tmp_path / "d") == before


def test_formats_that_are_only_read(tmp_path: Path) -> None:
    layer = layer_with(tmp_path / "d", "2")
    properties = json.loads((tmp_path / "d" / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["dataFormat"] = "n5"
    (tmp_path / "d" / "datasource-properties.json").write_text(json.dumps(properties))
    with pytest.raises(InputRefused, match="stored as n5, which wkpipe only reads"):
        layer.upsample(2)


def test_an_empty_box(tmp_path: Path) -> None:
    layer = Dataset(tmp_path / "d", (4, 4, 10)).add_layer("em", "color")
    layer.add_mag(2)
    with pytest.raises(InputRefused, match="its box is empty"):
        layer.upsample(2)


def test_who_may_not_write(tmp_path: Path) -> None:
    layer_with(tmp_path / "d", "2")
    with pytest.raises(NotWritable, match="read-only"):
        Dataset.open(tmp_path / "d", read_only=True).get_layer("cells").upsample(2)
    with RunLease(Local(Locations.of(tmp_path / "d").locks.path())), pytest.raises(TryAgain):
        Dataset.open(tmp_path / "d").get_layer("cells").upsample(2)


def test_an_executor_makes_the_same_voxels(tmp_path: Path) -> None:
    layer, other = (layer_with(tmp_path / name, "4-4-2") for name in ("d", "e"))
    layer.upsample("4-4-2")
    with ThreadPoolExecutor(2) as executor:
        other.upsample("4-4-2", executor=executor)
    for mag in layer.mags:
        np.testing.assert_array_equal(other.get_mag(mag).read(), layer.get_mag(mag).read())


def test_links_that_lead_out_are_only_read(tmp_path: Path) -> None:
    layer = layer_with(tmp_path / "d", "2")
    other = tmp_path / "other"
    (other / "cells").mkdir(parents=True)
    shutil.copy(tmp_path / "d" / "datasource-properties.json", other)
    (other / "cells" / "2").symlink_to(layer.path / "2")
    before = picture(tmp_path / "d")
    Dataset.open(other).get_layer("cells").upsample(2)
    assert picture(tmp_path / "d") == before
    shutil.rmtree(other / "cells")
    (other / "cells").symlink_to(layer.path)
    shutil.copy(tmp_path / "d" / "datasource-properties.json", other)
    with pytest.raises(InputRefused, match="is a link that leads out"):
        Dataset.open(other).get_layer("cells").upsample(2)
    assert picture(tmp_path / "d") == before


def test_old_names(tmp_path: Path) -> None:
    layer = layer_with(tmp_path / "d", "4-4-2")
    with pytest.warns(DeprecationWarning, match="min_mag is deprecated, use finest_mag"):
        layer.upsample(Mag("4-4-2"), min_mag=Mag("2-2-1"), buffer_edge_len=64, args=None)  # type: ignore[call-arg]
    layer.upsample(Mag("2-2-1"), Mag(1), True, "auto", True, Vec3Int.full(64))
    assert [str(mag) for mag in layer.mags] == ["4-4-2", "2-2-1", "1"]


def test_a_downsampled_mag_upsampled_again_is_the_same_where_blocks_are_even(tmp_path: Path) -> None:
    """The maximum of a block fills the block: what was made of repeated voxels comes back."""
    fine = Dataset(tmp_path / "fine", (1, 1, 1)).add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (32, 32, 32)))
    voxels = np.random.default_rng(1).integers(0, 255, (16, 16, 16), dtype=np.uint8).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    fine.add_mag(1, **SMALL).write(voxels)
    fine.downsample(coarsest_mag=2, interpolation_mode="max")
    coarse = Dataset(tmp_path / "coarse", (1, 1, 1)).add_layer("em", "color", bounding_box=fine.bounding_box)
    coarse.add_mag(2, **SMALL).write(fine.get_mag(2).read())
    coarse.upsample(2)
    np.testing.assert_array_equal(coarse.get_mag(1).read()[0], voxels)


def test_a_source_that_was_deleted_and_made_again(tmp_path: Path) -> None:
    """Then the upsampled mag is the data, and the other one is made from it."""
    layer = layer_with(tmp_path / "d", "4-4-2")
    layer.upsample("4-4-2", "2-2-1")
    layer.delete_mag("4-4-2")
    layer.downsample(coarsest_mag="4-4-2", **SMALL)
    assert [str(mag) for mag in layer.mags] == ["2-2-1", "4-4-2"]
    layer.get_mag("2-2-1").write(np.full((23, 15, 18), 7, np.uint64), allow_unaligned=True)
    layer.downsample(coarsest_mag="4-4-2")
    assert (layer.get_mag("4-4-2").read() == 7).all()
