"""Units of length and the size of a voxel."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wkpipe.errors import UsageError, one_line

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


def _normal(unit: str) -> str:
    """Return a text in which characters that look alike, as both micro signs, are one."""
    return unicodedata.normalize("NFKC", unit.strip())


_SHORT: Final = {_normal(short): name for short, name in SHORT_FORMS.items()} | {"um": "micrometer"}
_LONG: Final = {name: name for name in NANOMETERS_PER_UNIT} | {
    "micron": "micrometer",
    "feet": "foot",
    "inche": "inch",  # without its last s
    _normal("\u00e5ngstr\u00f6m"): "angstrom",
    _normal("\u00e5ngstrom"): "angstrom",
}


def unit_name(unit: str) -> str:
    """Return the long name of a unit given by its long name or short form.

    The usual other spellings are read too: um, micron, both micro signs, plurals, British ones, capital letters of long
    names. Short forms keep their case, as mm is not Mm.

    >>> unit_name("nm"), unit_name("micrometer"), unit_name("um"), unit_name("Nanometres")
    ('nanometer', 'micrometer', 'micrometer', 'nanometer')

    Raises:
        UsageError: there is no such unit; lists those there are.
    """
    text = _normal(unit)
    if (name := _SHORT.get(text)) is not None:
        return name
    long = text.lower()
    for spelling in (long, long.removesuffix("s")):
        if spelling.endswith("metre"):
            spelling = f"{spelling[:-2]}er"
        if (name := _LONG.get(spelling)) is not None:
            return name
    raise UsageError(f"unit of length {one_line(unit, 80)!r} is not known; choose one of {unit_list()}")


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
