"""LayerProperties: the entry of a layer in datasource-properties.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wkpipe.errors import InputRefused, MagNotFound, MetadataError
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, Mag, MagLike, NDBoundingBox
from wkpipe.metadata.attachments import AttachmentsProperties
from wkpipe.metadata.axis_order import (
    AdditionalAxis,
    AxisOrder,
    array_axes,
    complete_axis_order,
)
from wkpipe.metadata.element_class import LayerCategory, element_class
from wkpipe.metadata.json_node import MAX_COORDINATE
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.view_configuration import LayerViewConfiguration


@dataclass(frozen=True)
class LayerProperties:
    """A layer as datasource-properties.json describes it. Instances are immutable; use `dataclasses.replace`.

    box: x, y, z in mag-1 voxels. dtype: of one channel. axis_order: the indices of c, x, y, z in the arrays of all mags;
    None takes that of the mags, or the default c, x, y, z. channel_index: the first channel, if the layer has no mags
    that give it. coordinate_transformations: JSON objects as they are. extra: unknown keys; below ``boundingBox`` and
    ``largestSegmentId`` the unknown keys of these objects.

    Raises
    ------
    MetadataError
        values contradict each other (a mag or an index twice, different axis orders, …).

    Examples
    --------
    >>> import numpy as np
    >>> from wkpipe import BoundingBox, DataFormat, LayerCategory, LayerProperties
    >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
    >>> LayerProperties("em", LayerCategory.COLOR, box, DataFormat.ZARR3, np.dtype("uint8")).num_channels
    1
    """

    name: str
    category: LayerCategory
    box: BoundingBox
    data_format: DataFormat
    dtype: np.dtype[Any]
    num_channels: int = 1
    mags: tuple[MagProperties, ...] = ()
    axis_order: AxisOrder | None = None
    channel_index: int = 0
    additional_axes: tuple[AdditionalAxis, ...] = ()
    default_view_configuration: LayerViewConfiguration | None = None
    coordinate_transformations: tuple[Mapping[str, Any], ...] | None = None
    largest_segment_id: int | None = None
    mappings: tuple[str, ...] = ()
    attachments: AttachmentsProperties = field(default_factory=AttachmentsProperties)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "category", LayerCategory(self.category))
        object.__setattr__(self, "data_format", DataFormat(self.data_format))
        object.__setattr__(self, "dtype", np.dtype(self.dtype).newbyteorder("="))
        given = self.axis_order or next((mag.axis_order for mag in self.mags if mag.axis_order is not None), None)
        order = complete_axis_order(given, self.additional_axes, self.num_channels)
        object.__setattr__(self, "axis_order", order)
        mags: list[MagProperties] = []
        for i, mag in enumerate(self.mags):
            own = order if mag.axis_order is None else complete_axis_order(mag.axis_order, self.additional_axes, self.num_channels)
            if own != order:
                raise MetadataError(where=f"mags[{i}].axisOrder", found=own, expected=f"that of the layer's first mag, {order}")
            if any(mag.mag == other.mag for other in mags):
                raise MetadataError(where=f"mags[{i}].mag", found=f"mag {mag.mag} a second time", expected="every mag once")
            filled = replace(own, extra={}) if mag.axis_order is None else own
            mags.append(mag if mag.axis_order == filled else replace(mag, axis_order=filled))
        object.__setattr__(self, "mags", tuple(mags))
        if self.num_channels > 1 and order.c is None:
            raise MetadataError(where="axisOrder", found="no axis c", expected=f"one for {self.num_channels} channels")
        array_axes(order, self.additional_axes)

    @classmethod
    def for_box(
        cls,
        name: str,
        category: LayerCategory | str,
        data_format: DataFormat | str,
        dtype: np.dtype[Any],
        box: NDBoundingBox,
        num_channels: int = 1,
    ) -> LayerProperties:
        """Return a new layer without mags for `box`: its axes other than c, x, y, z become additional axes.

        Without additional axes, the arrays have the axes c, x, y, z; otherwise the axes of the box in its order.
        """
        layer = cls(name, LayerCategory(category), BoundingBox.empty(), DataFormat(data_format), dtype, num_channels)
        return layer.with_bounding_box(box)

    # -- axes and boxes -----------------------------------------------------------------------------------------

    @property
    def order(self) -> AxisOrder:
        """The axis order of the arrays; never None."""
        assert self.axis_order is not None, "set when the instance is made"
        return self.axis_order

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the arrays' axes in array order."""
        return array_axes(self.order, self.additional_axes)

    def bounding_box(self) -> NDBoundingBox:
        """Return the box in mag-1 voxels in its normal form: c, x, y, z, or the array's axes if it has others.

        The axis c starts at 0 and ends at the number of channels.
        """
        bounds = {axis: self.box.bounds(axis) for axis in SPATIAL_AXES} | {"c": (0, self.num_channels)}
        axes = self.axes if self.additional_axes else ("c", *SPATIAL_AXES)
        bounds |= {axis.name: axis.bounds for axis in self.additional_axes}
        return NDBoundingBox([bounds[axis][0] for axis in axes], [bounds[axis][1] - bounds[axis][0] for axis in axes], axes)

    def with_bounding_box(self, box: NDBoundingBox) -> LayerProperties:
        """Return the layer with another box, of x, y, z alone, with c, or with additional axes.

        If the layer has no mags, the box decides the axes of the arrays too; otherwise it must have the same additional
        axes and number of channels.

        Raises
        ------
        InputRefused
            it has a negative corner, is too large, or has other axes or channels than the layer's arrays.
        """
        if max(box.bottomright) > MAX_COORDINATE:
            found, expected = f"a box that ends at {tuple(box.bottomright)}", f"at most {MAX_COORDINATE} along each axis"
            raise InputRefused(where=f"layer {self.name}", found=found, expected=expected)
        if any(value < 0 for value in box.topleft_xyz):
            raise InputRefused(f"the box of layer {self.name} would start at {box.topleft_xyz}", expected="no value below 0")
        xyz = BoundingBox(box.topleft_xyz, box.size_xyz)
        channels = box.size_of("c", self.num_channels)
        if self.mags and channels != self.num_channels:
            raise InputRefused(where=f"layer {self.name}", found=f"a box with {channels} channel(s)", expected=f"{self.num_channels}")
        others = [axis for axis in box.axes if axis not in ("c", *SPATIAL_AXES)]
        if not others and not self.additional_axes:
            return replace(self, box=xyz, num_channels=channels)
        if others and not self.mags:
            new_axes = tuple(AdditionalAxis(axis, box.bounds(axis), box.axes.index(axis)) for axis in others)
            return replace(self, box=xyz, num_channels=channels, additional_axes=new_axes, axis_order=AxisOrder.from_axes(box.axes))
        if others and set(others) != {axis.name for axis in self.additional_axes}:
            mine = ",".join(self.axes)
            raise InputRefused(
                where=f"layer {self.name}", found=f"a box with the axes {','.join(box.axes)}", expected=f"{mine} as its arrays have"
            )
        kept = tuple(replace(axis, bounds=box.bounds(axis.name)) if others else axis for axis in self.additional_axes)
        return replace(self, box=xyz, num_channels=channels, additional_axes=kept)

    def reaching(self, box: NDBoundingBox) -> LayerProperties:
        """Return the layer with a box that contains another one too; an empty layer without mags takes that box with its axes.

        Raises
        ------
        InputRefused
            see `with_bounding_box`.
        """
        is_vacant = not self.mags and self.box.is_empty()
        return self.with_bounding_box(box if is_vacant else self.bounding_box().extended_by(box))

    # -- elements and mags --------------------------------------------------------------------------------------

    @property
    def element_class(self) -> str:
        """The type of all channels of a voxel, as a name in datasource-properties.json."""
        return element_class(self.dtype, self.num_channels)

    def mag(self, mag: MagLike) -> MagProperties:
        """Return the entry of a mag.

        Raises
        ------
        MagNotFound
            the layer has no such mag.
        """
        wanted = Mag(mag)
        for entry in self.mags:
            if entry.mag == wanted:
                return entry
        there = ", ".join(str(entry.mag) for entry in self.mags) or "none"
        raise MagNotFound(f"The mag {wanted} is not a mag of this layer ({self.name} has {there})")

    def with_mag(self, entry: MagProperties) -> LayerProperties:
        """Return the layer with a mag added at the end, or in place of the entry of the same mag.

        A channel index that the layer kept while it had no mags moves to the entry.
        """
        if not self.mags and self.channel_index and not entry.channel_index:
            entry = replace(entry, channel_index=self.channel_index)
        if any(mag.mag == entry.mag for mag in self.mags):
            return replace(self, mags=tuple(entry if mag.mag == entry.mag else mag for mag in self.mags))
        return replace(self, mags=(*self.mags, entry))

    def without_mag(self, mag: MagLike) -> LayerProperties:
        """Return the layer without a mag.

        Raises
        ------
        MagNotFound
            the layer has no such mag.
        """
        gone = self.mag(mag)
        return replace(self, mags=tuple(entry for entry in self.mags if entry.mag != gone.mag), channel_index=gone.channel_index)
