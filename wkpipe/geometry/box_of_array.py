"""BoxOfArray: a box as an index into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.box_base import BoxBase
from wkpipe.geometry.constants import SPATIAL_AXES


class BoxOfArray(BoxBase):
    """The members of a box that arrays are cut by and shaped for."""

    __slots__ = ()

    def to_slices(self) -> tuple[slice, ...]:
        """Return the box as an index into an array with the same axes."""
        return tuple(slice(t, b) for t, b in zip(self._topleft, self.bottomright, strict=True))

    def to_slices_xyz(self) -> tuple[slice, ...]:
        """Return the box as an index into an array whose other axes than x, y, z have a length of 1.

        Raises
        ------
        WrongGeometry
            the box is longer than 1 along another axis.
        """
        self._check_flat()
        pairs = zip(self._axes, self.to_slices(), strict=True)
        return tuple(part if axis in SPATIAL_AXES else slice(0, 1) for axis, part in pairs)

    def slice_array(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the box's part of an array with the same axes."""
        return array[self.to_slices()]

    def xyz_array_to_bbox_shape(self, data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return an array of x, y, z with the box's axes, in their order; the other ones have a length of 1.

        Raises
        ------
        WrongGeometry
            the box is longer than 1 along another axis, or the array has not three axes.
        """
        self._check_flat()
        if data.ndim != 3:
            raise WrongGeometry(found=f"an array of shape {data.shape}", expected="three axes x, y, z")
        spatial = [axis for axis in self._axes if axis in SPATIAL_AXES]
        others = [i for i, axis in enumerate(self._axes) if axis not in SPATIAL_AXES]
        return np.expand_dims(data.transpose([SPATIAL_AXES.index(axis) for axis in spatial]), others)

    def _check_flat(self) -> None:
        long = [axis for axis in self._axes if axis not in SPATIAL_AXES and self.get_shape(axis) != 1]
        if long:
            raise WrongGeometry(f"the box {self} has a size of {self.get_shape(long[0])} along {long[0]}", expected="1")
