"""Vec3Int: three integers in the order x, y, z."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

Vec3IntLike: TypeAlias = "Vec3Int | Sequence[int] | np.ndarray[Any, Any]"


class Vec3Int(tuple[int, int, int]):
    """Three integers x, y, z with element-wise arithmetic.

    >>> Vec3Int(1, 2, 3) + 1
    Vec3Int(2, 3, 4)
    >>> Vec3Int(7, 8, 9).ceildiv((2, 2, 4))
    Vec3Int(4, 4, 3)

    Raises:
        ValueError: not exactly three integers.
    """

    __slots__ = ()

    def __new__(cls, x: SupportsIndex | Vec3IntLike, y: SupportsIndex | None = None, z: SupportsIndex | None = None) -> Vec3Int:
        if isinstance(x, Vec3Int) and y is None:
            return x
        parts = [x, y, z] if y is not None or z is not None else x
        try:
            values = [operator.index(part) for part in parts]  # type: ignore[union-attr,arg-type]
        except TypeError:
            values = []
        if len(values) != 3:
            raise ValueError(f"expected three integers x, y, z, found {x!r}" + ("" if y is None else f", {y!r}, {z!r}"))
        return super().__new__(cls, values)

    @classmethod
    def full(cls, value: int) -> Vec3Int:
        """Return (value, value, value)."""
        return cls(value, value, value)

    @classmethod
    def zeros(cls) -> Vec3Int:
        """Return (0, 0, 0)."""
        return cls.full(0)

    @classmethod
    def ones(cls) -> Vec3Int:
        """Return (1, 1, 1)."""
        return cls.full(1)

    @classmethod
    def from_vec_or_int(cls, value: int | Vec3IntLike) -> Vec3Int:
        """Return the vector itself, or an integer n as (n, n, n)."""
        if isinstance(value, Vec3Int):  # asked first: the checks below are slow
            return value
        if isinstance(value, int):
            return cls.full(value)
        if isinstance(value, np.ndarray) or not isinstance(value, SupportsIndex):  # an array has __index__ too
            return cls(value)
        return cls.full(operator.index(value))

    @classmethod
    def from_str(cls, text: str) -> Vec3Int:
        """Parse ``"x,y,z"``, with or without spaces and brackets.

        Raises:
            ValueError: the text does not hold three integers.
        """
        try:
            return cls([int(part) for part in text.strip().strip("()[]").split(",")])
        except ValueError:
            raise ValueError(f"expected three integers like 1,2,3, found {text!r}") from None

    @property
    def x(self) -> int:
        return self[0]

    @property
    def y(self) -> int:
        return self[1]

    @property
    def z(self) -> int:
        return self[2]

    def with_x(self, x: int) -> Vec3Int:
        return Vec3Int(x, self.y, self.z)

    def with_y(self, y: int) -> Vec3Int:
        return Vec3Int(self.x, y, self.z)

    def with_z(self, z: int) -> Vec3Int:
        return Vec3Int(self.x, self.y, z)

    def _each(self, other: int | Vec3IntLike, function: Callable[[int, int], int]) -> Vec3Int:
        return Vec3Int([function(a, b) for a, b in zip(self, Vec3Int.from_vec_or_int(other), strict=True)])

    def __add__(self, other: int | Vec3IntLike) -> Vec3Int:  # type: ignore[override]
        return self._each(other, operator.add)

    def __radd__(self, other: int | Vec3IntLike) -> Vec3Int:
        return self + other

    def __sub__(self, other: int | Vec3IntLike) -> Vec3Int:
        return self._each(other, operator.sub)

    def __mul__(self, other: int | Vec3IntLike) -> Vec3Int:  # type: ignore[override]
        return self._each(other, operator.mul)

    def __rmul__(self, other: int | Vec3IntLike) -> Vec3Int:  # type: ignore[override]
        return self * other

    def __floordiv__(self, other: int | Vec3IntLike) -> Vec3Int:
        return self._each(other, operator.floordiv)

    def __mod__(self, other: int | Vec3IntLike) -> Vec3Int:
        return self._each(other, operator.mod)

    def __neg__(self) -> Vec3Int:
        return self * -1

    def ceildiv(self, other: int | Vec3IntLike) -> Vec3Int:
        """Divide element-wise, rounding up."""
        return self._each(other, lambda a, b: -(-a // b))

    def pairmin(self, other: int | Vec3IntLike) -> Vec3Int:
        """Return the element-wise minimum."""
        return self._each(other, min)

    def pairmax(self, other: int | Vec3IntLike) -> Vec3Int:
        """Return the element-wise maximum."""
        return self._each(other, max)

    def prod(self) -> int:
        """Return x·y·z."""
        return math.prod(self)

    def is_positive(self) -> bool:
        """Tell whether every component is at least 1."""
        return all(value > 0 for value in self)

    def to_tuple(self) -> tuple[int, int, int]:
        return (self.x, self.y, self.z)

    def to_list(self) -> list[int]:
        return list(self)

    def to_np(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(self, dtype=np.int64)

    def __getnewargs__(self) -> tuple[Iterable[int]]:
        return (tuple(self),)

    def __repr__(self) -> str:
        return f"Vec3Int({self.x}, {self.y}, {self.z})"

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.z}"
