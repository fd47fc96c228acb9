"""Units of length and the size of a voxel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wkpipe.errors import UsageError

# long name as written, short form as read (or ""), nanometers per unit
_UNITS: Final = (
    ("yoctometer", "ym", 1e-15),
    ("zeptometer", "zm", 1e-12),
    ("attometer", "am", 1e-9),
    ("femtometer", "fm", 1e-6),
    ("picometer", "pm", 1e-3),
    ("nanometer", "nm", 1.0),
    ("micrometer", "\u00b5m", 1e3),
    ("millimeter", "mm", 1e6),
    ("centimeter", "cm", 1e7),
    ("decimeter", "dm", 1e8),
    ("meter", "m", 1e9),
    ("hectometer", "hm", 1e11),
    ("kilometer", "km", 1e12),
    ("megameter", "Mm", 1e15),
    ("gigameter", "Gm", 1e18),
    ("terameter", "Tm", 1e21),
    ("petameter", "Pm", 1e24),
    ("exameter", "Em", 1e27),
    ("zettameter", "Zm", 1e30),
    ("yottameter", "Ym", 1e33),
    ("angstrom", "\u00c5", 0.1),
    ("inch", "in", 2.54e7),
    ("foot", "ft", 3.048e8),
    ("yard", "yd", 9.144e8),
    ("mile", "mi", 1.609344e12),
    ("parsec", "pc", 3.085677581e25),
)

NANOMETERS_PER_UNIT: Final[dict[str, float]] = {name: nanometers for name, _, nanometers in _UNITS}
"""How many nanometers one unit is, by its long name."""

SHORT_FORMS: Final[dict[str, str]] = {short: name for name, short, _ in _UNITS}
"""The long name of every short form; case matters (mm is not Mm)."""


def unit_name(unit: str) -> str:
    """Return the long name of a unit given by its long name or short form.

    >>> unit_name("nm"), unit_name("micrometer")
    ('nanometer', 'micrometer')

    Raises:
        UsageError: there is no such unit; lists those there are.
    """
    name = SHORT_FORMS.get(unit, unit)
    if name not in NANOMETERS_PER_UNIT:
        raise UsageError(f"unit of length {unit!r} is not known; choose one of {unit_list()}")
    return name


def unit_list() -> str:
    """Return all units as a text, long names with short forms."""
    return ", ".join(f"{name} ({short})" for name, short, _ in _UNITS)


@dataclass(frozen=True)
class VoxelSize:
    """The size of a voxel of mag 1 along x, y, z, in `unit` (long name; short forms are accepted).

    >>> VoxelSize((0.5, 0.5, 2), "\u00b5m")
    VoxelSize(factor=(0.5, 0.5, 2.0), unit='micrometer')

    Raises:
        UsageError: not three positive finite numbers, or an unknown unit.
    """

    factor: tuple[float, float, float]
    unit: str = "nanometer"

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", unit_name(self.unit))
        object.__setattr__(self, "factor", _three_positive(self.factor))
        if not all(math.isfinite(value) and value > 0 for value in self.nm):
            raise UsageError(f"voxel size {self.factor} in {self.unit} is beyond what a number can hold in nanometers")

    @property
    def nm(self) -> tuple[float, float, float]:
        """The size along x, y, z in nanometers."""
        nanometers = NANOMETERS_PER_UNIT[self.unit]
        x, y, z = self.factor
        return (x * nanometers, y * nanometers, z * nanometers)

    def __str__(self) -> str:
        return f"{self.factor[0]:g},{self.factor[1]:g},{self.factor[2]:g} {self.unit}"


def _three_positive(factor: Sequence[float]) -> tuple[float, float, float]:
    try:
        x, y, z = (float(value) for value in factor)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"voxel size {factor!r} is not valid: expected three numbers x, y, z") from None
    if not all(math.isfinite(value) and value > 0 for value in (x, y, z)):
        raise UsageError(f"voxel size {x:g},{y:g},{z:g} is not valid: every value must be a positive number")
    return (x, y, z)
