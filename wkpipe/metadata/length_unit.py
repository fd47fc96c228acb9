"""LengthUnit: the units of length that datasets may have, and what they are called."""

from __future__ import annotations

import enum
import unicodedata
from typing import Final

from wkpipe.errors import UsageError, one_line


class LengthUnit(enum.StrEnum):
    """A unit of length, by its long name.

    Members are strings, so a name can be used in place of a member.

    Raises
    ------
    ValueError
        there is no unit of that name.

    Examples
    --------
    >>> from wkpipe import LengthUnit
    >>> LengthUnit("micrometer"), LengthUnit.NANOMETER == "nanometer"
    (<LengthUnit.MICROMETER: 'micrometer'>, True)
    """

    YOCTOMETER = "yoctometer"
    ZEPTOMETER = "zeptometer"
    ATTOMETER = "attometer"
    FEMTOMETER = "femtometer"
    PICOMETER = "picometer"
    NANOMETER = "nanometer"
    MICROMETER = "micrometer"
    MILLIMETER = "millimeter"
    CENTIMETER = "centimeter"
    DECIMETER = "decimeter"
    METER = "meter"
    HECTOMETER = "hectometer"
    KILOMETER = "kilometer"
    MEGAMETER = "megameter"
    GIGAMETER = "gigameter"
    TERAMETER = "terameter"
    PETAMETER = "petameter"
    EXAMETER = "exameter"
    ZETTAMETER = "zettameter"
    YOTTAMETER = "yottameter"
    ANGSTROM = "angstrom"
    INCH = "inch"
    FOOT = "foot"
    YARD = "yard"
    MILE = "mile"
    PARSEC = "parsec"


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
"""The nanometers in one unit, by its long name."""

SHORT_FORMS: Final[dict[str, str]] = {short: name for name, short, _ in _UNITS}
"""The long name of every short form; case matters (mm is not Mm)."""


def _normal(unit: str) -> str:
    """Return a text with one character in place of those that look alike, such as both micro signs."""
    return unicodedata.normalize("NFKC", unit.strip())


_SHORT: Final = {_normal(short): name for short, name in SHORT_FORMS.items()} | {"um": "micrometer"}
_LONG: Final = {name: name for name in NANOMETERS_PER_UNIT} | {
    "micron": "micrometer",
    "feet": "foot",
    "inche": "inch",  # without its last s
    _normal("\u00e5ngstr\u00f6m"): "angstrom",
    _normal("\u00e5ngstrom"): "angstrom",
}


def length_unit_from_str(unit: str) -> LengthUnit:
    """Return a unit, from its long name or short form.

    Other usual spellings are read too: um, micron, both micro signs, plurals, British spelling, capital letters in long
    names. The case of short forms counts: mm is not Mm.

    Raises
    ------
    UsageError
        there is no such unit; names all units.

    Examples
    --------
    >>> from wkpipe import length_unit_from_str
    >>> [length_unit_from_str(text).value for text in ("nm", "micrometer", "um", "Nanometres")]
    ['nanometer', 'micrometer', 'micrometer', 'nanometer']
    """
    text = _normal(str(unit))
    if (name := _SHORT.get(text)) is not None:
        return LengthUnit(name)
    long = text.lower()
    for spelling in (long, long.removesuffix("s")):
        if spelling.endswith("metre"):
            spelling = f"{spelling[:-2]}er"
        if (name := _LONG.get(spelling)) is not None:
            return LengthUnit(name)
    raise UsageError(f"unit of length {one_line(unit, 80)!r} is not known", fix=f"choose one of {unit_list()}")


def unit_list() -> str:
    """Return a text with the long names and short forms of all units."""
    return ", ".join(f"{name} ({short})" for name, short, _ in _UNITS)
