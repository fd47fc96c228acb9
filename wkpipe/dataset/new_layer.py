"""New layers: what the caller wants, checked and completed before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.dataset.segmentation_layer import checked_segment_id
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, NDBoundingBox
from wkpipe.metadata.element_class import LayerCategory, check_creatable, dtype_name, layer_category
from wkpipe.metadata.layer_names import check_new_layer_name
from wkpipe.metadata.layer_properties import LayerProperties


def new_layer_properties(
    name: str,
    category: LayerCategory | str,
    *,
    dtype: DTypeLike | None,
    dtype_per_channel: DTypeLike | None,
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
    check_new_layer_name(name)
    kind = layer_category(category)
    voxel_type = _dtype(dtype, dtype_per_channel)
    check_creatable(kind, voxel_type)
    stored_as = writable_format(data_format)
    box = BoundingBox.empty() if box is None else box
    missing = [axis for axis in SPATIAL_AXES if axis not in box.axes]
    if missing:
        raise InputRefused(f"the box of layer {name} has the axes {','.join(box.axes)}; {missing[0]} is missing")
    channels = _channels(name, num_channels, box)
    others = [axis for axis in box.axes if axis not in ("c", *SPATIAL_AXES)]
    if others and stored_as is DataFormat.WKW:
        raise InputRefused(f"layer {name} has the axis {others[0]}, which wkw can not hold; choose data_format zarr3")
    if others and "c" not in box.axes and channels > 1:
        raise InputRefused(
            f"layer {name} has {channels} channels and the axis {others[0]}; its box must have the axis c too, to say where it lies"
        )
    layer = LayerProperties.for_box(name, kind, stored_as, voxel_type, box, channels)
    if kind is not LayerCategory.SEGMENTATION:
        if largest_segment_id is not None or mappings:
            raise InputRefused(f"layer {name} is a color layer; only segmentations have a largest segment id and mappings")
        return layer
    largest = None if largest_segment_id is None else checked_segment_id(largest_segment_id)
    return replace(layer, largest_segment_id=largest, mappings=tuple(mappings or ()))


def _dtype(dtype: DTypeLike | None, dtype_per_channel: DTypeLike | None) -> np.dtype[np.generic]:
    if dtype is not None and dtype_per_channel is not None:
        raise InputRefused("dtype and dtype_per_channel are two names of one thing; give dtype alone")
    chosen = dtype_per_channel if dtype is None else dtype
    return np.dtype(dtype_name("uint8" if chosen is None else chosen))


def _channels(name: str, num_channels: int | None, box: NDBoundingBox) -> int:
    in_box = box.size_of("c") if "c" in box.axes else None
    if num_channels is not None and in_box is not None and num_channels != in_box:
        raise InputRefused(f"layer {name}: the box has {in_box} channels, num_channels is {num_channels}")
    channels = in_box if num_channels is None else num_channels
    channels = 1 if channels is None else channels
    if channels < 1:
        raise InputRefused(f"layer {name}: a layer has at least one channel, not {channels}")
    return channels


def writable_format(data_format: DataFormat | str) -> DataFormat:
    """Return a format that wkpipe writes.

    Raises:
        InputRefused: there is no such format, or it is only read.
    """
    writable = [found for found in DataFormat if found.is_writable]
    for found in writable:
        if found == data_format:
            return found
    raise InputRefused(f"data format {str(data_format)!r} can not be written; choose one of {', '.join(writable)}")


def check_same(
    layer: LayerProperties,
    category: LayerCategory | str,
    dtype: DTypeLike | None,
    num_channels: int | None,
    data_format: DataFormat | str | None,
) -> None:
    """Refuse to take a layer for another one; what is None does not count.

    Raises:
        InputRefused: names what differs.
    """
    given = {
        "category": layer_category(category),
        "dtype": None if dtype is None else np.dtype(dtype_name(dtype)),
        "num_channels": num_channels,
        "data_format": None if data_format is None else writable_format(data_format),
    }
    for name, value in given.items():
        if value is not None and getattr(layer, name) != value:
            raise InputRefused(f"layer {layer.name} exists with {name} {getattr(layer, name)}, not {value}")
