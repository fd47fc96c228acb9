"""BoxBase: the corner, size and axes of a box, and the boxes that differ from it in some of these."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Self

from wkpipe.errors import AxisNotFound, WrongGeometry
from wkpipe.geometry.constants import SPATIAL_AXES
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike
from wkpipe.geometry.vec_int import VecInt, VecIntLike

Color = tuple[float, float, float, float]
UNNAMED = "Unnamed Bounding Box"


class BoxBase:
    """The contents of a box, and `with_…` for each of them."""

    __slots__ = ("_axes", "_color", "_index", "_is_visible", "_name", "_size", "_topleft")

    def __init__(
        self,
        topleft: VecIntLike,
        size: VecIntLike,
        axes: Iterable[str],
        index: VecIntLike | None = None,
        name: str | None = UNNAMED,
        is_visible: bool = True,
        color: Color | None = None,
    ) -> None:
        names, first, length = tuple(axes), tuple(topleft), tuple(size)
        places = tuple(range(len(names))) if index is None else tuple(index)
        if not len(first) == len(length) == len(names) == len(places) or len(set(names)) != len(names):
            raise WrongGeometry(f"topleft {first}, size {length} and axes {names} do not fit together")
        if index is not None and any(a > b for a, b in itertools.pairwise(places)):
            order = sorted(range(len(names)), key=places.__getitem__)
            names, places = tuple(names[i] for i in order), tuple(places[i] for i in order)
            first, length = tuple(first[i] for i in order), tuple(length[i] for i in order)
        self._axes = names
        self._topleft = VecInt([t + min(s, 0) for t, s in zip(first, length, strict=True)], axes=names)
        self._size = VecInt([abs(s) for s in length], axes=names)
        self._index, self._name, self._is_visible, self._color = places, name, is_visible, color

    # -- contents -----------------------------------------------------------------------------------------------

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes, in the order of `topleft` and `size`."""
        return self._axes

    @property
    def topleft(self) -> VecInt:
        """The first corner, inclusive."""
        return self._topleft

    @property
    def size(self) -> VecInt:
        """The size along each axis."""
        return self._size

    @property
    def bottomright(self) -> VecInt:
        """The last corner, exclusive."""
        return self.topleft + self.size

    @property
    def index(self) -> VecInt:
        """The place of each axis in arrays; the axes are in this order."""
        return VecInt(self._index, axes=self._axes)

    @property
    def index_xyz(self) -> Vec3Int:
        """The places of x, y, z in arrays."""
        return self.index.xyz

    @property
    def name(self) -> str | None:
        """What the box is called; equal boxes may have different names."""
        return self._name

    @property
    def is_visible(self) -> bool:
        """True if a viewer shows the box."""
        return self._is_visible

    @property
    def color(self) -> Color | None:
        """Red, green, blue, opacity of the box in a viewer; None for the viewer's default."""
        return self._color

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._axes)

    def get_bounds(self, axis: str) -> tuple[int, int]:
        """Return (first, past-the-last) of one axis.

        Raises
        ------
        AxisNotFound
            there is no such axis (also a KeyError and a ValueError).
        """
        i = self._place(axis)
        return self._topleft[i], self._topleft[i] + self._size[i]

    def bounds(self, axis: str) -> tuple[int, int]:
        """Return (first, past-the-last) of one axis; the same as `get_bounds`."""
        return self.get_bounds(axis)

    def get_shape(self, axis_name: str) -> int:
        """Return the size along one axis.

        Raises
        ------
        AxisNotFound
            there is no such axis (also a KeyError and a ValueError).
        """
        return self._size[self._place(axis_name)]

    def size_of(self, axis: str, default: int = 1) -> int:
        """Return the size along one axis, or `default` if the box does not have it."""
        return self._size.get(axis, default)

    def _place(self, axis: str) -> int:
        if axis not in self._axes:
            raise AxisNotFound(f"the box has axes {','.join(self._axes)}, not {axis}")
        return self._axes.index(axis)

    @property
    def topleft_xyz(self) -> Vec3Int:
        """The first corner along x, y, z, inclusive; 0 along an axis that the box does not have."""
        return Vec3Int([self._topleft.get(axis, 0) for axis in SPATIAL_AXES])

    @property
    def size_xyz(self) -> Vec3Int:
        """The size along x, y, z; 1 along an axis that the box does not have."""
        return Vec3Int([self._size.get(axis, 1) for axis in SPATIAL_AXES])

    @property
    def bottomright_xyz(self) -> Vec3Int:
        """The last corner along x, y, z, exclusive."""
        return self.topleft_xyz + self.size_xyz

    def is_empty(self) -> bool:
        """True if the size along some axis is 0."""
        return not self._size.is_positive(strictly_positive=True)

    def volume(self) -> int:
        """Return the number of elements over all axes."""
        return self._size.prod()

    # -- boxes that differ --------------------------------------------------------------------------------------

    def _with(self, topleft: VecIntLike, size: VecIntLike) -> Self:
        return type(self)(topleft, size, self._axes, self._index, self._name, self._is_visible, self._color)

    def _with_corners(self, topleft: Sequence[int], bottomright: Sequence[int]) -> Self:
        return self._with(topleft, [max(b - t, 0) for t, b in zip(topleft, bottomright, strict=True)])

    def with_bounds(self, axis: str, new_topleft: int | None = None, new_size: int | None = None) -> Self:
        """Return the box with another first position, another size or both along one axis.

        Raises
        ------
        AxisNotFound
            there is no such axis (also a KeyError and a ValueError).

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> BoundingBox((0, 0, 0), (64, 64, 16)).with_bounds("z", 4, 2)
        BoundingBox((0, 0, 4), (64, 64, 2))
        """
        i = self._place(axis)
        topleft = self._topleft if new_topleft is None else self._topleft.with_replaced(i, new_topleft)
        return self._with(topleft, self._size if new_size is None else self._size.with_replaced(i, new_size))

    def with_topleft(self, new_topleft: VecIntLike) -> Self:
        """Return the box moved to another first corner, with one value per axis."""
        return self._with(new_topleft, self._size)

    def with_size(self, new_size: VecIntLike) -> Self:
        """Return the box with another size, with one value per axis.

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> BoundingBox((5, 0, 0), (64, 64, 16)).with_size((8, 8, 8))
        BoundingBox((5, 0, 0), (8, 8, 8))
        """
        return self._with(self._topleft, new_size)

    def with_bottomright(self, new_bottomright: VecIntLike) -> Self:
        """Return the box from its first corner to another last one, with one value per axis.

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> BoundingBox((4, 0, 0), (64, 64, 16)).with_bottomright((10, 10, 10))
        BoundingBox((4, 0, 0), (6, 10, 10))
        """
        return self._with(self._topleft, -(self._topleft - new_bottomright))

    def with_xyz(self, topleft: Vec3IntLike, size: Vec3IntLike) -> Self:
        """Return the box with other spatial bounds."""
        return self.with_topleft_xyz(topleft).with_size_xyz(size)

    def with_topleft_xyz(self, new_xyz: Vec3IntLike) -> Self:
        """Return the box moved to another first corner along x, y, z."""
        return self._with(self._topleft.with_xyz(Vec3Int(new_xyz)), self._size)

    def with_size_xyz(self, new_xyz: Vec3IntLike) -> Self:
        """Return the box with another size along x, y, z."""
        return self._with(self._topleft, self._size.with_xyz(Vec3Int(new_xyz)))

    def with_bottomright_xyz(self, new_xyz: Vec3IntLike) -> Self:
        """Return the box from its first corner to another last one along x, y, z."""
        return self.with_size_xyz(Vec3Int(new_xyz) - self._topleft.xyz)

    def with_index(self, new_index: VecIntLike) -> Self:
        """Return the box with its axes at other places in arrays, in their present order."""
        return type(self)(self._topleft, self._size, self._axes, new_index, self._name, self._is_visible, self._color)

    def with_index_xyz(self, new_xyz: Vec3IntLike) -> Self:
        """Return the box with x, y, z at other places in arrays."""
        return self.with_index(self.index.with_xyz(Vec3Int(new_xyz)))

    def with_name(self, name: str | None) -> Self:
        """Return the box with another name."""
        return type(self)(self._topleft, self._size, self._axes, self._index, name, self._is_visible, self._color)

    def with_is_visible(self, is_visible: bool) -> Self:
        """Return the box shown or hidden in a viewer."""
        return type(self)(self._topleft, self._size, self._axes, self._index, self._name, is_visible, self._color)

    def with_color(self, color: Color) -> Self:
        """Return the box with another color: red, green, blue, opacity."""
        return type(self)(self._topleft, self._size, self._axes, self._index, self._name, self._is_visible, color)
