"""Vec3Float: three numbers in the order x, y, z."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.vec3_int import Vec3Int

Vec3FloatLike: TypeAlias = "Vec3Float | Vec3Int | Sequence[float] | np.ndarray[Any, Any] | Iterable[float]"


class Vec3Float(tuple[float, float, float]):
    """Three numbers x, y, z with element-wise arithmetic; it is a tuple, so it equals one with the same values.

    Raises
    ------
    WrongGeometry
        these are not exactly three numbers (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import Vec3Float
    >>> Vec3Float(11.24, 11.24, 25) * (2, 2, 1)
    Vec3Float(22.48,22.48,25.0)
    >>> Vec3Float(1.5, 2, 3).to_vec3_int()
    Vec3Int(1, 2, 3)
    """

    __slots__ = ()

    def __new__(cls, *args: Any) -> Self:
        """Take three numbers, or a sequence of them."""
        if len(args) == 1 and type(args[0]) is cls:
            return args[0]
        try:
            values = [float(part) for part in (args[0] if len(args) == 1 else args) if not isinstance(part, str | np.ndarray)]
        except TypeError:
            values = []
        if len(values) != 3:
            raise WrongGeometry(f"expected three floats x, y, z, found {', '.join(map(repr, args))}")
        return super().__new__(cls, values)

    def _each(self, other: float | Vec3FloatLike, function: Callable[[float, float], float]) -> Self:
        values = type(self)(other, other, other) if isinstance(other, int | float | np.number) else type(self)(other)
        return type(self)([function(a, b) for a, b in zip(self, values, strict=True)])

    @classmethod
    def from_xyz(cls, x: float, y: float, z: float) -> Self:
        """Return (x, y, z)."""
        return cls(x, y, z)

    @classmethod
    def from_str(cls, string: str) -> Self:
        """Parse ``"1.5,2,3"``, with or without spaces and brackets.

        Raises
        ------
        WrongGeometry
            the text does not hold three numbers.
        """
        try:
            return cls([float(part) for part in string.strip().strip("()[]").split(",")])
        except ValueError:
            raise WrongGeometry(f"expected three numbers like 1.5,2,3, found {string!r}") from None

    @classmethod
    def full(cls, value: float) -> Self:
        """Return (value, value, value)."""
        return cls(value, value, value)

    @classmethod
    def zeros(cls) -> Self:
        """Return (0, 0, 0)."""
        return cls.full(0)

    @classmethod
    def ones(cls) -> Self:
        """Return (1, 1, 1)."""
        return cls.full(1)

    @property
    def x(self) -> float:
        """The component x."""
        return self[0]

    @property
    def y(self) -> float:
        """The component y."""
        return self[1]

    @property
    def z(self) -> float:
        """The component z."""
        return self[2]

    def with_x(self, new_x: float) -> Self:
        """Return the vector with another x."""
        return type(self)(new_x, self.y, self.z)

    def with_y(self, new_y: float) -> Self:
        """Return the vector with another y."""
        return type(self)(self.x, new_y, self.z)

    def with_z(self, new_z: float) -> Self:
        """Return the vector with another z."""
        return type(self)(self.x, self.y, new_z)

    def __add__(self, other: float | Vec3FloatLike) -> Self:  # type: ignore[override]
        return self._each(other, operator.add)

    def __radd__(self, other: float | Vec3FloatLike) -> Self:
        return self + other

    def __sub__(self, other: float | Vec3FloatLike) -> Self:
        return self._each(other, operator.sub)

    def __mul__(self, other: float | Vec3FloatLike) -> Self:  # type: ignore[override]
        return self._each(other, operator.mul)

    def __rmul__(self, other: float | Vec3FloatLike) -> Self:  # type: ignore[override]
        return self * other

    def __truediv__(self, other: float | Vec3FloatLike) -> Self:
        return self._each(other, operator.truediv)

    def __neg__(self) -> Self:
        return self * -1

    def pairmin(self, other: float | Vec3FloatLike) -> Self:
        """Return the element-wise minimum."""
        return self._each(other, min)

    def pairmax(self, other: float | Vec3FloatLike) -> Self:
        """Return the element-wise maximum."""
        return self._each(other, max)

    def prod(self) -> float:
        """Return x·y·z."""
        return math.prod(self)

    def to_tuple(self) -> tuple[float, float, float]:
        """Return (x, y, z) as a plain tuple."""
        return (self.x, self.y, self.z)

    def to_list(self) -> list[float]:
        """Return [x, y, z] as a list."""
        return list(self)

    def to_np(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return x, y, z as an array of float64."""
        return np.array(self.to_tuple(), dtype=np.float64)

    def to_vec3_int(self) -> Vec3Int:
        """Return the vector without fractions."""
        return Vec3Int.from_vec3_float(self)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (tuple(self),)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"Vec3Float({','.join(map(str, self))})"


def as_vec3_float_or_none(vec: Vec3FloatLike | None) -> Vec3Float | None:
    """Return three numbers as a vector, and None as None."""
    return None if vec is None else Vec3Float(vec)
