"""NDBoundingBox: a box over named axes, of which only x, y, z are spatial."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.box_of_array import BoxOfArray
from wkpipe.geometry.constants import CXYZ_AXES, SPATIAL_AXES
from wkpipe.geometry.mag import Mag
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike
from wkpipe.geometry.vec_int import VecIntLike

if TYPE_CHECKING:
    from wkpipe.geometry.normalized_bounding_box import NormalizedBoundingBox

__all__ = ["SPATIAL_AXES", "NDBoundingBox"]


class NDBoundingBox(BoxOfArray):
    """A box with a first corner (inclusive), a size and a name per axis; spatial axes are in mag-1 voxels.

    A negative size flips the box, so sizes are never negative. Mags, alignment and chunking act on x, y, z only. Boxes do
    not change; every method returns another one. If `index` is given, the axes are sorted by it. Name, visibility and color
    are for viewers; boxes that differ only in them are equal.

    Raises
    ------
    WrongGeometry
        corner, size and axes differ in length, or an axis is named twice (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import Mag, NDBoundingBox
    >>> box = NDBoundingBox((0, 10, 10, 10), (5, 64, 64, 16), ("t", "x", "y", "z"))
    >>> box.get_bounds("x"), box.get_shape("t")
    ((10, 74), 5)
    >>> box.align_with_mag(Mag(4), ceil=True).size.to_tuple()
    (5, 68, 68, 20)
    >>> len(list(box.chunk((32, 32, 16))))  # single positions along t
    20
    """

    __slots__ = ()
    _implies_channels: ClassVar[bool] = False
    _is_normalized: ClassVar[bool] = False

    @classmethod
    def from_axes(cls, axes: Iterable[str], sizes: Iterable[int]) -> Self:
        """Return a box that starts at 0."""
        names = tuple(axes)
        return cls([0] * len(names), tuple(sizes), names)

    @classmethod
    def group_boxes_with_aligned_mag(
        cls, bounding_boxes: Iterable[NDBoundingBox], aligning_mag: Mag
    ) -> dict[NDBoundingBox, list[NDBoundingBox]]:
        """Return the boxes by the box that each becomes if it grows to multiples of a mag."""
        groups: dict[NDBoundingBox, list[NDBoundingBox]] = {}
        for box in bounding_boxes:
            groups.setdefault(box.align_with_mag(aligning_mag, ceil=True), []).append(box)
        return groups

    # -- mags ---------------------------------------------------------------------------------------------------

    def _per_axis(self, vector: VecIntLike, other: int = 1) -> list[int]:
        """Spread a vector over the axes: given per axis, or for x, y, z only with `other` elsewhere."""
        values = tuple(vector)
        if len(values) == len(self._axes) and len(values) != 3:
            return list(values)
        xyz = dict(zip(SPATIAL_AXES, Vec3Int(values), strict=True))
        return [xyz.get(axis, other) for axis in self._axes]

    def align_with_mag(self, mag: Mag | Vec3Int, ceil: bool = False) -> Self:
        """Return the box with spatial corners on multiples of `mag`: grown if `ceil`, else shrunk (maybe to nothing)."""
        steps = self._per_axis(tuple(mag))
        corners = [(t, t + s, m) for t, s, m in zip(self._topleft, self._size, steps, strict=True)]
        if ceil:
            return self._with_corners([t // m * m for t, _, m in corners], [-(-b // m) * m for _, b, m in corners])
        return self._with_corners([-(-t // m) * m for t, _, m in corners], [b // m * m for _, b, m in corners])

    def in_mag(self, mag: Mag) -> Self:
        """Return the box in voxels of `mag`.

        Raises
        ------
        WrongGeometry
            a corner is not a multiple of `mag`.
        """
        steps = self._per_axis(tuple(mag))
        if any(v % m for v, m in zip((*self._topleft, *self._size), steps * 2, strict=True)):
            raise WrongGeometry(f"{self} is not aligned with mag {mag}: its corners must be multiples of it")
        topleft = [t // m for t, m in zip(self._topleft, steps, strict=True)]
        return self._with(topleft, [s // m for s, m in zip(self._size, steps, strict=True)])

    def from_mag_to_mag1(self, from_mag: Mag) -> Self:
        """Return a box given in voxels of `from_mag` in mag-1 voxels."""
        steps = self._per_axis(tuple(from_mag))
        return self._with(self._topleft * steps, self._size * steps)

    # -- two boxes ----------------------------------------------------------------------------------------------

    def _pair(self, other: NDBoundingBox) -> tuple[NDBoundingBox, NDBoundingBox]:
        """Return both boxes with the same axes: one of x, y, z has all channels of a normalized one."""
        if self._axes == other.axes:
            return self, other
        if other._is_normalized and self._implies_channels and other.axes == CXYZ_AXES:
            first, end = other.get_bounds("c")
            return self.normalize_axes(1).with_bounds("c", first, end - first), other
        if self._is_normalized and other._implies_channels and self._axes == CXYZ_AXES:
            return other._pair(self)[::-1]
        raise WrongGeometry(f"boxes have different axes: {','.join(self._axes)} and {','.join(other.axes)}")

    def intersected_with(self, other: NDBoundingBox, dont_assert: bool = False) -> Self:
        """Return what both boxes share.

        Parameters
        ----------
        dont_assert
            True returns an empty box (a size of 0) if they share nothing.

        Raises
        ------
        WrongGeometry
            they share nothing, or have different axes (also a ValueError and an AssertionError).
        """
        a, b = self._pair(other)
        shared = a._with_corners(a._topleft.pairmax(b.topleft), a.bottomright.pairmin(b.bottomright))
        if shared.is_empty() and not dont_assert:
            raise WrongGeometry(f"the boxes {self} and {other} share nothing", fix="pass dont_assert=True to get an empty box")
        return cast("Self", shared)

    def extended_by(self, other: NDBoundingBox) -> Self:
        """Return the smallest box around both; an empty one is ignored."""
        a, b = self._pair(other)
        if a.is_empty() or b.is_empty():
            hull = a if b.is_empty() else a._with(b.topleft, b.size)
        else:
            hull = a._with_corners(a._topleft.pairmin(b.topleft), a.bottomright.pairmax(b.bottomright))
        return cast("Self", hull)  # of the same class, except that x, y, z with a normalized box gives a normalized one

    def contains_bbox(self, inner_bbox: NDBoundingBox) -> bool:
        """True if the other box is wholly inside this one."""
        outer, inner = self._pair(inner_bbox)
        return outer._topleft.pairmin(inner.topleft) == outer._topleft and outer.bottomright.pairmax(inner.bottomright) == outer.bottomright

    def contains(self, coord: Iterable[float]) -> bool:
        """True if a position (one value per axis, fractions too) is inside the box.

        Raises
        ------
        WrongGeometry
            the number of values is wrong.
        """
        point = tuple(coord)
        if len(point) != len(self._axes):
            raise WrongGeometry(found=f"position {point}", expected=f"one value for each of {','.join(self._axes)}")
        return all(bool(t <= p < b) for t, p, b in zip(self._topleft, point, self.bottomright, strict=True))

    # -- derived boxes ------------------------------------------------------------------------------------------

    def offset(self, vector: VecIntLike) -> Self:
        """Return the box moved by `vector` (x, y, z, or one value per axis)."""
        return self._with(self._topleft + self._per_axis(vector, 0), self._size)

    def padded_with_margins(self, margins_left: Vec3IntLike, margins_right: Vec3IntLike | None = None) -> Self:
        """Return the box grown spatially by `margins_left` at its first corner and `margins_right` (default: the same) at its last."""
        first = Vec3Int(margins_left)
        last = first if margins_right is None else Vec3Int(margins_right)
        return self.with_xyz(self.topleft_xyz - first, self.size_xyz + first + last)

    def chunk(self, chunk_shape: VecIntLike, chunk_border_alignments: VecIntLike | None = None) -> Iterator[Self]:
        """Cut the box into boxes of at most `chunk_shape`, x outermost and z innermost.

        Without `chunk_border_alignments` the cuts start at the first corner; with it they start at the multiple of it that is
        before the corner, and border chunks are clipped. With three values, `c` is not cut, and other axes are cut into single
        positions.

        Raises
        ------
        WrongGeometry
            the shape is not positive, or not a multiple of the alignment.
        """
        shape = tuple(chunk_shape)
        steps = self._per_axis(shape)
        if len(shape) == 3:
            steps = [max(self._size[i], 1) if axis == "c" else step for i, (axis, step) in enumerate(zip(self._axes, steps, strict=True))]
        origins = self._grid_origin(steps, chunk_border_alignments)
        ends = self.bottomright if not self.is_empty() else origins
        cuts = [
            [(max(a, first), min(a + step, end)) for a in range(origin, end, step)]
            for origin, step, first, end in zip(origins, steps, self._topleft, ends, strict=True)
        ]
        found = itertools.product(*cuts)
        return (type(self)([a for a, _ in bounds], [b - a for a, b in bounds], self._axes, self._index) for bounds in found)

    def _grid_origin(self, steps: Sequence[int], alignments: VecIntLike | None) -> list[int]:
        """Return where the first chunk of a grid starts along each axis."""
        if any(step < 1 for step in steps):
            raise WrongGeometry(f"chunk shape {tuple(steps)} is not valid: every value must be at least 1")
        if alignments is None:
            return list(self._topleft)
        given = tuple(alignments)
        borders = self._per_axis(given)
        if any(b < 1 or (b > 1 and step % b) for step, b in zip(steps, borders, strict=True)):
            raise WrongGeometry(f"chunk shape {tuple(steps)} is not a multiple of the alignment {given}")
        return [t // b * b for t, b in zip(self._topleft, borders, strict=True)]

    # -- axes ---------------------------------------------------------------------------------------------------

    def normalize_axes(self, num_channels: int) -> NormalizedBoundingBox:
        """Return the box with the axis c, along which it has `num_channels` positions; boxes with more axes need none for 1.

        Raises
        ------
        WrongGeometry
            the box has axes besides x, y, z but not c, and there are several channels.
        """
        from wkpipe.geometry.normalized_bounding_box import NormalizedBoundingBox  # a subclass of this class

        parts = (self._name, self._is_visible, self._color)
        if "c" in self._axes:
            box = self.with_bounds("c", new_size=num_channels)
            return NormalizedBoundingBox(box.topleft, box.size, box.axes, box.index, *parts)
        if self._implies_channels:
            return NormalizedBoundingBox((0, *self._topleft), (num_channels, *self._size), ("c", *self._axes), None, *parts)
        if num_channels != 1:
            raise WrongGeometry(
                f"the box has the axes {','.join(self._axes)}, so the place of c is not known", found=f"{num_channels} channels"
            )
        return NormalizedBoundingBox(self._topleft, self._size, self._axes, self._index, *parts)

    def denormalize(self) -> NDBoundingBox:
        """Return the box as users see it, without the axis c that `normalize_axes` added."""
        return self

    # -- forms --------------------------------------------------------------------------------------------------

    def to_config_dict(self) -> dict[str, Any]:
        """Return corner, size and axes as a dictionary."""
        return {"topleft": self._topleft.to_list(), "size": self._size.to_list(), "axes": self._axes}

    def to_checkpoint_name(self) -> str:
        """Return corner and size as a part of a file's name, such as ``0_0_0_512_512_64``."""
        return "_".join(map(str, (*self._topleft, *self._size)))

    def __len__(self) -> int:
        return len(self._axes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NDBoundingBox):
            return NotImplemented
        try:
            a, b = self._pair(other)
        except WrongGeometry:
            return False
        return (a.topleft, a.size) == (b.topleft, b.size)

    def __hash__(self) -> int:
        return hash((self._axes, self._topleft, self._size))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._topleft.to_tuple()}, {self._size.to_tuple()}, {self._axes})"
