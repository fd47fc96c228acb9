"""ViewBase: the properties of a view, and the place of its box in the array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from wkpipe.dataset.array_info import ArrayInfo
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.region import normalized_box, public_box
from wkpipe.formats.base import ArraySpec, DataFormat, Position
from wkpipe.geometry import Mag, NDBoundingBox, NormalizedBoundingBox

if TYPE_CHECKING:
    from wkpipe.dataset.view import View


class ViewBase(ABC):
    """The array of a mag and a box of it; the properties of the class View."""

    def __init__(self, array: MagArray, box: NDBoundingBox | None, read_only: bool) -> None:
        self._array = array
        self._fixed_box = box
        self._read_only = read_only

    @property
    def mag(self) -> Mag:
        """The mag that the view shows."""
        return self._array.mag

    @property
    def bounding_box(self) -> NDBoundingBox:
        """The view's box in mag-1 voxels; a BoundingBox (x, y, z) if the layer has no axes but c, x, y, z."""
        return public_box(self._box())

    @property
    def normalized_bounding_box(self) -> NormalizedBoundingBox:
        """The view's box with all axes of the stored array, so also c."""
        return normalized_box(self._box())

    @property
    def info(self) -> ArrayInfo:
        """How the mag is stored: format, axes, shapes, compression."""
        return ArrayInfo.of(self._array.open().spec, self.num_channels)

    @property
    def data_format(self) -> DataFormat:
        """The storage format of the mag."""
        return self._array.layer.properties.data_format

    @property
    def num_channels(self) -> int:
        """The number of channels of the layer."""
        return self._array.layer.properties.num_channels

    @property
    def read_only(self) -> bool:
        """True if writing is refused: a read-only dataset or view, or a mag that is a link or a reference."""
        return self._read_only or self._array.live.read_only or not self._array.is_owned()

    def get_dtype(self) -> np.dtype[Any]:
        """Return the dtype of one channel.

        Examples
        --------
        >>> from wkpipe import Dataset
        >>> Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", dtype="uint16").add_mag(1).get_dtype()
        dtype('uint16')
        """
        return self._array.layer.properties.dtype

    @abstractmethod
    def _part(self, box: NDBoundingBox, read_only: bool) -> View:
        """Return a view of a box in the normal form; its corners are on voxels of the mag."""

    def _box(self) -> NDBoundingBox:
        """Return the view's box in the normal form, with the channel axis."""
        if self._fixed_box is not None:
            return self._fixed_box
        return self._array.layer.properties.bounding_box().align_with_mag(self.mag, ceil=True)

    def _in_array(self, region: NDBoundingBox, spec: ArraySpec) -> tuple[Position, Position]:
        """Return first position and shape of a region (in voxels of the mag) in array order."""
        first_channel = self._array.entry()[1].channel_index
        start = tuple((region.bounds(axis)[0] if axis in region.axes else 0) + (first_channel if axis == "c" else 0) for axis in spec.axes)
        return start, tuple(region.size_of(axis) for axis in spec.axes)

    def __repr__(self) -> str:
        box = "" if self._fixed_box is None else f", {public_box(self._fixed_box)}"
        return f"{type(self).__name__}({self._array.layer.name}, {self.mag}{box})"


def checked_view(name: str, view: ViewBase) -> ViewBase:
    """Return a view.

    Raises:
        WrongType: it is something else.
    """
    if not isinstance(view, ViewBase):
        raise WrongType(f"{name}={view!r} is no view", fix="give a View or a MagView of wkpipe")
    return view
