"""Slices of a region: their order, their axes, and their place in the array."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass

from wkpipe.dataset.errors import WrongShape
from wkpipe.formats.base import Position, Voxels
from wkpipe.geometry import SPATIAL_AXES
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.stored.axes import in_axes

Dimension = str | int
"""``x``, ``y`` or ``z``, or its number 0, 1, 2."""


def checked_dimension(dimension: Dimension) -> str:
    """Return the name of an axis along which slices follow each other.

    Raises:
        WrongShape: it is none of x, y, z.
    """
    for number, axis in enumerate(SPATIAL_AXES):
        if dimension in (axis, number) and not isinstance(dimension, bool):
            return axis
    raise WrongShape(f"dimension={dimension!r} is not valid", expected="x, y, z, 0, 1 or 2")


def checked_buffer_size(size: int | None, default: int) -> int:
    """Return the number of slices in memory.

    Raises:
        WrongShape: it is not a positive integer.
    """
    if size is None:
        return default
    try:
        found = operator.index(size)
    except TypeError:
        found = 0
    if found < 1:
        raise WrongShape(f"buffer_size={size!r} is not valid", expected="a positive integer")
    return found


@dataclass(frozen=True)
class SliceOrder:
    """The slices of a region of an array.

    start, shape: the region, in array order. dimension: along which slices follow each other; the slices of one position along
    all axes but c, x, y, z come first, then those of the next position.
    """

    axes: tuple[str, ...]
    start: Position
    shape: Position
    dimension: str

    @property
    def axis(self) -> int:
        """The place of the dimension among the axes."""
        return self.axes.index(self.dimension)

    @property
    def depth(self) -> int:
        """The number of slices of one position along the other axes."""
        return self.shape[self.axis]

    @property
    def count(self) -> int:
        """The number of slices."""
        return self.depth * math.prod(self.shape[i] for i in self._others())

    def _others(self) -> list[int]:
        return [i for i, axis in enumerate(self.axes) if axis not in CXYZ_AXES]

    def place(self, number: int) -> Position:
        """Return the first voxel of a slice."""
        position, start = number // self.depth, list(self.start)
        start[self.axis] += number % self.depth
        for i in reversed(self._others()):
            position, step = divmod(position, self.shape[i])
            start[i] += step
        return tuple(start)

    def runs(self, most: int, chunk: int) -> Iterator[tuple[int, int]]:
        """Yield first and end number of the slices to handle at once; see `run_end`."""
        number = 0
        while number < self.count:
            end = self.run_end(number, most, chunk)
            yield number, end
            number = end

    def run_end(self, number: int, most: int, chunk: int) -> int:
        """Return the end of the run of at most `most` slices that begins with a slice: at a border of chunks if one is in reach."""
        at = self.start[self.axis] + number % self.depth
        border = (at + most) // chunk * chunk
        length = border - at if border > at else most
        return number + min(length, self.depth - number % self.depth)

    def slab_shape(self, length: int) -> Position:
        """Return the shape of a run of slices that fill the region."""
        return tuple(length if i == self.axis else 1 if i in self._others() else n for i, n in enumerate(self.shape))

    def with_all_axes(self, voxels: Voxels) -> Voxels:
        """Return a slice with the axes of the array, with the length 1 along the dimension.

        Accepted are all axes but the dimension, those without the ones other than c, x, y, z, and with one channel only the two
        spatial ones.

        Raises:
            WrongShape: the slice has another number of axes or channels, or is larger than the region.
        """
        flat = [axis for axis in self.axes if axis != self.dimension]
        kept = next((axes for axes in self._accepted(flat) if len(axes) == voxels.ndim), None)
        if kept is None:
            raise WrongShape(f"the slice has {voxels.ndim} axes", expected=",".join(flat))
        whole = in_axes(voxels, kept, self.axes)
        for axis, length, most in zip(self.axes, whole.shape, self.slab_shape(1), strict=True):
            if length > most or length == 0 or (axis == "c" and length != most):
                raise WrongShape(f"the slice has the length {length} along {axis}", expected=f"{most}" if axis == "c" else f"1 to {most}")
        return whole

    @staticmethod
    def _accepted(flat: list[str]) -> list[list[str]]:
        plain = [axis for axis in flat if axis in CXYZ_AXES]
        return [flat, plain, [axis for axis in plain if axis != "c"]]
