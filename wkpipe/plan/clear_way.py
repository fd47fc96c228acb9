"""What lies where a mag is to be made that the dataset does not have yet: leftovers of a run, or another tool's."""

from __future__ import annotations

import contextlib
from pathlib import Path

from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.formats import open_array
from wkpipe.plan.draft import Draft
from wkpipe.plan.foreign import foreign_mag
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.recipe import load_recipe
from wkpipe.storage.access import check_removable
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.identity import MagIdentity, is_replaced, layout_of, recorded_identity
from wkpipe.stored.locations import Locations


def clear_way(plan: MagPlan, locations: Locations, overwrite: bool, draft: Draft) -> None:
    """See what lies where an unpublished mag is to be made: leftovers of another run are removed, those of another tool refused."""
    path = locations.array(plan.layer, plan.mag)
    recipe = load_recipe(locations, plan.layer, plan.mag)
    if recipe is not None:
        if recipe.params != plan.params:
            if not overwrite and _is_other_tools(recipe, locations):
                raise foreign_mag(locations, plan.layer, plan.mag)
            draft.reset.append((plan.layer, plan.mag))
    elif path.exists() and any(path.iterdir()):
        if not overwrite and not _is_empty_array(plan, path):
            check_removable(path, f"and it is not a mag of layer {plan.layer}; choose other mags")
            raise AlreadyExists(f"{path} exists but is not a mag of layer {plan.layer}; remove it, or pass --overwrite-existing")
        draft.reset.append((plan.layer, plan.mag))


def _is_empty_array(plan: MagPlan, path: Path) -> bool:
    """True if there is nothing but an array without data, as it is when a run was stopped whose state is elsewhere."""
    with contextlib.suppress(InputRefused):
        array = open_array(path, plan.spec.data_format, plan.spec.axes, shape=plan.spec.shape)
        names = {"zarr.json", ".zarray", ".zattrs", "header.wkw"}
        return {entry.name for entry in path.iterdir()} <= names and next(array.stored_units(), None) is None
    return False


def _is_other_tools(recipe: MagPlan, locations: Locations) -> bool:
    """True if another tool has put data in the place of an array that wkpipe had begun by a recipe."""
    with contextlib.suppress(InputRefused):
        array = planned_array(recipe, locations)
        recorded = recorded_identity(locations, recipe.layer, recipe.mag) or MagIdentity("", "", layout_of(recipe.spec))
        ledger = Ledger.load(locations.ledger(recipe.layer, recipe.mag))
        return is_replaced(recorded, array, ledger) and next(array.stored_units(), None) is not None
    return False
