"""Lineage: the order in which mags can be made, and mags that would be made from themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plan.test_origins import COARSER
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.lineage import mags_sources_first, sources_first, without_circles
from wkpipe.plan.origins.recorded import mag_plan_from_json


def made(mag: str, source: str) -> MagPlan:
    values: dict[str, Any] = {**COARSER, "mag": Mag(mag).to_list(), "from_mag": Mag(source).to_list()}
    if Mag(source) > Mag(mag):
        return mag_plan_from_json({**values, "kind": "upsample"})
    return mag_plan_from_json({**values, "kind": "downsample", "source_box": [[0, 0, 0], [9, 9, 9]], "interpolation": "median"})


@pytest.mark.parametrize(
    "pairs, order",
    [
        ([("8", "4"), ("4", "2")], ["4", "8"]),
        ([("1", "2"), ("2", "4"), ("8", "4")], ["2", "1", "8"]),
        ([("1", "8"), ("4", "1"), ("2", "1")], ["1", "2", "4"]),
    ],
)
def test_sources_come_first(pairs: list[tuple[str, str]], order: list[str]) -> None:
    plans = [made(*pair) for pair in pairs]
    for given in (plans, plans[::-1]):
        assert [str(plan.mag) for plan in sources_first(given)] == order


def test_mags_without_recipes_are_in_order() -> None:
    assert mags_sources_first([Mag(4), Mag(1), Mag(2)], {Mag(1): made("1", "4")}) == [Mag(2), Mag(4), Mag(1)]


@pytest.mark.parametrize(
    "pairs, kept",
    [
        ([("1", "2"), ("2", "4")], ["1", "2"]),
        ([("1", "2"), ("2", "1")], ["2"]),  # mag 2 was deleted and made again
        ([("1", "2"), ("2", "4"), ("4", "1"), ("8", "4")], ["4", "8"]),
        ([("1", "2"), ("2", "4"), ("4", "2")], ["1", "4"]),  # mag 1 is not in the circle
    ],
)
def test_what_is_made_from_itself_is_data(pairs: list[tuple[str, str]], kept: list[str]) -> None:
    recipes = {Mag(mag): made(mag, source) for mag, source in pairs}
    left = without_circles(recipes)
    assert [str(mag) for mag in left] == kept
    assert {plan.mag for plan in sources_first(left.values())} == set(left)
