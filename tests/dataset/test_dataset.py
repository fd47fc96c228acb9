"""Datasets: creating, opening and describing them; many handles on one dataset."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wkpipe
from tests.content import content_of
from wkpipe import BoundingBox, Dataset, DatasetViewConfiguration, LayerViewConfiguration, NDBoundingBox, SegmentationLayer, VoxelSize
from wkpipe.errors import AlreadyExists, InputRefused, LayerNotFound, NotWritable
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here

NM = (11.24, 11.24, 25.0)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "brain", voxel_size=NM)


def _json(dataset: Dataset) -> dict[str, object]:
    return json.loads((dataset.path / "datasource-properties.json").read_bytes())  # type: ignore[no-any-return]


def test_a_new_dataset_reports_what_it_was_made_with(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "a" / "brain", voxel_size_with_unit=VoxelSize((0.5, 0.5, 2.0), "micrometer"))
    assert (dataset.name, dataset.path, dataset.read_only) == ("brain", tmp_path / "a" / "brain", False)
    assert dataset.voxel_size == (500.0, 500.0, 2000.0)
    assert dataset.voxel_size_with_unit == VoxelSize((0.5, 0.5, 2.0), "micrometer")
    assert dataset.layers == {}
    assert dataset.calculate_bounding_box() == BoundingBox.empty()
    assert Dataset(tmp_path / "b", NM, name="other").name == "other"


def test_name_and_view_configuration_are_saved_at_once(dataset: Dataset) -> None:
    other = Dataset.open(dataset.path)
    dataset.name = "renamed"
    dataset.default_view_configuration = DatasetViewConfiguration(zoom=2)
    assert other.name == "renamed"
    assert other.default_view_configuration == DatasetViewConfiguration(zoom=2)
    other.default_view_configuration = None
    assert dataset.default_view_configuration is None
    assert "defaultViewConfiguration" not in _json(dataset)


def test_a_dataset_that_is_there_is_opened_only_if_asked_and_equal(dataset: Dataset) -> None:
    with pytest.raises(RuntimeError, match=r"Dataset\.open"):
        Dataset(dataset.path, NM)
    assert Dataset(dataset.path, NM, exist_ok=True).name == "brain"
    assert Dataset(dataset.path, exist_ok=True, name="brain", read_only=True).read_only
    with pytest.raises(RuntimeError, match="voxel size"):
        Dataset(dataset.path, (1, 1, 1), exist_ok=True)
    with pytest.raises(RuntimeError, match="name"):
        Dataset(dataset.path, NM, exist_ok=True, name="other")
    with pytest.raises(AlreadyExists):
        Dataset(dataset.path, NM)


def test_places_that_cannot_take_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    with pytest.raises(RuntimeError, match="not empty"):
        Dataset(tmp_path, NM)
    with pytest.raises(NotADirectoryError):
        Dataset(tmp_path / "file", NM)
    with pytest.raises(ValueError, match="voxel size"):
        Dataset(tmp_path / "new")
    with pytest.raises(ValueError, match="give one of them"):
        Dataset(tmp_path / "new", NM, voxel_size_with_unit=VoxelSize(NM))
    with pytest.raises(ValueError, match="positive"):
        Dataset(tmp_path / "new", (1, 0, 1))
    with pytest.raises(NotWritable):
        Dataset(tmp_path / "new", NM, read_only=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert Dataset(tmp_path, NM, exist_ok=True).layers == {}


def test_opening_what_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"datasource-properties\.json file not found"):
        Dataset.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Dataset.open(tmp_path / "file")


def test_layers_are_added_and_found(dataset: Dataset) -> None:
    em = dataset.add_layer("em", "color", bounding_box=BoundingBox((10, 20, 30), (5, 6, 7)))
    cells = dataset.add_layer("cells", "segmentation", dtype="uint32", largest_segment_id=7, mappings=["m"], data_format="wkw")
    assert list(dataset.layers) == ["em", "cells"]
    assert dataset.get_layer("em") is em
    assert (em.name, em.path, em.dataset, em.category) == ("em", dataset.path / "em", dataset, "color")
    assert (em.dtype, em.dtype_per_channel, em.dtype_per_layer, em.num_channels) == (np.uint8, np.uint8, "uint8", 1)
    assert em.bounding_box == BoundingBox((10, 20, 30), (5, 6, 7))
    assert em.data_format == "zarr3"
    assert not em.path.exists()
    assert em.mags == {}
    assert isinstance(cells, SegmentationLayer)
    assert (cells.largest_segment_id, cells.data_format, cells.dtype) == (7, "wkw", np.uint32)
    assert dataset.get_color_layers() == [em]
    assert dataset.get_segmentation_layers() == [cells]
    assert dataset.calculate_bounding_box() == BoundingBox((10, 20, 30), (5, 6, 7))
    entry = _json(dataset)["dataLayers"][1]  # type: ignore[index]
    assert (entry["elementClass"], entry["largestSegmentId"], entry["mappings"]) == ("uint32", 7, ["m"])


def test_layers_with_channels_and_other_axes(dataset: Dataset) -> None:
    rgb = dataset.add_layer("rgb", "color", num_channels=3)
    assert (rgb.dtype_per_layer, rgb.num_channels) == ("uint24", 3)
    box = NDBoundingBox((2, 0, 1, 2, 3), (4, 2, 5, 6, 7), ("t", "c", "x", "y", "z"))
    with pytest.warns(UserWarning, match="WEBKNOSSOS shows"):
        movie = dataset.add_layer("movie", "color", dtype="float32", bounding_box=box)
    assert (movie.num_channels, movie.bounding_box, movie.dtype_per_layer) == (2, box, "float64")


@pytest.mark.parametrize(
    "values",
    [
        {"layer_name": ".hidden"},
        {"layer_name": "a/b"},
        {"layer_name": "ä"},
        {"category": "colour"},
        {"dtype": "float64"},
        {"dtype": "bool"},
        {"dtype": "no type"},
        {"category": "segmentation", "dtype": "float32"},
        {"dtype": "uint8", "dtype_per_channel": "uint8"},
        {"num_channels": 0},
        {"data_format": "n5"},
        {"data_format": "hdf5"},
        {"largest_segment_id": 5},
        {"mappings": ["m"]},
        {"category": "segmentation", "largest_segment_id": 1.5},
        {"category": "segmentation", "largest_segment_id": 2**64},
        {"bounding_box": BoundingBox((-1, 0, 0), (1, 1, 1))},
        {"bounding_box": NDBoundingBox((0, 0), (1, 1), ("x", "y"))},
        {"bounding_box": NDBoundingBox((0, 0, 0, 0), (2, 1, 1, 1), ("c", "x", "y", "z")), "num_channels": 3},
        {"bounding_box": NDBoundingBox((0, 0, 0, 0), (2, 1, 1, 1), ("t", "x", "y", "z")), "data_format": "wkw"},
        {"bounding_box": NDBoundingBox((0, 0, 0, 0), (2, 1, 1, 1), ("t", "x", "y", "z")), "num_channels": 3},
    ],
    ids=str,
)
def test_impossible_layers_are_refused(dataset: Dataset, values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        dataset.add_layer(**{"layer_name": "new", "category": "color", **values})  # type: ignore[arg-type]
    assert dataset.layers == {}


def test_a_name_is_taken_once(dataset: Dataset) -> None:
    dataset.add_layer("em", "color")
    with pytest.raises(IndexError, match="em"):
        dataset.add_layer("em", "segmentation")


def test_get_or_add_layer(dataset: Dataset) -> None:
    layer = dataset.get_or_add_layer("em", "color", dtype="uint16")
    assert dataset.get_or_add_layer("em", "color", dtype=np.uint16, data_format="zarr3") is layer
    for values in [{"dtype": "uint8"}, {"num_channels": 2}, {"data_format": "wkw"}]:
        with pytest.raises(InputRefused, match=next(iter(values))):
            dataset.get_or_add_layer("em", "color", **values)  # type: ignore[arg-type]
    with pytest.raises(InputRefused, match="category"):
        dataset.get_or_add_layer("em", "segmentation")


def test_missing_layers_are_index_errors(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color")
    for call in (dataset.get_layer, dataset.delete_layer):
        with pytest.raises(IndexError, match="The layer no is not a layer of this dataset"):
            call("no")
    dataset.delete_layer("em")
    with pytest.raises(LayerNotFound):
        _ = layer.num_channels


def test_a_deleted_layer_leaves_nothing(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (32, 32, 32)))
    layer.add_mag(1).write(np.ones((32, 32, 32), np.uint8))
    dataset.delete_layer("em")
    assert {path.name for path in dataset.path.iterdir()} == {".wkpipe", "datasource-properties.json", "zarr.json"}
    assert not list(dataset.path.rglob("em*"))
    again = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (32, 32, 32))).add_mag(1)
    assert not again.read().any()


def test_largest_segment_id(dataset: Dataset) -> None:
    layer = dataset.add_layer("cells", "segmentation", dtype="uint64")
    assert isinstance(layer, SegmentationLayer)
    assert layer.largest_segment_id is None
    layer.largest_segment_id = np.uint64(2**60)  # type: ignore[assignment]
    assert dataset.get_segmentation_layers()[0].largest_segment_id == 2**60
    layer.largest_segment_id = None
    assert "largestSegmentId" not in _json(dataset)["dataLayers"][0]  # type: ignore[index]
    with pytest.raises(InputRefused):
        layer.largest_segment_id = "many"  # type: ignore[assignment]


def test_two_handles_never_lose_a_change(dataset: Dataset) -> None:
    other = Dataset.open(dataset.path)
    dataset.add_layer("a", "color")
    other.add_layer("b", "segmentation")
    dataset.get_layer("b").default_view_configuration = LayerViewConfiguration(alpha=50)
    assert list(dataset.layers) == list(other.layers) == ["a", "b"]
    assert other.get_layer("b").default_view_configuration == LayerViewConfiguration(alpha=50)
    assert isinstance(dataset.get_layer("b"), SegmentationLayer)


def test_many_threads_never_lose_a_change(dataset: Dataset) -> None:
    names = [f"layer{i}" for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Dataset.open(dataset.path).add_layer(name, "color"), names))
    assert sorted(dataset.layers) == sorted(names)


def test_a_read_only_dataset_refuses_every_change(dataset: Dataset) -> None:
    layer = dataset.add_layer("cells", "segmentation", bounding_box=BoundingBox((0, 0, 0), (32, 32, 32)))
    layer.add_mag(1)
    closed = Dataset.open(dataset.path, read_only=True)
    before = _json(dataset)
    cells = closed.get_segmentation_layers()[0]
    assert closed.read_only
    assert cells.read_only
    assert cells.get_mag(1).read_only
    changes = [
        lambda: setattr(closed, "name", "x"),
        lambda: setattr(closed, "default_view_configuration", None),
        lambda: closed.add_layer("x", "color"),
        lambda: closed.delete_layer("cells"),
        lambda: closed.downsample(),
        lambda: setattr(cells, "bounding_box", BoundingBox((0, 0, 0), (1, 1, 1))),
        lambda: setattr(cells, "default_view_configuration", None),
        lambda: setattr(cells, "largest_segment_id", 1),
        lambda: cells.add_mag(2),
        lambda: cells.delete_mag(1),
        lambda: cells.downsample(),
        lambda: cells.get_mag(1).write(np.zeros((32, 32, 32), np.uint8)),
        lambda: cells.get_mag(1).get_view(relative_offset=(0, 0, 0), size=(32, 32, 32), read_only=False),
    ]
    for change in changes:
        with pytest.raises(RuntimeError, match="read-only"):
            change()
    assert _json(dataset) == before
    assert not cells.get_mag(1).read().any()


def _files(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file() and ".wkpipe" not in path.parts]
    return {path.relative_to(root).as_posix(): content_of(path) for path in paths}


def test_from_images_makes_what_a_run_of_the_config_makes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    for z in range(5):
        Image.fromarray(rng.integers(0, 255, (60, 70), np.uint8)).save(tmp_path / "images" / f"{z:03}.png")
    made = Dataset.from_images(
        tmp_path / "images",
        tmp_path / "a",
        (4, 4, 40),
        layer_name="em",
        layer_category="color",
        shard_shape=(64, 64, 32),
        max_mag=2,
        name="n",
    )
    config = Config(
        source=tmp_path / "images",
        target=tmp_path / "b",
        voxel_size=(4, 4, 40),
        layer_name="em",
        category="color",
        shard_shape=(64, 64, 32),
        coarsest_mag="2",
        name="n",
    )
    run_here(make_plan(config, Sizing.local(1)))
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert [str(mag) for mag in made.get_layer("em").mags] == ["1", "2-2-1"]
    assert made.get_layer("em").bounding_box == BoundingBox((0, 0, 0), (70, 60, 5))
    with pytest.raises(InputRefused, match="two names"):
        Dataset.from_images(tmp_path / "images", tmp_path / "c", (4, 4, 40), max_mag=2, coarsest_mag=4)
    with pytest.raises(AlreadyExists):
        Dataset.from_images(tmp_path / "images", tmp_path / "a", (4, 4, 40), layer_name="other")


def test_images_that_were_written_over_are_not_converted_again(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "a.png")
    values = {"layer_name": "em", "layer_category": "color", "shard_shape": (64, 64, 32), "coarsest_mag": 2}
    made = Dataset.from_images(tmp_path / "a.png", tmp_path / "d", (4, 4, 4), **values)  # type: ignore[arg-type]
    mag = made.get_layer("em").get_mag(1)
    mag.write(np.full((64, 64, 1), 5, np.uint8))
    with pytest.raises(AlreadyExists):
        Dataset.from_images(tmp_path / "a.png", tmp_path / "d", (4, 4, 4), **values)  # type: ignore[arg-type]
    made.downsample(coarsest_mag=2)
    assert (made.get_layer("em").get_mag("2-2-1").read() == 5).all()
    assert (mag.read() == 5).all()


def test_a_larger_box_of_converted_images_can_be_downsampled(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "a.png")
    made = Dataset.from_images(
        tmp_path / "a.png", tmp_path / "d", (4, 4, 4), layer_name="em", layer_category="color", shard_shape=(64, 64, 32)
    )
    layer = made.get_layer("em")
    layer.bounding_box = BoundingBox((0, 0, 0), (100, 64, 1))
    layer.downsample()
    assert layer.get_mag("2-2-1").read()[0, :, 0, 0].tolist() == [9] * 32 + [0] * 18


def test_the_package_exports_its_names_lazily() -> None:
    code = "import sys, wkpipe; print('numpy' in sys.modules, wkpipe.__version__, wkpipe.SamplingModes.ISOTROPIC, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == "False"
    assert result.stdout.split()[2:] == ["isotropic", "True"]
    for name in wkpipe.__all__:
        assert getattr(wkpipe, name)
        assert name in dir(wkpipe)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wkpipe.nothing
