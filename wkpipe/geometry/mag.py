"""Mag: how many voxels of the finest grid one voxel spans along x, y, z."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike

MagLike: TypeAlias = "Mag | int | str | Vec3IntLike"

_TEXT = re.compile(r"\d+(-\d+-\d+)?")


class Mag:
    """A magnification; every component is a power of two.

    Accepts an integer, three integers, a text like ``"4"`` or ``"2-2-1"``, or a Mag. Two mags are equal if all components
    are; they are *ordered* by their largest component alone, the way viewers choose them, so
    ``Mag("2-2-1") <= Mag(2)`` and ``Mag(2) <= Mag("2-2-1")`` both hold, and neither is ``<`` the other.

    Raises
    ------
    WrongGeometry
        the mag is none of these, or a component is not a power of two (also a ValueError and an
        AssertionError).

    Examples
    --------
    >>> from wkpipe import Mag
    >>> str(Mag((2, 2, 1))), str(Mag("4-4-4")), Mag(2) < Mag("4-4-1")
    ('2-2-1', '4', True)
    """

    __slots__ = ("_vec",)

    def __init__(self, mag: MagLike) -> None:
        self._vec = x, y, z = _parse(mag)
        if min(x, y, z) < 1 or x & (x - 1) or y & (y - 1) or z & (z - 1):
            raise WrongGeometry(f"mag {mag} is not valid: every component must be a power of two (1, 2, 4, 8, …)")

    @property
    def x(self) -> int:
        """How many finest voxels one voxel spans along x."""
        return self._vec.x

    @property
    def y(self) -> int:
        """How many finest voxels one voxel spans along y."""
        return self._vec.y

    @property
    def z(self) -> int:
        """How many finest voxels one voxel spans along z."""
        return self._vec.z

    @property
    def max_dim(self) -> int:
        """The largest component."""
        return max(self._vec)

    @property
    def max_dim_log2(self) -> int:
        """The exponent of the largest component."""
        return self.max_dim.bit_length() - 1

    def to_vec3_int(self) -> Vec3Int:
        """Return x, y, z as a vector."""
        return self._vec

    def to_tuple(self) -> tuple[int, int, int]:
        """Return (x, y, z) as a tuple."""
        return self._vec.to_tuple()

    def to_list(self) -> list[int]:
        """Return [x, y, z] as a list."""
        return self._vec.to_list()

    def to_np(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return x, y, z as an array of int64."""
        return self._vec.to_np()

    def to_long_str(self) -> str:
        """Return ``"x-y-z"`` even when all components are equal."""
        return "-".join(map(str, self._vec))

    def to_layer_name(self) -> str:
        """Return the name of the mag's directory, such as ``"2-2-1"`` or ``"4"``; the same as `str`.

        Examples
        --------
        >>> from wkpipe import Mag
        >>> Mag(2).to_layer_name(), Mag((4, 4, 2)).to_layer_name()
        ('2', '4-4-2')
        """
        return str(self)

    def to_long_layer_name(self) -> str:
        """Return ``"x-y-z"``; the same as `to_long_str`.

        Examples
        --------
        >>> from wkpipe import Mag
        >>> Mag(2).to_long_layer_name()
        '2-2-2'
        """
        return self.to_long_str()

    def factors_to(self, coarser: Mag) -> Vec3Int:
        """Return how many voxels of this mag one voxel of `coarser` spans per axis.

        Raises
        ------
        WrongGeometry
            `coarser` is finer than this mag on some axis.

        Examples
        --------
        >>> from wkpipe import Mag
        >>> Mag("2-2-1").factors_to(Mag("8-8-2"))
        Vec3Int(4, 4, 2)
        """
        if any(fine > coarse for fine, coarse in zip(self, coarser, strict=True)):
            raise WrongGeometry(f"mag {coarser} is finer than mag {self} on some axis and cannot be made from it")
        return coarser._vec // self._vec

    def __iter__(self) -> Iterator[int]:
        return iter(self._vec)

    def __mul__(self, other: int | Vec3IntLike) -> Mag:
        return Mag(self._vec * other)

    def __floordiv__(self, other: int | Vec3IntLike) -> Mag:
        return Mag(self._vec // other)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mag):
            return self._vec == other._vec
        try:
            return self._vec == Mag(other)._vec  # type: ignore[arg-type]
        except ValueError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self._vec)

    def __lt__(self, other: MagLike) -> bool:
        return self.max_dim < Mag(other).max_dim

    def __le__(self, other: MagLike) -> bool:
        return self.max_dim <= Mag(other).max_dim

    def __gt__(self, other: MagLike) -> bool:
        return self.max_dim > Mag(other).max_dim

    def __ge__(self, other: MagLike) -> bool:
        return self.max_dim >= Mag(other).max_dim

    def __repr__(self) -> str:
        return f"Mag({str(self)!r})"

    def __str__(self) -> str:
        return str(self.x) if len(set(self._vec)) == 1 else self.to_long_str()


def _parse(mag: MagLike) -> Vec3Int:
    if isinstance(mag, Mag):
        return mag.to_vec3_int()
    try:
        if isinstance(mag, str):
            if not _TEXT.fullmatch(mag):
                raise ValueError
            parts = [int(part) for part in mag.split("-")]
            return Vec3Int(parts if len(parts) == 3 else parts * 3)
        if not isinstance(mag, list | tuple) and isinstance(mag, (int, SupportsIndex)) and not isinstance(mag, bool | np.bool | np.ndarray):
            return Vec3Int.full(operator.index(mag))
        return Vec3Int(mag)
    except (ValueError, TypeError):
        raise WrongGeometry(f"mag {mag!r} is not valid: expected a number like 2, three numbers, or a text like 2-2-1") from None
