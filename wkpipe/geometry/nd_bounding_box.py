"""NDBoundingBox: a box over named axes, of which only x, y, z are spatial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from wkpipe.geometry.mag import Mag
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike

SPATIAL_AXES = ("x", "y", "z")

Box = TypeVar("Box", bound="NDBoundingBox")


class NDBoundingBox:
    """A box with a first corner (inclusive), a size and a name per axis; spatial axes are in mag-1 voxels.

    A negative size flips the box, so sizes are never negative. Mags, alignment and chunking act on x, y, z only.

    Raises:
        ValueError: corner, size and axes differ in length, or an axis is named twice.
    """

    __slots__ = ("_axes", "_size", "_topleft")

    def __init__(self, topleft: Sequence[int], size: Sequence[int], axes: Sequence[str]) -> None:
        if not len(topleft) == len(size) == len(axes) or len(set(axes)) != len(axes):
            raise ValueError(f"topleft {tuple(topleft)}, size {tuple(size)} and axes {tuple(axes)} do not fit together")
        self._axes = tuple(axes)
        self._topleft = tuple(int(t) + min(int(s), 0) for t, s in zip(topleft, size, strict=True))
        self._size = tuple(abs(int(s)) for s in size)

    # -- what it holds ------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        return self._axes

    @property
    def topleft(self) -> tuple[int, ...]:
        return self._topleft

    @property
    def size(self) -> tuple[int, ...]:
        return self._size

    @property
    def bottomright(self) -> tuple[int, ...]:
        """The last corner, exclusive."""
        return tuple(t + s for t, s in zip(self._topleft, self._size, strict=True))

    def bounds(self, axis: str) -> tuple[int, int]:
        """Return (first, past-the-last) of one axis.

        Raises:
            ValueError: there is no such axis.
        """
        if axis not in self._axes:
            raise ValueError(f"the box has axes {','.join(self._axes)}, not {axis}")
        i = self._axes.index(axis)
        return self._topleft[i], self._topleft[i] + self._size[i]

    def size_of(self, axis: str, default: int = 1) -> int:
        """Return the size along one axis, or `default` where the box does not have it."""
        return self._size[self._axes.index(axis)] if axis in self._axes else default

    @property
    def topleft_xyz(self) -> Vec3Int:
        return Vec3Int([self.bounds(axis)[0] for axis in SPATIAL_AXES])

    @property
    def size_xyz(self) -> Vec3Int:
        return Vec3Int([self.size_of(axis) for axis in SPATIAL_AXES])

    @property
    def bottomright_xyz(self) -> Vec3Int:
        return self.topleft_xyz + self.size_xyz

    def is_empty(self) -> bool:
        return any(s <= 0 for s in self._size)

    def volume(self) -> int:
        """Return the number of elements over all axes."""
        product = 1
        for s in self._size:
            product *= s
        return product

    # -- boxes made from it -------------------------------------------------------------------------------------

    def _with(self: Box, topleft: Sequence[int], size: Sequence[int]) -> Box:
        return type(self)(topleft, size, self._axes)

    def _with_corners(self: Box, topleft: Sequence[int], bottomright: Sequence[int]) -> Box:
        return self._with(topleft, [max(b - t, 0) for t, b in zip(topleft, bottomright, strict=True)])

    def with_bounds(self: Box, axis: str, first: int, end: int) -> Box:
        """Return the box with other bounds along one axis."""
        self.bounds(axis)
        topleft, size = list(self._topleft), list(self._size)
        i = self._axes.index(axis)
        topleft[i], size[i] = first, end - first
        return self._with(topleft, size)

    def with_xyz(self: Box, topleft: Vec3IntLike, size: Vec3IntLike) -> Box:
        """Return the box with other spatial bounds."""
        box = self
        for axis, t, s in zip(SPATIAL_AXES, topleft, size, strict=True):
            box = box.with_bounds(axis, int(t), int(t) + int(s))
        return box

    def _per_axis(self, vector: Sequence[int]) -> list[int]:
        """Spread a vector over the axes: given per axis, or for x, y, z only with 1 elsewhere."""
        if len(vector) == len(self._axes) and len(vector) != 3:
            return [int(v) for v in vector]
        xyz = dict(zip(SPATIAL_AXES, Vec3Int(vector), strict=True))
        return [xyz.get(axis, 1) for axis in self._axes]

    def align_with_mag(self: Box, mag: Mag, ceil: bool = False) -> Box:
        """Return the box with spatial corners on multiples of `mag`: grown if `ceil`, else shrunk (maybe to nothing)."""
        steps = self._per_axis(mag.to_tuple())
        down = [t // m * m for t, m in zip(self._topleft, steps, strict=True)]
        up = [-(-t // m) * m for t, m in zip(self._topleft, steps, strict=True)]
        end_down = [b // m * m for b, m in zip(self.bottomright, steps, strict=True)]
        end_up = [-(-b // m) * m for b, m in zip(self.bottomright, steps, strict=True)]
        return self._with_corners(down, end_up) if ceil else self._with_corners(up, end_down)

    def in_mag(self: Box, mag: Mag) -> Box:
        """Return the box in voxels of `mag`.

        Raises:
            ValueError: a corner is not a multiple of `mag`.
        """
        steps = self._per_axis(mag.to_tuple())
        if any(v % m for v, m in zip((*self._topleft, *self.bottomright), steps * 2, strict=True)):
            raise ValueError(f"{self} is not aligned with mag {mag}: its corners must be multiples of it")
        topleft = [t // m for t, m in zip(self._topleft, steps, strict=True)]
        return self._with(topleft, [s // m for s, m in zip(self._size, steps, strict=True)])

    def from_mag_to_mag1(self: Box, mag: Mag) -> Box:
        """Return a box given in voxels of `mag` in mag-1 voxels."""
        steps = self._per_axis(mag.to_tuple())
        topleft = [t * m for t, m in zip(self._topleft, steps, strict=True)]
        return self._with(topleft, [s * m for s, m in zip(self._size, steps, strict=True)])

    def _same_axes(self, other: NDBoundingBox) -> None:
        if other.axes != self._axes:
            raise ValueError(f"boxes have different axes: {','.join(self._axes)} and {','.join(other.axes)}")

    def intersected_with(self: Box, other: NDBoundingBox) -> Box:
        """Return what both boxes share; empty (size 0) where they do not touch."""
        self._same_axes(other)
        topleft = [max(a, b) for a, b in zip(self._topleft, other.topleft, strict=True)]
        return self._with_corners(topleft, [min(a, b) for a, b in zip(self.bottomright, other.bottomright, strict=True)])

    def extended_by(self: Box, other: NDBoundingBox) -> Box:
        """Return the smallest box around both; an empty one is ignored."""
        self._same_axes(other)
        if other.is_empty():
            return self
        if self.is_empty():
            return self._with(other.topleft, other.size)
        topleft = [min(a, b) for a, b in zip(self._topleft, other.topleft, strict=True)]
        return self._with_corners(topleft, [max(a, b) for a, b in zip(self.bottomright, other.bottomright, strict=True)])

    def offset(self: Box, vector: Sequence[int]) -> Box:
        """Return the box moved by `vector` (x, y, z, or one value per axis)."""
        if len(vector) != len(self._axes):
            xyz = dict(zip(SPATIAL_AXES, Vec3Int(vector), strict=True))
            vector = [xyz.get(axis, 0) for axis in self._axes]
        return self._with([t + int(v) for t, v in zip(self._topleft, vector, strict=True)], self._size)

    def padded_with_margins(self: Box, before: Vec3IntLike, after: Vec3IntLike | None = None) -> Box:
        """Return the box grown spatially by `before` at its first corner and `after` (default: `before`) at its last."""
        first, last = Vec3Int(before), Vec3Int(before if after is None else after)
        return self.with_xyz(self.topleft_xyz - first, self.size_xyz + first + last)

    def chunk(self: Box, shape: Sequence[int], alignment: Sequence[int] | None = None) -> Iterator[Box]:
        """Cut the box into boxes of at most `shape`, x outermost and z innermost.

        Without `alignment` the cuts start at the first corner; with it they lie on absolute multiples of `shape`
        and border chunks are clipped. With three values, other axes are cut into single positions, `c` is not cut.

        Raises:
            ValueError: `shape` is not positive, or not a multiple of `alignment`.
        """
        steps = self._per_axis(shape)
        if len(shape) == 3:
            steps = [s if axis != "c" else max(self._size[i], 1) for i, (axis, s) in enumerate(zip(self._axes, steps, strict=True))]
        if any(step < 1 for step in steps):
            raise ValueError(f"chunk shape {tuple(shape)} is not valid: every value must be at least 1")
        aligned = [False] * len(steps)
        if alignment is not None:
            if any(s % a for s, a in zip(steps, self._per_axis(alignment), strict=True) if a > 1):
                raise ValueError(f"chunk shape {tuple(shape)} is not a multiple of the alignment {tuple(alignment)}")
            aligned = [axis in SPATIAL_AXES for axis in self._axes]

        def cut(axis: int, topleft: list[int], size: list[int]) -> Iterator[Box]:
            if axis == len(steps):
                yield self._with(topleft, size)
                return
            position, end = self._topleft[axis], self.bottomright[axis]
            while position < end:
                origin = 0 if aligned[axis] else self._topleft[axis]
                following = min((position - origin) // steps[axis] * steps[axis] + steps[axis] + origin, end)
                yield from cut(axis + 1, [*topleft, position], [*size, following - position])
                position = following

        return cut(0, [], [])

    # -- questions ----------------------------------------------------------------------------------------------

    def contains(self, point: Sequence[int]) -> bool:
        """Tell whether a position (one value per axis) lies in the box."""
        return len(point) == len(self._axes) and all(t <= p < b for t, p, b in zip(self._topleft, point, self.bottomright, strict=True))

    def contains_bbox(self, other: NDBoundingBox) -> bool:
        """Tell whether the other box lies wholly in this one."""
        self._same_axes(other)
        return all(a <= b for a, b in zip(self._topleft, other.topleft, strict=True)) and all(
            a >= b for a, b in zip(self.bottomright, other.bottomright, strict=True)
        )

    def to_slices(self) -> tuple[slice, ...]:
        """Return the box as an index into an array with the same axes."""
        return tuple(slice(t, b) for t, b in zip(self._topleft, self.bottomright, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NDBoundingBox):
            return NotImplemented
        return (self._axes, self._topleft, self._size) == (other.axes, tuple(other.topleft), tuple(other.size))

    def __hash__(self) -> int:
        return hash((self._axes, self._topleft, self._size))

    def __repr__(self) -> str:
        return f"NDBoundingBox({self._topleft}, {self._size}, {self._axes})"
