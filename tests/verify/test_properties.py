"""Properties that contradict the arrays or the ledger are problems; boxes changed on purpose are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.verify.helpers import FORMATS, LAYERS, edit_json, make_dataset, run, write_images
from wkpipe import BoundingBox, Dataset, SegmentationLayer
from wkpipe.cli.app import run_app
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.report import Kind, Problem

ARRAY = {"zarr3": "zarr.json", "zarr": ".zarray"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of each format, and one with segments up to 1999."""
    root = tmp_path_factory.mktemp("properties")
    images = write_images(root / "images")
    for data_format in FORMATS:
        make_dataset(images, root / data_format, data_format)
    (root / "ids").mkdir()
    ids = np.random.default_rng(0).integers(1, 1990, (20, 40, 40)).astype(np.uint16)
    ids[3, 3, 3], ids[18, 38, 38] = 1998, 1999
    for z, page in enumerate(ids):
        tifffile.imwrite(root / "ids" / f"{z:03}.tif", page)
    values = {"voxel_size": [10, 10, 20], "category": "segmentation", "layer_name": "seg", "chunk_shape": 16, "shard_shape": 32}
    run(root / "segmentation", source=str(root / "ids"), **values)
    return root


@pytest.fixture
def copy(originals: Path, tmp_path: Path) -> Any:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(originals / name, tmp_path / name))

    return copied


def edit_layer(root: Path, **values: Any) -> None:
    file = root / "datasource-properties.json"
    properties = json.loads(file.read_text())
    properties["dataLayers"][0] |= values
    file.write_text(json.dumps(properties))


def layer_json(root: Path) -> Any:
    return json.loads((root / "datasource-properties.json").read_text())["dataLayers"][0]


def problems_of(root: Path) -> list[Problem]:
    """Return the problems, each of which has a fix and is one line."""
    found = list(verify_dataset(root).problems)
    assert all(problem.fix and "\n" not in str(problem) for problem in found)
    assert run_app(["verify", str(root), "-q"]) == (4 if found else 0)
    return found


@pytest.mark.parametrize("stated", [3, 0, 1998])
def test_largest_segment_id_below_that_of_the_data(copy: Any, stated: int) -> None:
    root = copy("segmentation")
    assert layer_json(root)["largestSegmentId"] == 1999
    assert problems_of(root) == []
    edit_layer(root, largestSegmentId=stated)
    (problem,) = problems_of(root)
    assert (problem.kind, problem.layer, problem.mag) == (Kind.PROPERTIES, "seg", "1")
    assert f"found largestSegmentId {stated}" in problem.what
    assert problem.fix.endswith("to 1999")


def test_largest_segment_ids_that_are_fine(copy: Any) -> None:
    """A user may raise the id; if there is none, verify gives a note; a box without the id does not need it."""
    root = copy("segmentation")
    edit_layer(root, largestSegmentId=5000)
    assert problems_of(root) == []
    edit_layer(root, largestSegmentId=None)
    assert problems_of(root) == []
    assert [note for note in verify_dataset(root).notes if "largestSegmentId is not set" in note and "1999" in note]
    layer = Dataset.open(root).get_layer("seg")
    assert isinstance(layer, SegmentationLayer)
    layer.bounding_box = BoundingBox((0, 0, 0), (32, 32, 20))
    layer.largest_segment_id = 1998
    assert [problem for problem in verify_dataset(root, mag=1).problems if problem.kind is Kind.PROPERTIES] == []
    layer.largest_segment_id = 1997
    (problem,) = [problem for problem in verify_dataset(root, mag=1).problems if problem.kind is Kind.PROPERTIES]
    assert problem.fix.endswith("to 1998")


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("axis", ["width", "height", "depth"])
def test_empty_box_where_there_are_data(copy: Any, data_format: str, axis: str) -> None:
    root = copy(data_format)
    edit_layer(root, boundingBox=layer_json(root)["boundingBox"] | {axis: 0})
    found = [problem for problem in problems_of(root) if problem.kind is Kind.PROPERTIES]
    assert [problem.mag for problem in found] == [str(mag) for mag in Dataset.open(root).get_layer(LAYERS[data_format]).mags]
    assert all("found the empty boundingBox" in problem.what for problem in found)
    assert "0,0,0 to 70,50,40" in found[0].fix
    shutil.rmtree(root / ".wkpipe")
    assert [problem for problem in problems_of(root) if "the empty boundingBox" in problem.what]


def test_layers_without_data_may_be_empty(tmp_path: Path) -> None:
    layer = Dataset(tmp_path / "d", (1, 1, 1)).add_layer("em", "color")
    layer.add_mag(1)
    assert problems_of(tmp_path / "d") == []


@pytest.mark.parametrize("data_format", ["zarr3", "zarr"])
@pytest.mark.parametrize("axis, change", [(0, 1), (1, 32), (1, -32), (1, 1), (2, 64), (3, 32), (3, -1)])
@pytest.mark.parametrize("mag", ["1", "2-2-1"])
def test_shape_that_was_not_made(copy: Any, data_format: str, axis: int, change: int, mag: str) -> None:
    root = copy(data_format)
    file = root / LAYERS[data_format] / mag / ARRAY[data_format]
    before = file.read_bytes()
    shape = json.loads(before)["shape"]
    shape[axis] += change
    edit_json(file, shape=shape)
    found = [problem for problem in problems_of(root) if problem.mag == mag and problem.kind is Kind.ARRAY]
    assert any(
        f"{shape[axis]} {'along' if axis == 0 else 'voxels along' if change < -1 else ''}".strip() in problem.what for problem in found
    )
    assert all(problem.fix.endswith("--repair") for problem in found)
    assert run_app(["verify", str(root), "--repair", "-q"]) == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("data_format", FORMATS)
def test_boxes_that_the_library_changed(copy: Any, data_format: str) -> None:
    root = copy(data_format)
    layer = Dataset.open(root).get_layer(LAYERS[data_format])
    box = layer.bounding_box
    for other in [BoundingBox((0, 0, 0), (32, 32, 20)), BoundingBox((10, 10, 10), (20, 20, 20)), box]:
        layer.bounding_box = other
        found = [problem for problem in verify_dataset(root).problems if problem.kind in (Kind.ARRAY, Kind.PROPERTIES)]
        assert found == []
    assert problems_of(root) == []


def test_number_of_channels_that_was_not_made(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8), photometric="rgb")
    root = tmp_path / "d"
    run(root, source=str(tmp_path / "a.tif"), voxel_size=[1, 1, 1], category="color", coarsest_mag="2-2-1", layer_name="rgb")
    assert problems_of(root) == []
    edit_layer(root, numChannels=1, elementClass="uint8")
    found = [problem for problem in problems_of(root) if "numChannels" in problem.what]
    assert {(problem.mag, problem.what) for problem in found} == {
        (mag, "found numChannels 1 in datasource-properties.json, expected 3 as it was made with") for mag in ("1", "2-2-1")
    }


@pytest.mark.parametrize("element_class", ["uint16", "int8", "float"])
def test_element_class_that_was_not_made(copy: Any, element_class: str) -> None:
    root = copy("zarr3")
    edit_layer(root, elementClass=element_class)
    assert {problem.mag for problem in problems_of(root) if "uint8" in problem.what} >= {"1", "2-2-1"}


@pytest.mark.parametrize("data_format", FORMATS)
def test_paths_that_are_not_those_of_the_mags(copy: Any, data_format: str) -> None:
    root, name = copy(data_format), LAYERS[data_format]
    mags = layer_json(root)["mags"]
    edit_layer(root, mags=[mags[0], mags[1] | {"path": mags[0]["path"]}, *mags[2:]])
    assert any("expected another one than that of mag 1" in problem.what for problem in problems_of(root) if problem.mag == "2-2-1")
    edit_layer(root, mags=[mags[0] | {"path": mags[1]["path"]}, *mags[1:]])
    assert any(f"expected ./{name}/1, where the mag was made" in problem.what for problem in problems_of(root) if problem.mag == "1")
    edit_layer(root, mags=mags)
    assert problems_of(root) == []


def test_mags_that_were_moved_are_still_the_same(copy: Any, tmp_path: Path) -> None:
    root = copy("zarr3")
    shutil.move(root / "color/1", tmp_path / "elsewhere")
    (root / "color/1").symlink_to(tmp_path / "elsewhere")
    assert [problem.what for problem in verify_dataset(root, mag=1).problems] == []
