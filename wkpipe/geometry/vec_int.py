"""VecInt: integers with an axis each."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, SupportsIndex, TypeAlias

import numpy as np

from wkpipe.errors import AxisNotFound, WrongGeometry
from wkpipe.geometry.constants import SPATIAL_AXES

if TYPE_CHECKING:
    from wkpipe.geometry.vec3_int import Vec3Int

VecIntLike: TypeAlias = "VecInt | Sequence[int] | np.ndarray[Any, Any] | Iterable[int]"


class VecInt(tuple[int, ...]):
    """Integers with element-wise arithmetic and a name for each axis; it is a tuple, so it equals one with the same values.

    Raises
    ------
    WrongGeometry
        these are not integers, or there is not one axis for each (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import VecInt
    >>> vector = VecInt(x=1, y=2, z=3, t=4)
    >>> vector * 2 + (1, 1, 1, 1)
    VecInt(3, 5, 7, 9, axes=('x', 'y', 'z', 't'))
    >>> vector.get("t"), vector.xyz, VecInt((5, 6), ("x", "t")).with_replaced("t", 0)
    (4, Vec3Int(1, 2, 3), VecInt(5, 0, axes=('x', 't')))
    """

    axes: tuple[str, ...]

    def __new__(cls, *values: Any, axes: Iterable[str] | None = None, **components: int) -> Self:
        """Take integers, or a sequence of them (then the axes may come second), or one integer for each name."""
        parts: Any
        if components:
            if values or axes is not None:
                raise WrongGeometry("a vector is given by names or by values, not by both", found=f"{values} and {components}")
            parts, axes = components.values(), components
        elif axes is None and len(values) == 2 and not isinstance(values[0], (int, SupportsIndex)):
            parts, axes = values
        else:
            parts = values if len(values) != 1 or isinstance(values[0], int) else values[0]
        if axes is None and not isinstance(parts, VecInt):
            raise WrongGeometry("a vector needs the names of its axes", found=repr(parts), fix='write VecInt((1, 2), axes=("x", "y"))')
        found = integers(parts)
        names: tuple[str, ...] = parts.axes if axes is None else tuple(axes)
        if found is None or len(found) != len(names):
            raise WrongGeometry(found=repr(parts), expected=f"{len(names)} integers, one for each of {','.join(names)}")
        vector = super().__new__(cls, found)
        vector.axes = names
        return vector

    def _of(self, values: Iterable[int]) -> Self:
        """Return a vector of the same axes."""
        return type(self)(values, axes=self.axes)

    def _like(self, other: int | VecIntLike) -> Sequence[int]:
        """Return the other operand as one integer per axis."""
        values = integers([other] * len(self) if isinstance(other, (int, SupportsIndex)) and not isinstance(other, np.ndarray) else other)
        if values is None or len(values) != len(self):
            raise WrongGeometry(found=repr(other), expected=f"an integer, or {len(self)} integers as in {self}")
        return values

    def _each(self, other: int | VecIntLike, function: Callable[[int, int], int]) -> Self:
        return self._of([function(a, b) for a, b in zip(self, self._like(other), strict=True)])

    # -- making one ---------------------------------------------------------------------------------------------

    @classmethod
    def full(cls, an_int: int, axes: Iterable[str]) -> Self:
        """Return a vector with the same value along all axes."""
        names = tuple(axes)
        return cls([an_int] * len(names), axes=names)

    @classmethod
    def zeros(cls, axes: Iterable[str]) -> Self:
        """Return a vector of zeros."""
        return cls.full(0, axes)

    @classmethod
    def ones(cls, axes: Iterable[str]) -> Self:
        """Return a vector of ones."""
        return cls.full(1, axes)

    @classmethod
    def from_str(cls, string: str, axes: Iterable[str] = SPATIAL_AXES) -> Self:
        """Parse ``"1,2,3"``, with or without spaces and brackets.

        Raises
        ------
        WrongGeometry
            the text does not hold one integer per axis.
        """
        names = tuple(axes)
        try:
            return cls([int(part) for part in string.strip().strip("()[]").split(",")], axes=names)
        except ValueError:
            example = ",".join(str(number) for number in range(1, len(names) + 1))
            count = "three" if len(names) == 3 else str(len(names))
            raise WrongGeometry(f"expected {count} integers like {example}, found {string!r}") from None

    # -- components ---------------------------------------------------------------------------------------------

    def get(self, axis: str, default: int | None = None) -> int:
        """Return the component of an axis, or the default if there is no such axis.

        Raises
        ------
        AxisNotFound
            there is neither (also a KeyError).
        """
        if axis in self.axes:
            return self[self.axes.index(axis)]
        if default is None:
            raise AxisNotFound(f"the vector {self} has the axes {','.join(self.axes)}, not {axis}")
        return default

    @property
    def x(self) -> int:
        """The component x."""
        return self.get("x")

    @property
    def y(self) -> int:
        """The component y."""
        return self.get("y")

    @property
    def z(self) -> int:
        """The component z."""
        return self.get("z")

    @property
    def c(self) -> int:
        """The component c, of channels."""
        return self.get("c")

    @property
    def xyz(self) -> Vec3Int:
        """The components x, y and z."""
        from wkpipe.geometry.vec3_int import Vec3Int  # a class of vectors gives one of its subclass

        return Vec3Int(self.x, self.y, self.z)

    def with_replaced(self, axis: str | int, new_element: int) -> Self:
        """Return the vector with another component of an axis, given by its name or its place.

        Raises
        ------
        AxisNotFound
            there is no such axis.
        """
        if axis not in (self.axes if isinstance(axis, str) else range(len(self))):
            raise AxisNotFound(f"the vector {self} has the axes {','.join(self.axes)}, not {axis}")
        place = self.axes.index(axis) if isinstance(axis, str) else axis
        return self._of([new_element if i == place else value for i, value in enumerate(self)])

    def with_x(self, new_x: int) -> Self:
        """Return the vector with another x."""
        return self.with_replaced("x", new_x)

    def with_y(self, new_y: int) -> Self:
        """Return the vector with another y."""
        return self.with_replaced("y", new_y)

    def with_z(self, new_z: int) -> Self:
        """Return the vector with another z."""
        return self.with_replaced("z", new_z)

    def with_c(self, new_c: int) -> Self:
        """Return the vector with another c."""
        return self.with_replaced("c", new_c)

    def with_xyz(self, new_xyz: Sequence[int]) -> Self:
        """Return the vector with another x, y and z."""
        x, y, z = new_xyz
        return self.with_x(x).with_y(y).with_z(z)

    def moveaxis(self, source: int | list[int], target: int | list[int]) -> VecInt:
        """Return the vector with axes moved to other places, as `numpy.moveaxis` does; the others keep their order."""
        places = np.moveaxis(np.empty(range(len(self)), dtype=np.uint8), source, target).shape
        return VecInt([self[place] for place in places], axes=[self.axes[place] for place in places])

    # -- arithmetic ---------------------------------------------------------------------------------------------

    def __add__(self, other: int | VecIntLike) -> Self:  # type: ignore[override]
        return self._each(other, operator.add)

    def __radd__(self, other: int | VecIntLike) -> Self:
        return self + other

    def __sub__(self, other: int | VecIntLike) -> Self:
        return self._each(other, operator.sub)

    def __mul__(self, other: int | VecIntLike) -> Self:  # type: ignore[override]
        return self._each(other, operator.mul)

    def __rmul__(self, other: int | VecIntLike) -> Self:  # type: ignore[override]
        return self * other

    def __floordiv__(self, other: int | VecIntLike) -> Self:
        return self._each(other, operator.floordiv)

    def __mod__(self, other: int | VecIntLike) -> Self:
        return self._each(other, operator.mod)

    def __neg__(self) -> Self:
        return self * -1

    def add_or_none(self, other: VecInt | None) -> Self | None:
        """Return the sum; None if the other one is None."""
        return None if other is None else self + other

    def ceildiv(self, other: int | VecIntLike) -> Self:
        """Divide element-wise, rounding up."""
        return self._each(other, lambda a, b: -(-a // b))

    def pairmin(self, other: int | VecIntLike) -> Self:
        """Return the element-wise minimum."""
        return self._each(other, min)

    def pairmax(self, other: int | VecIntLike) -> Self:
        """Return the element-wise maximum."""
        return self._each(other, max)

    def prod(self) -> int:
        """Return the product of all components."""
        return math.prod(self)

    # -- questions ----------------------------------------------------------------------------------------------

    def is_positive(self, strictly_positive: bool = False) -> bool:
        """True if no component is below 0, or below 1 if `strictly_positive`."""
        return min(self) >= (1 if strictly_positive else 0)

    def is_uniform(self) -> bool:
        """True if all components are equal."""
        return len(set(self)) <= 1

    def contains(self, needle: int) -> bool:
        """True if a component has this value."""
        return needle in self

    def to_tuple(self) -> tuple[int, ...]:
        """Return the components as a plain tuple."""
        return tuple(self)

    def to_list(self) -> list[int]:
        """Return the components as a list."""
        return list(self)

    def to_np(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the components as an array of int64."""
        return np.array(self, dtype=np.int64)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (tuple(self), self.axes)

    def __repr__(self) -> str:
        return f"VecInt({', '.join(map(str, self))}, axes={self.axes})"

    def __str__(self) -> str:
        return f"VecInt({','.join(map(str, self))}, axes={self.axes})"

    def __format__(self, spec: str) -> str:
        """Return the values alone, as texts for people use them."""
        return format(",".join(map(str, self)), spec)


def integers(parts: Any) -> list[int] | None:
    """Return a sequence of whole numbers, such as 2 or 2.0, as plain integers; None if it is something else, or has fractions."""
    try:
        values = list(parts)
    except TypeError:
        return None
    try:
        return [operator.index(value) for value in values]
    except TypeError:
        return _whole(values)


def _whole(values: list[Any]) -> list[int] | None:
    try:
        found = list(map(int, values))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found == values else None
