"""Mags that are made from a mag of another layer: `from_mag_view`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wkpipe import BoundingBox, Dataset, Layer, MagView

BOX = BoundingBox((0, 0, 0), (64, 48, 32))
SMALL: dict[str, Any] = {"chunk_shape": 16, "shard_shape": 32}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def source(root: Path, mag: int, dtype: str = "uint8", data_format: str = "zarr3") -> MagView:
    dataset = Dataset(root, (4, 4, 4))
    layer = dataset.add_layer("em", "color", dtype=dtype, data_format=data_format, bounding_box=BOX)
    view = layer.add_mag(mag, **(SMALL if data_format == "zarr3" else {"chunk_shape": 16, "shard_shape": 16}))
    view.write(np.random.default_rng(mag).integers(1, 250, [n // mag for n in BOX.size], dtype=dtype))
    return view


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return Dataset(tmp_path / "target", (4, 4, 4)).add_layer("copy", "color", bounding_box=BOX)


def entries(layer: Layer) -> Any:
    return json.loads((layer.dataset.path / "datasource-properties.json").read_text())["dataLayers"][0]["mags"]


CALLS: dict[str, tuple[int, Callable[[Layer, MagView | None], object]]] = {
    "downsample": (1, lambda layer, view: layer.downsample(coarsest_mag=4, from_mag_view=view, **SMALL)),
    "downsample from": (1, lambda layer, view: layer.downsample(1, 4, from_mag_view=view, **SMALL)),
    "downsample_mag": (1, lambda layer, view: layer.downsample_mag(1, 2, from_mag_view=view, **SMALL)),
    "upsample": (4, lambda layer, view: layer.upsample(4, 1, from_mag_view=view, **SMALL)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_mags_are_those_that_the_other_layer_would_have(tmp_path: Path, layer: Layer, name: str) -> None:
    mag, call = CALLS[name]
    view = source(tmp_path / "source", mag)
    call(layer, view)
    made = list(layer.mags)
    assert view.mag not in made
    call(view.layer, None)
    assert made == [found for found in view.layer.mags if found != view.mag]
    for found in made:
        assert np.array_equal(layer.get_mag(found).read(), view.layer.get_mag(found).read())
        assert not layer.get_mag(found).is_foreign
    assert view.read().any()


def test_the_new_mags_are_those_of_the_layer_from_then_on(tmp_path: Path, layer: Layer) -> None:
    layer.downsample_mag(1, 2, from_mag_view=source(tmp_path / "source", 1), **SMALL)
    before = layer.get_mag(2).read()
    layer.downsample(coarsest_mag=8, **SMALL)
    assert [str(mag) for mag in layer.mags] == ["2", "4", "8"]
    assert np.array_equal(layer.get_mag(2).read(), before)


def test_a_reference_that_the_layer_has_already_is_used_and_stays(tmp_path: Path, layer: Layer) -> None:
    view = source(tmp_path / "source", 1)
    layer.add_mag_as_ref(view)
    layer.downsample(coarsest_mag=2, from_mag_view=view, **SMALL)
    assert [str(mag) for mag in layer.mags] == ["1", "2"]
    assert layer.get_mag(1).is_foreign


REFUSED: dict[str, tuple[Callable[[Layer, Path], object], type[Exception]]] = {
    "another mag": (lambda layer, path: layer.upsample(2, 1, from_mag_view=source(path, 4)), ValueError),
    "another mag below": (lambda layer, path: layer.downsample_mag(1, 4, from_mag_view=source(path, 2)), ValueError),
    "dtype": (lambda layer, path: layer.downsample(from_mag_view=source(path, 1, "uint16")), AssertionError),
    "format": (lambda layer, path: layer.downsample(from_mag_view=source(path, 1, data_format="zarr")), AssertionError),
    "no mag": (lambda layer, path: layer.downsample(from_mag_view=path), TypeError),  # type: ignore[arg-type]
    "ladder": (lambda layer, path: layer.downsample(coarsest_mag="4-4-1", from_mag_view=source(path, 2)), ValueError),
    "shape": (lambda layer, path: layer.upsample(4, 1, from_mag_view=source(path, 4), chunk_shape=33), ValueError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_leaves_nothing(tmp_path: Path, layer: Layer, name: str) -> None:
    call, kind = REFUSED[name]
    with pytest.raises(kind):
        call(layer, tmp_path / "source")
    assert entries(layer) == []
    assert not (layer.path).exists()


def test_a_mag_of_its_own_is_not_passed_over(tmp_path: Path, layer: Layer) -> None:
    layer.add_mag(1, **SMALL)
    with pytest.raises(ValueError, match="has a mag 1 of its own"):
        layer.downsample(from_mag_view=source(tmp_path / "source", 1))


def test_a_layer_without_a_box_is_refused(tmp_path: Path) -> None:
    layer = Dataset(tmp_path / "target", (4, 4, 4)).add_layer("copy", "color")
    with pytest.raises(ValueError, match="layer copy has no box"):
        layer.downsample(from_mag_view=source(tmp_path / "source", 1))
    assert entries(layer) == []
