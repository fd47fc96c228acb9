"""Layers and datasets whose data exist already: referred to, linked, or in the dataset's directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dataset.test_layer_references import BOX, SMALL, array_of, facts, noise, state
from wkpipe import BoundingBox, Dataset, Layer, LayerCategory, Mag, SegmentationLayer
from wkpipe.errors import NotWritable, WkpipeError

pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


@pytest.fixture
def source(tmp_path: Path) -> SegmentationLayer:
    """Return a layer with two mags that others refer to."""
    dataset = Dataset(tmp_path / "source", (4, 4, 4), "Brain")
    layer = dataset.add_layer("cells", "segmentation", dtype="uint16", bounding_box=BOX, largest_segment_id=200)
    layer.add_mag(1, **SMALL).write(noise(BOX.size.to_tuple(), "uint16"))
    layer.downsample(coarsest_mag=2)
    dataset.add_layer("em", "color", bounding_box=BOX).add_mag(1, **SMALL)
    return layer.as_segmentation_layer()


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "d", (4, 4, 4))


def properties(dataset: Dataset) -> Any:
    return json.loads((dataset.path / "datasource-properties.json").read_bytes())


def paths(layer: Layer) -> list[str]:
    found = next(found for found in properties(layer.dataset)["dataLayers"] if found["name"] == layer.name)
    return [mag["path"] for mag in found["mags"]]


def check_same(layer: Layer, source: Layer) -> None:
    assert isinstance(layer, type(source))
    assert (layer.bounding_box, layer.dtype, list(layer.mags)) == (source.bounding_box, source.dtype, list(source.mags))
    for mag, view in source.mags.items():
        assert np.array_equal(layer.get_mag(mag).read(), view.read())
        assert layer.get_mag(mag).read_only


@pytest.mark.parametrize("by_path", [False, True])
def test_a_layer_by_reference(dataset: Dataset, source: SegmentationLayer, by_path: bool) -> None:
    before = facts(source.dataset.path)
    layer = dataset.add_layer_as_ref(source.path if by_path else source, "labels")
    check_same(layer, source)
    assert layer.as_segmentation_layer().largest_segment_id == 200
    assert paths(layer) == [str(source.path / "1"), str(source.path / "2")]
    assert (layer.path.exists(), layer.is_foreign, layer.read_only) == (False, False, False)
    layer.downsample(from_mag=2, coarsest_mag=4)
    assert [view.is_foreign for view in layer.mags.values()] == [True, True, False]
    layer.bounding_box = BoundingBox((0, 0, 0), (16, 16, 16))
    dataset.delete_layer("labels")
    assert facts(source.dataset.path) == before


@pytest.mark.parametrize("relative", [False, True])
def test_a_layer_without_mags_by_link(dataset: Dataset, tmp_path: Path, relative: bool) -> None:
    empty = Dataset(tmp_path / "empty", (4, 4, 4)).add_layer("cells", "segmentation", bounding_box=BOX)
    layer = dataset.add_symlink_layer(empty, make_relative=relative)
    assert (layer.mags, layer.bounding_box, layer.is_foreign, layer.read_only) == ({}, BOX, True, True)
    voxels = noise(BOX.size.to_tuple(), "uint8")
    empty.add_mag(1, **SMALL).write(voxels)
    layer.dataset.delete_layer("cells")
    assert np.array_equal(empty.get_mag(1).read()[0], voxels)


@pytest.mark.parametrize("relative", [False, True])
def test_a_layer_by_link(dataset: Dataset, source: SegmentationLayer, relative: bool, tmp_path: Path) -> None:
    before = facts(source.dataset.path)
    layer = dataset.add_symlink_layer(source, "labels", make_relative=relative)
    check_same(layer, source)
    assert str(layer.path.readlink()) == ("../source/cells" if relative else str(source.path))
    assert paths(layer) == [f"../source/cells/{mag}" if relative else str(source.path / mag) for mag in "12"]
    assert (layer.is_foreign, layer.read_only) == (True, True)
    with pytest.raises(NotWritable):
        layer.get_mag(1).write(noise(BOX.size.to_tuple(), "uint16"))
    with pytest.raises(WkpipeError):
        layer.add_mag(4)
    with pytest.raises(WkpipeError):
        layer.add_mag_from_zarrarray(4, array_of(tmp_path / "array", dtype="uint16"))
    dataset.delete_layer("labels")
    assert not layer.path.is_symlink()
    assert facts(source.dataset.path) == before


def test_a_shallow_copy(dataset: Dataset, source: SegmentationLayer, tmp_path: Path) -> None:
    file = source.dataset.path / "datasource-properties.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"more": 5}))
    before = facts(source.dataset.path)
    copy = source.dataset.shallow_copy_dataset(tmp_path / "copy")
    assert (copy.name, copy.voxel_size, list(copy.layers)) == ("copy", source.dataset.voxel_size, ["cells", "em"])
    check_same(copy.get_layer("cells"), source)
    assert properties(copy)["more"] == 5
    copy.add_layer("new", "color", bounding_box=BOX).add_mag(1, **SMALL)
    copy.delete_layer("em")
    copy.get_layer("cells").delete_mag(2)
    shutil.rmtree(copy.path)
    both = tmp_path / "both"
    both.mkdir()
    part = source.dataset.shallow_copy_dataset(both / "part", name="P", make_relative=True, layers_to_ignore=["em"])
    assert (part.name, list(part.layers), paths(part.get_layer("cells"))) == (
        "P",
        ["cells"],
        ["../../source/cells/1", "../../source/cells/2"],
    )
    check_same(part.get_layer("cells"), source)
    assert facts(source.dataset.path) == before


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_files_become_a_layer(dataset: Dataset, tmp_path: Path, data_format: str) -> None:
    made = Dataset(tmp_path / "made", (4, 4, 4)).add_layer(
        "cells", "segmentation", dtype="uint16", bounding_box=BOX, data_format=data_format
    )
    shapes = {"chunk_shape": 16} if data_format == "zarr" else SMALL
    for mag in (1, 2):
        made.add_mag(mag, **shapes).write(noise(tuple(-(-n // mag) for n in BOX.size), "uint16"))
    voxels = {mag: view.read(absolute_bounding_box=view.bounding_box) for mag, view in made.mags.items()}
    shutil.copytree(made.path, dataset.path / "cells")
    (dataset.path / "cells" / "notes").mkdir()
    layer = dataset.add_layer_for_existing_files("cells", LayerCategory.SEGMENTATION, largest_segment_id=7)
    assert (layer.data_format, layer.dtype, list(layer.mags)) == (data_format, np.uint16, [Mag(1), Mag(2)])
    assert layer.bounding_box == BoundingBox((0, 0, 0), (64, 64, 64 if data_format != "zarr" else 32))
    assert layer.as_segmentation_layer().largest_segment_id == 7
    for mag, expected in voxels.items():
        assert np.array_equal(layer.get_mag(mag).read(absolute_bounding_box=made.get_mag(mag).bounding_box), expected)
        assert not layer.get_mag(mag).read_only


Call = Callable[[Dataset, Layer, Path], object]
REFUSED: dict[str, tuple[Call, tuple[type[Exception], ...]]] = {
    "ref exists": (lambda d, s, _: d.add_layer_as_ref(s, "em"), (IndexError, ValueError)),
    "link exists": (lambda d, s, _: d.add_symlink_layer(s, "em"), (IndexError, ValueError)),
    "files exist": (lambda d, *_: d.add_layer_for_existing_files("em", "color"), (IndexError, ValueError)),
    "name": (lambda d, s, _: d.add_layer_as_ref(s, "a/b"), (ValueError,)),
    "link name": (lambda d, s, _: d.add_symlink_layer(s, ".."), (ValueError,)),
    "file name": (lambda d, *_: d.add_layer_for_existing_files("../source/cells", "segmentation"), (ValueError,)),
    "name type": (lambda d, s, _: d.add_layer_as_ref(s, 5), (TypeError, ValueError)),
    "type": (lambda d, *_: d.add_layer_as_ref(None), (TypeError, ValueError)),
    "no dataset": (lambda d, _, p: d.add_layer_as_ref(p / "nowhere" / "em"), (ValueError,)),
    "no layer": (lambda d, s, _: d.add_layer_as_ref(s.dataset.path / "no"), (IndexError, ValueError)),
    "url": (lambda d, *_: d.add_layer_as_ref("https://example.org/brain/em"), (ValueError,)),
    "in the way": (lambda d, s, _: d.add_symlink_layer(s, "files"), (IndexError, ValueError)),
    "no directory": (lambda d, *_: d.add_symlink_layer(d.get_layer("ref"), "em2"), (ValueError,)),
    "no mags": (lambda d, *_: d.add_layer_for_existing_files("empty", "color"), (ValueError,)),
    "no files": (lambda d, *_: d.add_layer_for_existing_files("nothing", "color"), (ValueError,)),
    "dtype": (lambda d, *_: d.add_layer_for_existing_files("files", "color", dtype="uint8"), (AssertionError, ValueError)),
    "category": (lambda d, *_: d.add_layer_for_existing_files("files", "odd"), (RuntimeError, ValueError)),
    "mags differ": (lambda d, *_: d.add_layer_for_existing_files("mixed", "color"), (AssertionError, ValueError)),
    "copy exists": (lambda _, s, p: s.dataset.shallow_copy_dataset(p / "d"), (RuntimeError, ValueError)),
    "copy is a file": (lambda _, s, p: s.dataset.shallow_copy_dataset(p / "file"), (NotADirectoryError, ValueError)),
    "copy without": (lambda _, s, p: s.dataset.shallow_copy_dataset(p / "copy", layers_to_ignore=["no"]), (IndexError, ValueError)),
    "copy without text": (lambda _, s, p: s.dataset.shallow_copy_dataset(p / "copy", layers_to_ignore="em"), (TypeError, ValueError)),
    "copy name": (lambda _, s, p: s.dataset.shallow_copy_dataset(p / "copy", name=3), (TypeError, ValueError)),
    "copy path": (lambda _, s, p: s.dataset.shallow_copy_dataset(3), (TypeError, ValueError)),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for all calls that are refused: none of them changes it."""
    root = tmp_path_factory.mktemp("ground")
    source = Dataset(root / "source", (4, 4, 4)).add_layer("cells", "segmentation", dtype="uint16", bounding_box=BOX)
    source.add_mag(1, **SMALL)
    dataset = Dataset(root / "d", (4, 4, 4))
    dataset.add_layer("em", "color", dtype="uint16")
    dataset.add_layer_as_ref(source, "ref")
    (dataset.path / "empty").mkdir()
    (root / "file").touch()
    array_of(dataset.path / "files" / "1", dtype="uint16")
    array_of(dataset.path / "mixed" / "1", dtype="uint16")
    array_of(dataset.path / "mixed" / "2", dtype="uint8")
    return root


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_leaves_no_trace(name: str, ground: Path) -> None:
    before = state(ground)
    call, kinds = REFUSED[name]
    with pytest.raises(WkpipeError) as caught:
        call(Dataset.open(ground / "d"), Dataset.open(ground / "source").get_layer("cells"), ground)
    assert [kind for kind in kinds if not isinstance(caught.value, kind)] == []
    assert "\n" not in str(caught.value)
    assert state(ground) == before


def test_old_names_warn(dataset: Dataset, source: SegmentationLayer) -> None:
    with pytest.warns(DeprecationWarning, match="use add_layer_as_ref"):
        assert dataset.add_remote_layer(source).name == "cells"
    array_of(dataset.path / "files" / "1", dtype="uint16")
    with pytest.warns(DeprecationWarning, match="dtype_per_layer is deprecated, use dtype"):
        assert dataset.add_layer_for_existing_files("files", "color", dtype_per_layer="uint16").dtype == "uint16"


@pytest.mark.parametrize(
    "change",
    [
        lambda d, s: d.add_layer_as_ref(s),
        lambda d, s: d.add_symlink_layer(s),
        lambda d, _: d.add_layer_for_existing_files("files", "color"),
        lambda d, s: d.get_layer("em").add_mag_as_ref(s.get_mag(1)),
        lambda d, s: d.get_layer("em").add_symlink_mag(s.get_mag(1)),
        lambda d, s: d.get_layer("em").add_mag_from_zarrarray(1, s.path / "1"),
        lambda d, _: d.get_layer("em").add_mag_for_existing_files(4),
        lambda d, _: setattr(d.get_layer("em"), "coordinate_transformations", None),
    ],
)
def test_a_read_only_dataset_refuses_every_change(ground: Path, change: Callable[[Dataset, Layer], object]) -> None:
    before = state(ground)
    with pytest.raises(NotWritable):
        change(Dataset.open(ground / "d", read_only=True), Dataset.open(ground / "source").get_layer("cells"))
    assert state(ground) == before
