"""New layers: the caller's arguments, checked and completed before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.dataset.errors import check_type
from wkpipe.errors import ExistsDifferently, InputRefused, NotWritable
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, NDBoundingBox
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.metadata.attachments import AttachmentsProperties
from wkpipe.metadata.element_class import LayerCategory, check_creatable, dtype_name, layer_category
from wkpipe.metadata.layer_names import check_new_layer_name
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.segment_ids import checked_segment_id


def new_layer_properties(
    name: str,
    category: LayerCategory | str,
    *,
    dtype: DTypeLike | None,
    num_channels: int | None,
    data_format: DataFormat | str,
    box: NDBoundingBox | None,
    largest_segment_id: int | None,
    mappings: Sequence[str] | None,
) -> LayerProperties:
    """Return the entry of a new layer without mags; the arguments are those of `Dataset.add_layer`.

    Raises:
        InputRefused: a value is not possible, or two contradict each other.
    """
    check_type("layer_name", name, str)
    check_new_layer_name(name)
    kind = layer_category(category)
    voxel_type = wanted_dtype("uint8" if dtype is None else dtype)
    check_creatable(kind, voxel_type)
    stored_as = writable_format(data_format)
    check_type("bounding_box", box, NDBoundingBox, may_lack=True)
    check_type("num_channels", num_channels, int, np.integer, may_lack=True)
    check_type("mappings", mappings, list, tuple, may_lack=True)
    box = BoundingBox.empty() if box is None else box
    missing = [axis for axis in SPATIAL_AXES if axis not in box.axes]
    if missing:
        raise InputRefused(f"the box of layer {name} has the axes {','.join(box.axes)}, but not {missing[0]}")
    channels = _channels(name, num_channels, box)
    others = [axis for axis in box.axes if axis not in CXYZ_AXES]
    if others and stored_as is DataFormat.WKW:
        raise InputRefused(f"layer {name} has the axis {others[0]}, which wkw cannot store", fix="choose data_format zarr3")
    if others and "c" not in box.axes and channels > 1:
        raise InputRefused(
            f"layer {name} has {channels} channels and the axis {others[0]}", fix="give a box with the axis c too, to say where it is"
        )
    layer = LayerProperties.for_box(name, kind, stored_as, voxel_type, box, channels)
    if kind is not LayerCategory.SEGMENTATION:
        if largest_segment_id is not None or mappings:
            raise InputRefused(f"layer {name} is a color layer, but only segmentations have a largest segment id and mappings")
        return layer
    largest = None if largest_segment_id is None else checked_segment_id(largest_segment_id)
    return replace(layer, largest_segment_id=largest, mappings=tuple(mappings or ()))


def layer_like(other: LayerProperties, name: str) -> LayerProperties:
    """Return the entry of a new layer without mags, with the properties of another one but without its attachments.

    Raises:
        InputRefused: the name is not possible, or wkpipe does not write the format.
    """
    check_type("layer_name", name, str)
    check_new_layer_name(name)
    writable_format(other.data_format)
    return replace(other, name=name, mags=(), attachments=AttachmentsProperties(), extra={})


def wanted_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of one channel; ``float``, the elementClass and the Python type, is float32.

    Raises:
        InputRefused: a layer cannot have such voxels.
    """
    return np.dtype("float32" if dtype is float or (isinstance(dtype, str) and dtype == "float") else dtype_name(dtype))


def _channels(name: str, num_channels: int | None, box: NDBoundingBox) -> int:
    in_box = box.size_of("c") if "c" in box.axes else None
    if num_channels is not None and in_box is not None and num_channels != in_box:
        raise InputRefused(f"the box has {in_box} channels, num_channels is {num_channels}", where=f"layer {name}")
    channels = in_box if num_channels is None else num_channels
    channels = 1 if channels is None else channels
    if channels < 1:
        raise InputRefused(f"a layer has at least one channel, not {channels}", where=f"layer {name}")
    return int(channels)


def writable_format(data_format: DataFormat | str) -> DataFormat:
    """Return the format if wkpipe writes it.

    Raises:
        NotWritable: there is no such format, or wkpipe only reads it.
    """
    writable = [found for found in DataFormat if found.is_writable]
    for found in writable:
        if found == data_format:
            return found
    raise NotWritable(f"data format {str(data_format)!r} cannot be written", fix=f"choose one of {', '.join(writable)}")


def check_same(
    layer: LayerProperties,
    category: LayerCategory | str,
    dtype: DTypeLike | None,
    num_channels: int | None,
    data_format: DataFormat | str | None,
) -> None:
    """Refuse a layer that differs from the wanted values; None accepts any.

    Raises:
        ExistsDifferently: a value differs; the error names it.
    """
    given = {
        "category": layer_category(category),
        "dtype": None if dtype is None else wanted_dtype(dtype),
        "num_channels": num_channels,
        "data_format": None if data_format is None else writable_format(data_format),
    }
    for name, value in given.items():
        if value is not None and getattr(layer, name) != value:
            raise ExistsDifferently(f"layer {layer.name} exists with {name} {getattr(layer, name)}, not {value}")
