"""elementClass and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wkpipe.errors import InputRefused
from wkpipe.metadata.element_class import (
    CREATABLE_DTYPES,
    LayerCategory,
    check_creatable,
    default_num_channels,
    dtype_per_channel,
    element_class,
    is_shown_by_viewer,
)

PAIRS = [
    ("uint8", 1, "uint8"),
    ("uint8", 2, "uint16"),
    ("uint8", 3, "uint24"),
    ("uint16", 3, "uint48"),
    ("int8", 3, "int24"),
    ("uint64", 1, "uint64"),
    ("float32", 1, "float"),
    ("float32", 2, "double"),
    ("float32", 3, "float96"),
    ("float64", 1, "double"),
]


@pytest.mark.parametrize("dtype, channels, name", PAIRS)
def test_there_and_back(dtype: str, channels: int, name: str) -> None:
    assert element_class(dtype, channels) == name
    assert dtype_per_channel(name, channels) == np.dtype(dtype)


def test_byte_order_does_not_matter() -> None:
    assert element_class(np.dtype(">u2"), 1) == element_class("<u2", 1) == "uint16"


@pytest.mark.parametrize(
    "name, channels",
    [
        *(("uint24", 1), ("uint8", 3), ("float", 2), ("uint8", 0)),
        *((name, 1) for name in ("uint7", "float16", "complex64", "", "uint", "uint8\n", "uint08", "Float", "uint99999999999")),
    ],
)
def test_what_is_no_element_class(name: str, channels: int) -> None:
    with pytest.raises(InputRefused, match="elementClass"):
        dtype_per_channel(name, channels)


def test_uint24_is_rgb_where_the_channels_are_not_given() -> None:
    assert (default_num_channels("uint24"), default_num_channels("uint16")) == (3, 1)


@pytest.mark.parametrize("category, allowed", CREATABLE_DTYPES.items())
def test_creatable_dtypes(category: LayerCategory, allowed: tuple[str, ...]) -> None:
    for dtype in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"):
        if dtype in allowed:
            check_creatable(category, dtype)
        else:
            with pytest.raises(InputRefused, match=f"new {category} layer"):
                check_creatable(category.value, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "float16", object, "U4", "no such type"])
def test_dtypes_that_no_layer_has(dtype: Any) -> None:
    with pytest.raises(InputRefused, match="data type"):
        check_creatable("color", dtype)


def test_unknown_category() -> None:
    with pytest.raises(InputRefused, match="color or segmentation"):
        check_creatable("image", "uint8")


def test_what_the_viewer_shows() -> None:
    assert is_shown_by_viewer("float32", 1)
    assert is_shown_by_viewer("uint8", 3)
    assert not is_shown_by_viewer("uint8", 2)
    assert not is_shown_by_viewer("uint16", 3)
