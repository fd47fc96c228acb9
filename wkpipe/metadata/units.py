"""VoxelSize: the size of a voxel, with its unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wkpipe.errors import UsageError
from wkpipe.geometry import Vec3Float, Vec3FloatLike
from wkpipe.metadata.length_unit import NANOMETERS_PER_UNIT, LengthUnit, length_unit_from_str


@dataclass(frozen=True, init=False)
class VoxelSize:
    """The size of a voxel of mag 1 along x, y, z, in `unit` (long name; short forms are accepted).

    Raises
    ------
    UsageError
        the size is not three positive finite numbers, or the unit is unknown.

    Examples
    --------
    >>> from wkpipe import VoxelSize
    >>> VoxelSize((0.5, 0.5, 2), "\u00b5m")
    VoxelSize(factor=Vec3Float(0.5,0.5,2.0), unit=<LengthUnit.MICROMETER: 'micrometer'>)
    >>> VoxelSize((0.5, 0.5, 2), "um").nm
    Vec3Float(500.0,500.0,2000.0)
    """

    factor: Vec3Float
    unit: LengthUnit = LengthUnit.NANOMETER

    def __init__(self, factor: Vec3FloatLike, unit: LengthUnit | str = LengthUnit.NANOMETER) -> None:
        object.__setattr__(self, "unit", length_unit_from_str(unit))
        object.__setattr__(self, "factor", _three_positive(factor))
        if not all(math.isfinite(value) and value > 0 for value in self.nm):
            raise UsageError(f"voxel size {self.factor} in {self.unit} is too large or too small for a number in nanometers")

    @property
    def nm(self) -> Vec3Float:
        """The size along x, y, z in nanometers."""
        return self.factor * NANOMETERS_PER_UNIT[self.unit]

    def to_nanometer(self) -> Vec3Float:
        """Return the size along x, y, z in nanometers; the same as `nm`."""
        return self.nm

    def __str__(self) -> str:
        return f"{self.factor[0]:g},{self.factor[1]:g},{self.factor[2]:g} {self.unit}"


def _three_positive(factor: Vec3FloatLike) -> Vec3Float:
    try:
        size = Vec3Float(factor)
    except (ValueError, OverflowError):
        raise UsageError(f"voxel size {factor!r} is not valid", expected="three numbers x, y, z") from None
    if not all(math.isfinite(value) and value > 0 for value in size):
        raise UsageError(f"voxel size {size.x:g},{size.y:g},{size.z:g} is not valid", expected="three positive numbers")
    return size
