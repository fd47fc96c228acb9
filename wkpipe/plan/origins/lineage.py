"""Lineage: which mags of a layer are made from which, in the order in which they can be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser import FromCoarser


def sources_first(plans: Iterable[MagPlan]) -> list[MagPlan]:
    """Return plans of a layer's mags from fine to coarse, but each after the plan of the mag that it is made from."""
    by_mag = {plan.mag: plan for plan in plans}
    return [by_mag[mag] for mag in mags_sources_first(by_mag, by_mag)]


def mags_sources_first(mags: Iterable[Mag], recipes: Mapping[Mag, MagPlan]) -> list[Mag]:
    """Return mags from fine to coarse, but each after the one that it is made from; `recipes` must be without circles."""
    waiting = sorted(mags, key=lambda mag: mag.to_tuple())
    ordered: list[Mag] = []
    while waiting:
        ready = next(mag for mag in waiting if mag not in recipes or recipes[mag].source_mag not in waiting)
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def without_circles(recipes: Mapping[Mag, MagPlan]) -> dict[Mag, MagPlan]:
    """Return the recipes of a layer's mags without those of upsampled mags from which their own source was made since.

    After a mag was upsampled, its source may be deleted and made again, now from the upsampled mag, which is data from then on.
    """
    return {mag: recipe for mag, recipe in recipes.items() if not (isinstance(recipe.origin, FromCoarser) and _returns(mag, recipes))}


def _returns(mag: Mag, recipes: Mapping[Mag, MagPlan]) -> bool:
    """True if a mag is, by these recipes, made from itself."""
    seen: set[Mag] = set()
    at: Mag | None = mag
    while at is not None and at not in seen:
        seen.add(at)
        recipe = recipes.get(at)
        at = None if recipe is None else recipe.source_mag
    return at == mag
