"""Vec3Int: three integers in the order x, y, z."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, SupportsIndex, TypeAlias

import numpy as np

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.constants import SPATIAL_AXES
from wkpipe.geometry.vec_int import VecInt, VecIntLike, integers

Vec3IntLike: TypeAlias = "Vec3Int | Sequence[int] | np.ndarray[Any, Any]"


class Vec3Int(VecInt):
    """Three integers x, y, z with element-wise arithmetic.

    Raises
    ------
    WrongGeometry
        these are not exactly three integers (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import Vec3Int
    >>> Vec3Int(1, 2, 3) + 1
    Vec3Int(2, 3, 4)
    >>> Vec3Int(7, 8, 9).ceildiv((2, 2, 4))
    Vec3Int(4, 4, 3)
    """

    axes = SPATIAL_AXES

    def __new__(
        cls,
        x: SupportsIndex | Vec3IntLike | Iterable[int],
        y: SupportsIndex | None = None,
        z: SupportsIndex | None = None,
        *,
        axes: Iterable[str] = SPATIAL_AXES,
    ) -> Self:
        """Take three integers, or a sequence of them."""
        if type(x) is int and type(y) is int and type(z) is int and axes is SPATIAL_AXES:
            return tuple.__new__(cls, (x, y, z))
        if isinstance(x, Vec3Int) and y is None and type(x) is cls:
            return x
        values = integers([x, y, z] if y is not None or z is not None else x)
        if values is None or len(values) != 3:
            raise WrongGeometry(f"expected three integers x, y, z, found {x!r}" + ("" if y is None else f", {y!r}, {z!r}"))
        if axes is not SPATIAL_AXES and tuple(axes) != SPATIAL_AXES:
            raise WrongGeometry(f"a Vec3Int has the axes x, y, z, not {','.join(axes)}", fix="use VecInt")
        return tuple.__new__(cls, values)

    def _of(self, values: Iterable[int]) -> Self:
        return type(self)(values)

    def _each(self, other: int | VecIntLike, function: Callable[[int, int], int]) -> Self:
        # As that of `VecInt`, without its checks: planning and small units do this thousands of times.
        a, b, c = self
        x, y, z = other if isinstance(other, Vec3Int) else self._like(other)
        return tuple.__new__(type(self), (function(a, x), function(b, y), function(c, z)))

    def _like(self, other: int | VecIntLike) -> Sequence[int]:
        return Vec3Int.from_vec_or_int(other)

    @classmethod
    def full(cls, an_int: int, _axes: Iterable[str] = SPATIAL_AXES) -> Self:
        """Return a vector with the same value three times."""
        return cls(an_int, an_int, an_int, axes=_axes)

    @classmethod
    def zeros(cls, _axes: Iterable[str] = SPATIAL_AXES) -> Self:
        """Return (0, 0, 0)."""
        return cls.full(0, _axes)

    @classmethod
    def ones(cls, _axes: Iterable[str] = SPATIAL_AXES) -> Self:
        """Return (1, 1, 1)."""
        return cls.full(1, _axes)

    @classmethod
    def from_xyz(cls, x: int, y: int, z: int) -> Self:
        """Return (x, y, z)."""
        return cls(x, y, z)

    @classmethod
    def from_vec3_float(cls, vec: Iterable[float]) -> Self:
        """Return three numbers without their fractions."""
        return cls([int(value) for value in vec])

    @classmethod
    def from_vec_or_int(cls, vec_or_int: int | VecIntLike) -> Self:
        """Return the vector itself, or an integer n as (n, n, n)."""
        if isinstance(vec_or_int, cls):  # asked first: the checks below are slow
            return vec_or_int
        if isinstance(vec_or_int, (int, SupportsIndex)) and not isinstance(vec_or_int, np.ndarray):
            return cls(vec_or_int, vec_or_int, vec_or_int)
        return cls(vec_or_int)

    @property
    def x(self) -> int:
        """The component x."""
        return self[0]

    @property
    def y(self) -> int:
        """The component y."""
        return self[1]

    @property
    def z(self) -> int:
        """The component z."""
        return self[2]

    def to_tuple(self) -> tuple[int, int, int]:
        """Return (x, y, z) as a plain tuple."""
        return (self[0], self[1], self[2])

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (tuple(self),)

    def __repr__(self) -> str:
        return f"Vec3Int({', '.join(map(str, self))})"

    def __str__(self) -> str:
        return f"Vec3Int({','.join(map(str, self))})"


def as_vec3_int_or_none(vec: Vec3IntLike | None) -> Vec3Int | None:
    """Return three integers as a vector, and None as None."""
    return None if vec is None else Vec3Int(vec)
