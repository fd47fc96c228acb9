"""ArrivingMag: an array that exists and is about to become a mag of a layer, and how the layer changes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from wkpipe.dataset.errors import MagExists
from wkpipe.errors import ExistsDifferently, MetadataError, UnreadableInput
from wkpipe.formats import open_array
from wkpipe.formats.base import ArraySpec, DataFormat, StoredArray
from wkpipe.geometry import SPATIAL_AXES, Mag, NDBoundingBox
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.metadata.axis_order import AdditionalAxis, AxisOrder
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.storage.place import Place
from wkpipe.stored.dataset import StoredDataset, box_in_mag

_FILES: Final = {DataFormat.ZARR3: "zarr.json", DataFormat.ZARR: ".zarray", DataFormat.WKW: "header.wkw", DataFormat.N5: "attributes.json"}


@dataclass(frozen=True)
class ArrivingMag:
    """The entry of the mag to be, and what its array is.

    origin: where the array is now, for messages. box: of the array's voxels, or of the layer that it comes from, in mag-1 voxels and
    in the normal form. may_have_more: True if the layer may show only the first channels.
    """

    entry: MagProperties
    origin: str
    data_format: DataFormat
    dtype: np.dtype[Any]
    num_channels: int
    axes: tuple[str, ...]
    box: NDBoundingBox
    may_have_more: bool = False

    @classmethod
    def of_stored(cls, stored: StoredDataset, layer: LayerProperties, entry: MagProperties) -> Self:
        """Return a mag of a dataset, with an absolute path, after a check that its array can be read.

        Raises:
            MetadataError: the array is missing, or differs from the properties.
        """
        if not entry.is_remote:
            stored.open_mag(layer, entry)
            entry = replace(entry, path=stored.mag_place(layer, entry).real())
        return cls(entry, str(entry.path), layer.data_format, layer.dtype, layer.num_channels, layer.axes, layer.bounding_box())

    @classmethod
    def of_array(cls, place: Place, layer: LayerProperties, mag: Mag, path: str) -> Self:
        """Return an array in a place, which will be found by `path`.

        Raises:
            UnreadableInput: there is no directory.
            MetadataError: there is no array in the layer's format, or its metadata are broken.
        """
        spec = _opened(place, layer).spec
        sizes = dict(zip(spec.axes, spec.shape, strict=True))
        if spec.data_format is DataFormat.WKW:  # its blocks decide the number of channels
            sizes["c"] = spec.chunk_shape[0]
        channels = sizes.get("c", 1)
        length = spec.shard_shape[spec.axes.index("x")] if spec.data_format is DataFormat.WKW else None
        axes = spec.axes if set(spec.axes) - set(CXYZ_AXES) else CXYZ_AXES
        box = NDBoundingBox([0] * len(axes), [sizes.get(axis, 1) for axis in axes], axes).from_mag_to_mag1(mag)
        entry = MagProperties(mag, path, length)
        return cls(entry, str(place), spec.data_format, spec.dtype.newbyteorder("="), channels, spec.axes, box, may_have_more=True)

    @classmethod
    def unread(cls, url: str, layer: LayerProperties, mag: Mag) -> Self:
        """Return a mag at a URL, which is not opened: it is taken for an array that fits the layer."""
        entry = MagProperties(mag, url)
        return cls(entry, str(entry.path), layer.data_format, layer.dtype, layer.num_channels, layer.axes, layer.bounding_box())

    def as_mag(self, mag: Mag | None) -> Self:
        """Return the same voxels as another mag: the box is that of the voxels in that mag."""
        if mag is None or mag == self.entry.mag:
            return self
        box = box_in_mag(self.box, self.entry.mag).from_mag_to_mag1(mag)
        return replace(self, entry=replace(self.entry, mag=mag), box=box)

    def seen_from(self, dataset: Place) -> Self:
        """Return the same mag with the path that a dataset notes; see `path_from`."""
        return self if self.entry.is_remote else replace(self, entry=replace(self.entry, path=path_from(dataset, str(self.entry.path))))

    def joined(self, layer: LayerProperties, extends_box: bool) -> LayerProperties:
        """Return the layer's entry with this mag; a layer without mags takes the axes of the array.

        Of an array with more channels than the layer, the layer shows the first ones.

        Raises:
            MagExists: the layer has the mag.
            ExistsDifferently: format, dtype, channels or axes are not those of the layer.
        """
        if any(entry.mag == self.entry.mag for entry in layer.mags):
            raise MagExists(f"layer {layer.name} already has mag {self.entry.mag}", fix="use get_mag, or delete it first")
        if self.may_have_more and self.num_channels > layer.num_channels:
            box = self.box.with_bounds("c", 0, layer.num_channels)
            return replace(self, num_channels=layer.num_channels, box=box).joined(layer, extends_box)
        for what, found, expected in (
            ("format", self.data_format, layer.data_format),
            ("dtype", self.dtype, layer.dtype),
            ("number of channels", self.num_channels, layer.num_channels),
        ):
            if found != expected:
                raise ExistsDifferently(where=self._where(layer), found=f"{what} {found}", expected=f"{expected} as the layer has")
        layer = self._with_axes(layer)
        if extends_box:
            layer = layer.with_bounding_box(layer.bounding_box().extended_by(self.box))
        return replace(layer, channel_index=0).with_mag(replace(self.entry, axis_order=None))

    def _where(self, layer: LayerProperties) -> str:
        return f"layer {layer.name}, mag {self.entry.mag}: {self.origin}"

    def _with_axes(self, layer: LayerProperties) -> LayerProperties:
        if self.axes == layer.axes:
            return layer
        bounds = {axis.name: axis.bounds for axis in layer.additional_axes}
        others = [axis for axis in self.axes if axis not in CXYZ_AXES]
        if layer.mags or (bounds and bounds.keys() != set(others)):
            expected = f"{','.join(layer.axes)} as the layer has"
            raise ExistsDifferently(where=self._where(layer), found=f"the axes {','.join(self.axes)}", expected=expected)
        additional = tuple(AdditionalAxis(axis, bounds.get(axis, self.box.bounds(axis)), self.axes.index(axis)) for axis in others)
        return replace(layer, axis_order=AxisOrder.from_axes(self.axes), additional_axes=additional)


def path_from(dataset: Place, path: str) -> str:
    """Return the path that a dataset notes of an array: from its directory if it is in there, so that the dataset can be moved."""
    inside = Path(path)
    return f"./{inside.relative_to(dataset.path())}" if inside.is_relative_to(dataset.path()) else path


def format_at(place: Place) -> DataFormat | None:
    """Return the format of the array in a place; None if there is none."""
    return next((kind for kind, name in _FILES.items() if place.has(name)), None)


def _opened(place: Place, layer: LayerProperties) -> StoredArray:
    """Open an array in the layer's format, with its own names of axes if it has any."""
    path = place.path()
    if not place.is_directory():
        raise UnreadableInput("there is no such directory", where=path, fix="give the directory of an array")
    if layer.data_format in _FILES and not place.has(_FILES[layer.data_format]):
        kind = format_at(place)
        found = "no array" if kind is None else f"a {kind} array"
        raise MetadataError(where=path, found=found, expected=f"a {layer.data_format} array, the format of layer {layer.name}")
    try:
        array = open_array(place, layer.data_format)
    except MetadataError:  # without names, only arrays of three or four axes can be opened
        array = open_array(place, layer.data_format, layer.axes)
    _check_axes(array.spec, layer.axes, place)
    return array


def _check_axes(spec: ArraySpec, wanted: Sequence[str], place: Place) -> None:
    if not set(SPATIAL_AXES) <= set(spec.axes):
        raise MetadataError(where=place.path(), found=f"the axes {','.join(spec.axes)}", expected=f"x, y and z, such as {','.join(wanted)}")
