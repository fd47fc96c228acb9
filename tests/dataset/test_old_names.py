"""Old ways to call the API: each call is translated, and warns with the caller's line."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wkpipe
from wkpipe import BoundingBox, Dataset, Layer, Vec3Int
from wkpipe.dataset.old_names import OLD_CALLS, OldCall, OldName, translating
from wkpipe.errors import InputRefused

BOX = BoundingBox((0, 0, 0), (64, 64, 16))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "d", (4, 4, 40))


@pytest.fixture
def layer(dataset: Dataset) -> Layer:
    return dataset.add_layer("em", "color", bounding_box=BOX)


def _warned(call: Callable[[], Any]) -> list[tuple[type[Warning], str]]:
    """Return the warnings of a call; all must point at the line of the call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    code = call.__code__
    assert {(one.filename, one.lineno) for one in found} <= {(__file__, code.co_firstlineno)}
    return [(one.category, str(one.message)) for one in found]


# -- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OLD_CALLS)
def test_each_row_belongs_to_a_public_function_and_its_parameters(name: str) -> None:
    owner, _, member = name.partition(".")
    function = getattr(getattr(wkpipe, owner), member or "__init__")
    assert hasattr(function, "__wrapped__"), f"{name} is not decorated with accepts_old_calls"
    parameters = inspect.signature(function).parameters
    for old, row in OLD_CALLS[name].names.items():
        assert row.now in parameters
        assert (row.advice or row.now) in parameters
        assert old == row.now or old not in parameters


def test_what_the_reference_ignores_is_ignored_with_a_word(dataset: Dataset) -> None:
    found = _warned(lambda: dataset.add_layer("em", "color", bounding_box=BOX, chunk_shape=(32, 32, 8), compress=False))
    assert found == [
        (UserWarning, "Dataset.add_layer does not use chunk_shape=(32, 32, 8); give it to add_mag"),
        (UserWarning, "Dataset.add_layer does not use compress=False; give it to add_mag"),
    ]
    assert dataset.get_layer("em").bounding_box == BOX
    with pytest.raises(TypeError, match="chunk_shap"):
        dataset.add_layer("em2", "color", chunk_shap=(32, 32, 8))  # type: ignore[call-arg]
    assert list(dataset.layers) == ["em"]


# -- names ----------------------------------------------------------------------------------------------------------


def test_old_names_of_shapes_warn_with_the_line_of_the_caller(layer: Layer) -> None:
    found = _warned(lambda: layer.add_mag(1, block_len=32, file_len=2))  # type: ignore[call-arg]
    assert found == [
        (DeprecationWarning, "block_len is deprecated, use chunk_shape"),
        (DeprecationWarning, "file_len is deprecated, use shard_shape"),
    ]
    assert layer.get_mag(1).info.shard_shape == Vec3Int.full(64)
    assert _warned(lambda: layer.add_mag(2, chunk_size=64)) == [  # type: ignore[call-arg]
        (DeprecationWarning, "chunk_size is deprecated, use chunk_shape")
    ]
    assert layer.get_mag(2).info.chunk_shape == Vec3Int.full(64)


def test_a_parameter_that_is_only_discouraged_warns_once(layer: Layer) -> None:
    wanted = [(DeprecationWarning, "chunks_per_shard is deprecated, use shard_shape")]
    assert _warned(lambda: layer.get_or_add_mag(1, chunks_per_shard=2)) == wanted  # it is added
    assert _warned(lambda: layer.get_or_add_mag(1, chunks_per_shard=2)) == wanted  # it exists
    assert layer.get_mag(1).info.shard_shape == Vec3Int.full(64)


def test_the_old_name_of_the_coarsest_mag(layer: Layer) -> None:
    layer.add_mag(1).write(np.ones(tuple(BOX.size), np.uint8))
    assert _warned(lambda: layer.downsample(max_mag=2)) == [  # type: ignore[call-arg]
        (DeprecationWarning, "max_mag is deprecated, use coarsest_mag")
    ]
    assert [str(mag) for mag in layer.mags] == ["1", "2-2-1"]


def test_second_names_that_may_stay_do_not_warn(dataset: Dataset, tmp_path: Path) -> None:
    assert _warned(lambda: dataset.add_layer("a", "color", dtype_per_channel="uint16")) == []  # type: ignore[call-arg]
    assert _warned(lambda: dataset.get_or_add_layer("a", "color", dtype_per_channel="uint16")) == []  # type: ignore[call-arg]
    assert dataset.get_layer("a").dtype == np.uint16
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "a.png")
    target = tmp_path / "images"
    assert _warned(lambda: Dataset.from_images(tmp_path / "a.png", target, (4, 4, 4), layer_name="em", max_mag=2)) == []  # type: ignore[call-arg]
    assert [str(mag) for mag in Dataset.open(target).get_layer("em").mags] == ["1", "2-2-1"]


def test_none_counts_as_not_given(layer: Layer) -> None:
    assert _warned(lambda: layer.add_mag(1, chunk_shape=32, block_len=None)) == []  # type: ignore[call-arg]
    assert layer.get_mag(1).info.chunk_shape == Vec3Int.full(32)


def test_one_parameter_by_two_names_is_refused(layer: Layer) -> None:
    with pytest.warns(DeprecationWarning, match="block_len"), pytest.raises(InputRefused, match="chunk_shape=32 and block_len=64 are two"):
        layer.add_mag(1, chunk_shape=32, block_len=64)  # type: ignore[call-arg]
    with pytest.raises(InputRefused, match="dtype=uint8 and dtype_per_channel=uint16 are two names of one parameter; give only dtype"):
        layer.dataset.add_layer("b", "color", dtype="uint8", dtype_per_channel="uint16")  # type: ignore[call-arg]
    assert (layer.mags, list(layer.dataset.layers)) == ({}, ["em"])


def test_a_name_that_never_was_is_an_error_of_python(layer: Layer) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        layer.add_mag(1, colour=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes at most 3 more positional arguments, but 4 were given"):
        layer.add_mag(1, 32, 32, True, 5)  # type: ignore[misc]


def test_the_dtype_of_all_channels(dataset: Dataset) -> None:
    found = _warned(lambda: dataset.add_layer("rgb", "color", dtype_per_layer="uint24", num_channels=3))  # type: ignore[call-arg]
    assert found == [(DeprecationWarning, "dtype_per_layer is deprecated, use dtype")]
    assert (dataset.get_layer("rgb").dtype, dataset.get_layer("rgb").dtype_per_layer) == (np.uint8, "uint24")
    with pytest.warns(DeprecationWarning, match="dtype_per_layer"), pytest.raises(InputRefused, match="uint24 does not divide into 1"):
        dataset.add_layer("one", "color", dtype_per_layer="uint24")  # type: ignore[call-arg]


@pytest.mark.parametrize("edge, shards", [(32, 2), (Vec3Int.full(32), Vec3Int.full(2))])
def test_shapes_by_position(layer: Layer, edge: Any, shards: Any) -> None:
    """Both documented orders: block_len, file_len, compress and chunk_shape, chunks_per_shard, compress."""
    text = "these values by position are deprecated, give them by name: chunk_shape=, shard_shape=, compress="
    assert _warned(lambda: layer.add_mag(1, edge, shards, False)) == [(DeprecationWarning, f"Layer.add_mag: {text}")]  # type: ignore[misc]
    info = layer.get_mag(1).info
    assert (info.chunk_shape, info.shard_shape, info.compression_mode) == (Vec3Int.full(32), Vec3Int.full(64), False)
    found = _warned(lambda: layer.get_or_add_mag(1, edge, shards, False))  # type: ignore[misc]
    assert found == [(DeprecationWarning, f"Layer.get_or_add_mag: {text}")]


def test_a_dtype_by_position(dataset: Dataset) -> None:
    found = _warned(lambda: dataset.add_layer("a", "color", "uint16", None, 1))  # type: ignore[misc]
    assert [kind for kind, _ in found] == [DeprecationWarning]
    assert (dataset.get_layer("a").dtype, dataset.get_layer("a").num_channels) == (np.uint16, 1)


# -- positions ------------------------------------------------------------------------------------------------------

OLD = OldCall({"edge": OldName("shape"), "alias": OldName("unit", warns=False)}, positions=("edge", "unit"))


def _box(corner: int, *, shape: int = 1, unit: str = "nm") -> tuple[int, int, str]:
    return corner, shape, unit


def test_values_by_position_are_named_and_warn_once_for_all() -> None:
    box = translating("box", OLD, _box)
    assert box(1, shape=2) == (1, 2, "nm")
    assert _warned(lambda: box(1, shape=2, alias="m")) == []  # type: ignore[call-arg]
    found = _warned(lambda: box(1, 2, "m"))  # type: ignore[misc]
    assert found == [(DeprecationWarning, "box: these values by position are deprecated, give them by name: shape=, unit=")]
    with pytest.warns(DeprecationWarning, match="by position"):
        assert box(1, 2, "m") == (1, 2, "m")  # type: ignore[misc]
    with pytest.warns(DeprecationWarning, match="by position"):
        assert box(1, None, "m") == (1, 1, "m")  # type: ignore[misc]


def test_positions_that_never_were_are_errors_of_python() -> None:
    box = translating("box", OLD, _box)
    with pytest.raises(TypeError, match="but 3 were given"):
        box(1, 2, "m", 4)  # type: ignore[misc]
    with pytest.raises(TypeError, match="multiple values for argument 'unit'"):
        box(1, 2, "m", unit="m")  # type: ignore[misc]
    with pytest.raises(TypeError, match="multiple values for argument 'shape'"):
        box(1, 2, shape=2)  # type: ignore[misc]


# -- other warnings -------------------------------------------------------------------------------------------------


def test_other_warnings_point_at_the_caller_too(dataset: Dataset, layer: Layer) -> None:
    assert [text[:14] for _, text in _warned(lambda: layer.add_mag(1, chunk_shape=16))] == ["chunk shape 16"]
    assert [text[:14] for _, text in _warned(lambda: layer.get_or_add_mag(2, chunk_shape=16))] == ["chunk shape 16"]
    assert [kind for kind, _ in _warned(lambda: dataset.add_layer("two", "color", num_channels=2))] == [UserWarning]
    assert [kind for kind, _ in _warned(lambda: dataset.get_or_add_layer("too", "color", num_channels=2))] == [UserWarning]
    raw = dataset.add_layer("raw", "color", data_format="wkw", bounding_box=BOX).add_mag(1, chunk_shape=32, shard_shape=32, compress=False)
    some = np.ones((8, 8, 8), np.uint8)
    assert ["cuts a storage shard" in text for _, text in _warned(lambda: raw.write(some))] == [True]
