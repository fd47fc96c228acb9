"""Units of length and voxel sizes."""

from __future__ import annotations

from typing import Any

import pytest

from wkpipe.errors import UsageError
from wkpipe.metadata.length_unit import NANOMETERS_PER_UNIT, SHORT_FORMS, length_unit_from_str
from wkpipe.metadata.units import VoxelSize


def test_all_units_are_there() -> None:
    assert len(NANOMETERS_PER_UNIT) == len(SHORT_FORMS) == 26
    metric = ["nanometer", "micrometer", "millimeter", "meter", "kilometer", "megameter", "gigameter", "terameter", "yottameter"]
    assert [NANOMETERS_PER_UNIT[name] for name in metric] == [1, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e21, 1e33]
    assert NANOMETERS_PER_UNIT["yoctometer"] == 1e-15
    assert NANOMETERS_PER_UNIT["mile"] == pytest.approx(1760 * NANOMETERS_PER_UNIT["yard"])
    assert NANOMETERS_PER_UNIT["yard"] == pytest.approx(3 * NANOMETERS_PER_UNIT["foot"])
    assert NANOMETERS_PER_UNIT["foot"] == pytest.approx(12 * NANOMETERS_PER_UNIT["inch"])


@pytest.mark.parametrize(
    "short, name",
    [("nm", "nanometer"), ("\u00b5m", "micrometer"), ("mm", "millimeter"), ("Mm", "megameter"), ("\u00c5", "angstrom"), ("in", "inch")],
)
def test_short_forms_are_read(short: str, name: str) -> None:
    assert length_unit_from_str(short) == length_unit_from_str(name) == name
    assert VoxelSize((1, 2, 3), short) == VoxelSize((1.0, 2.0, 3.0), name)


@pytest.mark.parametrize(
    "spelling, name",
    [
        *((micro, "micrometer") for micro in ("um", "\u00b5m", "\u03bcm", "micron", "microns", "Micrometers", "micrometre", " um ")),
        *((unit, "angstrom") for unit in ("\u00c5", "\u212b", "A\u030a", "angstroms", "\u00c5ngstr\u00f6m", "\u00e5ngstrom")),
        *((unit, "nanometer") for unit in ("nm", "nanometers", "NanoMeter", "nanometres")),
        *((unit, "millimeter") for unit in ("mm", "millimetres")),
        *((unit, "inch") for unit in ("in", "inches", "Inch")),
        *((unit, "foot") for unit in ("ft", "feet", "foot")),
        ("parsecs", "parsec"),
        ("Mm", "megameter"),
    ],
)
def test_other_spellings_are_read(spelling: str, name: str) -> None:
    assert length_unit_from_str(spelling) == name


@pytest.mark.parametrize("unit", ["uM", "UM", "NM", "MM", "", "s", "pixel", "micrometer2", "nm\n\x1b[31m", "metrer"])
def test_other_units_are_refused_with_the_list(unit: str) -> None:
    with pytest.raises(UsageError, match=r"nanometer \(nm\).*parsec"):
        VoxelSize((1, 1, 1), unit)


def test_nanometers() -> None:
    assert VoxelSize((11.24, 11.24, 28)).nm == (11.24, 11.24, 28.0)
    assert VoxelSize((0.5, 1, 2), "micrometer").nm == (500.0, 1000.0, 2000.0)
    assert str(VoxelSize((0.5, 1, 2), "mm")) == "0.5,1,2 millimeter"


@pytest.mark.parametrize(
    "factor", [(0, 1, 1), (-1, 1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1), (1, 1), (1, 1, 1, 1), "abc", 5, None, (10**400, 1, 1)]
)
def test_other_factors_are_refused(factor: Any) -> None:
    with pytest.raises(UsageError, match="voxel size"):
        VoxelSize(factor)


def test_what_overflows_in_nanometers_is_refused() -> None:
    with pytest.raises(UsageError, match="too large or too small"):
        VoxelSize((1e300, 1, 1), "yottameter")
