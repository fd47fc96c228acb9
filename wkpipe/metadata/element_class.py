"""elementClass: the name in datasource-properties.json for the type of all channels of a voxel together."""

from __future__ import annotations

import enum
import re
from typing import Final

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.errors import InputRefused, UnknownCategory


class LayerCategory(enum.StrEnum):
    """What a layer holds: intensities or segment ids.

    Members are strings, so a name can be used in place of a member. COLOR_TYPE and SEGMENTATION_TYPE are other names.

    Raises
    ------
    ValueError
        there is no category of that name.

    Examples
    --------
    >>> from wkpipe import LayerCategory
    >>> LayerCategory("segmentation"), LayerCategory.COLOR == "color"
    (<LayerCategory.SEGMENTATION: 'segmentation'>, True)
    """

    COLOR = "color"
    SEGMENTATION = "segmentation"
    COLOR_TYPE = "color"
    SEGMENTATION_TYPE = "segmentation"


_READ: Final = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
_SPECIAL: Final = {"float32": "float", "float64": "double"}
_SPECIAL_READ: Final = {"float": "float32", "double": "float64"}
_NAME = re.compile(r"(u?int|float)([1-9][0-9]{0,6})")

CREATABLE_DTYPES: Final[dict[LayerCategory, tuple[str, ...]]] = {
    LayerCategory.COLOR: ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"),
    LayerCategory.SEGMENTATION: ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
}
"""The dtypes per channel that new layers may have; existing layers may have others, such as float64."""


def element_class(dtype: DTypeLike, num_channels: int) -> str:
    """Return the elementClass of `num_channels` channels of `dtype`.

    >>> element_class("uint8", 3), element_class("float32", 1)
    ('uint24', 'float')

    Raises:
        InputRefused: a layer cannot have such voxels.
    """
    name = dtype_name(dtype)
    if num_channels < 1:
        raise InputRefused(found=f"{num_channels} channels", expected="at least one")
    kind = name.rstrip("0123456789")
    combined = f"{kind}{int(name[len(kind) :]) * num_channels}"
    return _SPECIAL.get(combined, combined)


def dtype_per_channel(name: str, num_channels: int) -> np.dtype[np.generic]:
    """Return the dtype of one channel, from an elementClass and the number of channels.

    >>> str(dtype_per_channel("uint24", 3))
    'uint8'

    Raises:
        InputRefused: there is no such elementClass, or it cannot be divided into this number of channels.
    """
    match = _NAME.fullmatch(_SPECIAL_READ.get(name, name))
    if match is None:
        raise InputRefused(f"elementClass {name!r} is not known", expected="a name like uint8, uint24, int32, float or double")
    bits = int(match[2])
    channel = f"{match[1]}{bits // num_channels}" if num_channels > 0 and bits % num_channels == 0 else ""
    if channel not in _READ:
        raise InputRefused(f"elementClass {name} does not divide into {num_channels} channel(s) of a known type ({', '.join(_READ)})")
    return np.dtype(channel)


def default_num_channels(name: str) -> int:
    """Return the number of channels if a file does not name it: 1, but 3 for ``uint24``, which is always RGB."""
    return 3 if name == "uint24" else 1


def dtype_name(dtype: DTypeLike) -> str:
    """Return the name of a voxel type without its byte order, such as ``uint16``.

    Raises:
        InputRefused: a layer cannot have such voxels (bool, complex, float16, objects, …).
    """
    try:
        name = np.dtype(dtype).name
    except (TypeError, ValueError):
        name = str(dtype)
    if name not in _READ:
        raise InputRefused(f"data type {name} is not possible in a layer", expected=f"one of {', '.join(_READ)}")
    return name


def check_creatable(category: LayerCategory | str, dtype: DTypeLike) -> None:
    """Check that a new layer of `category` may have channels of `dtype`.

    Raises:
        InputRefused: it may not; names the possible types.
    """
    allowed = CREATABLE_DTYPES[layer_category(category)]
    name = dtype_name(dtype)
    if name not in allowed:
        raise InputRefused(f"a new {category} layer cannot have the data type {name}", expected=f"one of {', '.join(allowed)}")


def layer_category(category: str) -> LayerCategory:
    """Return the category of that name.

    Raises:
        UnknownCategory: there is no such category.
    """
    try:
        return LayerCategory(category)
    except ValueError:
        raise UnknownCategory(f"layer category {category!r} is not known", expected="color or segmentation") from None


def is_shown_by_viewer(dtype: DTypeLike, num_channels: int) -> bool:
    """True if WEBKNOSSOS displays all channels: one channel of any type, or three of uint8."""
    return num_channels == 1 or (num_channels == 3 and np.dtype(dtype) == np.uint8)
