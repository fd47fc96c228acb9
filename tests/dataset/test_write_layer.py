"""Layers made in one call or like another one, and the old ways to open a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wkpipe import BoundingBox, Dataset, NDBoundingBox, SegmentationLayer
from wkpipe.dataset.errors import DatasetExists, WrongShape, WrongType
from wkpipe.errors import AlreadyExists, InputRefused, LayerNotFound


def _noise(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)


@pytest.mark.filterwarnings("ignore:layer em")
@pytest.mark.parametrize(
    "shape,axes,offset,mag,box",
    [
        ((20, 30, 8), None, None, 1, BoundingBox((0, 0, 0), (20, 30, 8))),
        ((3, 20, 30, 8), None, (4, 2, 2), 1, BoundingBox((4, 2, 2), (20, 30, 8))),
        ((20, 30, 8), None, (4, 2, 2), "2-2-1", BoundingBox((4, 2, 2), (40, 60, 8))),
        ((8, 20, 30), ("z", "x", "y"), (1, 2, 3), 1, BoundingBox((1, 2, 3), (20, 30, 8))),
        (
            (2, 3, 20, 30, 8),
            ("t", "c", "x", "y", "z"),
            (5, 0, 1, 2, 3),
            1,
            NDBoundingBox((5, 0, 1, 2, 3), (2, 3, 20, 30, 8), ("t", "c", "x", "y", "z")),
        ),
    ],
)
def test_write_layer(tmp_path: Path, shape: tuple[int, ...], axes: Any, offset: Any, mag: Any, box: NDBoundingBox) -> None:
    voxels = _noise(shape)
    layer = Dataset(tmp_path / "ds", (4, 4, 10)).write_layer(
        "em", "color", voxels, axes=axes, absolute_offset=offset, mag=mag, downsample=False
    )
    stored = layer.get_mag(mag).info.axes
    names = axes or (("x", "y", "z") if len(shape) == 3 else ("c", "x", "y", "z"))
    assert (np.squeeze(layer.get_mag(mag).read()) == voxels.transpose([names.index(axis) for axis in stored if axis in names])).all()
    assert (layer.bounding_box.topleft_xyz, layer.bounding_box.size_xyz) == (box.topleft_xyz, box.size_xyz)
    assert "t" not in stored or layer.bounding_box.bounds("t") == (5, 7)


@pytest.mark.parametrize(
    "values,error,text",
    [
        ({"data": _noise((4, 4))}, WrongShape, "2 dimensions"),
        ({"data": _noise((2, 3, 4, 4, 4))}, WrongShape, "axes="),
        ({"axes": ("x", "y", "t")}, WrongShape, "x, y and z among them"),
        ({"data": _noise((4, 0, 4))}, WrongShape, "no length of 0"),
        ({"absolute_offset": (1, 2)}, WrongShape, "2 values"),
        ({"absolute_offset": (1, 2, 3), "mag": 2}, WrongShape, "multiples of mag 2"),
        ({"absolute_offset": (-1, 2, 3)}, WrongShape, "0 or more"),
        ({"data": _noise((4, 4, 4)).astype("complex64")}, InputRefused, "complex64"),
        ({"chunk_shape": 3}, InputRefused, "multiple"),
        ({"data_format": "n5"}, InputRefused, "cannot be written"),
        ({"layer_name": "em/2"}, InputRefused, "em/2"),
    ],
)
def test_a_layer_that_cannot_be_written_is_not_there(tmp_path: Path, values: dict[str, Any], error: type[Exception], text: str) -> None:
    dataset = Dataset(tmp_path / "ds", (4, 4, 10))
    with pytest.raises(error, match=text):
        dataset.write_layer(**{"layer_name": "em", "category": "color", "data": _noise((16, 16, 16)), **values})
    assert dataset.layers == {}
    assert not (tmp_path / "ds/em").exists()


def test_write_layer_keeps_an_existing_layer(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "ds", (4, 4, 10))
    voxels = _noise((16, 16, 16))
    dataset.write_layer("em", "color", voxels)
    with pytest.raises(AlreadyExists):
        dataset.write_layer("em", "color", voxels + 1)
    assert (dataset.get_layer("em").get_mag(1).read()[0] == voxels).all()


def test_add_layer_like(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "ds", (4, 4, 10))
    box = NDBoundingBox((1, 0, 0, 0), (3, 20, 20, 20), ("t", "x", "y", "z"))
    cells = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box, largest_segment_id=9, data_format="zarr")
    cells.add_mag(1)
    other = Dataset(tmp_path / "other", (4, 4, 10)).add_layer_like(cells, "copy")
    assert isinstance(other, SegmentationLayer)
    assert (other.bounding_box, other.dtype, other.largest_segment_id, other.data_format, other.mags) == (box, "uint32", 9, "zarr", {})
    assert other.add_mag(1).read().shape == (3, 20, 20, 20)
    with pytest.raises(AlreadyExists):
        dataset.add_layer_like(cells, "cells")
    with pytest.raises(InputRefused, match="a/b"):
        dataset.add_layer_like(cells, "a/b")


def test_get_segmentation_layer(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "ds", (4, 4, 10))
    dataset.add_layer("em", "color")
    cells = dataset.add_layer("cells", "segmentation")
    assert dataset.get_segmentation_layer("cells") is cells
    assert dataset.get_segmentation_layers() == [cells]
    assert [layer.name for layer in dataset.get_color_layers()] == ["em"]
    with pytest.raises(WrongType, match="category color") as caught:
        dataset.get_segmentation_layer("em")
    assert isinstance(caught.value, TypeError)
    with pytest.raises(LayerNotFound):
        dataset.get_segmentation_layer("nowhere")


def test_old_ways_to_open_a_dataset(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="scale is deprecated, use voxel_size") as caught:
        Dataset(tmp_path / "ds", scale=(4, 4, 10))  # type: ignore[call-arg]
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"Dataset.open") as caught:
        dataset = Dataset(tmp_path / "ds")
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="voxel_size"):
        assert dataset.scale == dataset.voxel_size == (4, 4, 10)
    for values in ({"voxel_size": (4, 4, 10)}, {"name": "ds"}):
        with pytest.raises(DatasetExists):
            Dataset(tmp_path / "ds", **values)
    with pytest.raises(InputRefused, match="needs a voxel size"):
        Dataset(tmp_path / "new")
    assert not (tmp_path / "new").exists()
