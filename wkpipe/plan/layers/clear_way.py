"""Find what is in the place of a mag that the dataset does not have yet: leftovers of a run, or another tool's files."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.formats import open_array
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.state.foreign import foreign_mag
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.place import Place
from wkpipe.stored.identity import MagIdentity, is_replaced, layout_of, recorded_identity
from wkpipe.stored.locations import Locations


def encoded_as_before(plan: MagPlan, recipe: MagPlan | None) -> MagPlan:
    """Return a plan with the parameters of zstd that a mag of the same level was begun with, if nothing else differs."""
    if recipe is None or recipe.spec.as_stored.compression != plan.spec.as_stored.compression:
        return plan
    same = replace(plan, spec=replace(plan.spec, compression=recipe.spec.compression))
    return same if same.params == recipe.params else plan


def clear_way(plan: MagPlan, locations: Locations, overwrite: bool, draft: Draft) -> MagPlan:
    """Check the place of an unpublished mag: leftovers of another run will be removed, those of another tool are refused.

    Return the plan, which goes on with the parameters of the same run by an earlier release.
    """
    place = locations.array(plan.layer, plan.mag)
    recipe = load_recipe(locations, plan.layer, plan.mag)
    plan = encoded_as_before(plan, recipe)
    if recipe is not None:
        if recipe.params != plan.params:
            if not overwrite and _is_other_tools(recipe, locations):
                raise foreign_mag(locations, plan.layer, plan.mag)
            draft.reset.append((plan.layer, plan.mag))
    elif place.names():
        if not overwrite and not _is_empty_array(plan, place):
            place.check_removable(fix=f"and it is not a mag of layer {plan.layer}; choose other mags")
            raise AlreadyExists(
                f"{place.path()} exists but is not a mag of layer {plan.layer}", fix="remove it, or pass --overwrite-existing"
            )
        draft.reset.append((plan.layer, plan.mag))
    return plan


def _is_empty_array(plan: MagPlan, place: Place) -> bool:
    """Return True if there is only an array without data, as after an interrupted run whose state is elsewhere."""
    with contextlib.suppress(InputRefused):
        array = open_array(place, plan.spec.data_format, plan.spec.axes, shape=plan.spec.shape)
        names = {"zarr.json", ".zarray", ".zattrs", "header.wkw"}
        return {*array.place.names()} <= names and next(array.stored_units(), None) is None
    return False


def _is_other_tools(recipe: MagPlan, locations: Locations) -> bool:
    """Return True if another tool has put data in the place of an array that wkpipe has begun by a recipe."""
    with contextlib.suppress(InputRefused):
        array = planned_array(recipe, locations)
        recorded = recorded_identity(locations, recipe.layer, recipe.mag) or MagIdentity("", "", layout_of(recipe.spec))
        ledger = Ledger.load(locations.ledger(recipe.layer, recipe.mag))
        return is_replaced(recorded, array, ledger) and next(array.stored_units(), None) is not None
    return False
