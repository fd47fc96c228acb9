"""Plan to store mags of a dataset in another way: the new arrays are made beside the old ones, and then take their places."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from wkpipe.errors import ForeignMag, InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.layers.clear_way import clear_way
from wkpipe.plan.layers.copies import content_of_copy
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.layers.existing import check_replaceable
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.array_content import ArrayContent
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.state.found import LayerSurvey
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.wishes.copying import MagCopy, RecodingRequest
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import layout_of
from wkpipe.stored.swap import load_swap


def plan_recoding(request: RecodingRequest) -> Draft:
    """Plan to store mags in another way; those that are stored so already stay. A replacement that was stopped is only ended.

    Raises:
        InputRefused: a format does not allow it; or a mag is outside of the dataset, or shared with another layer.
        IntegrityError: a storage shard is gone or damaged.
    """
    dataset = StoredDataset.open(request.dataset)
    draft = Draft(dataset.locations, dataset.properties.name)
    for name, mags in request.mags.items():
        if (swap := load_swap(dataset.locations, name)) is not None:
            draft.add(LayerPlan(name, (), (), discarded=swap.old), LayerSurvey())
        else:
            _plan_layer(request, dataset, dataset.layer(name), mags, draft)
    return draft


def _plan_layer(request: RecodingRequest, dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag], draft: Draft) -> None:
    """Plan the mags to store in another way, and with them those that were made from them: these would count as stale."""
    plans: list[MagPlan] = []
    contents: dict[Mag, ArrayContent] = {}
    for entry in sorted(layer.mags, key=lambda entry: entry.mag.to_tuple()):
        changed = [plan.mag for plan in plans]
        derived = None if entry.is_remote else _derived(dataset, layer, entry.mag, changed)
        copy = _wanted(request, dataset, layer, entry.mag) if entry.mag in mags else None
        if copy is not None:
            check_replaceable(dataset, layer, entry.mag)
            plan = copy.plan(layer)
            plans.append(plan if derived is None else replace(plan, origin=derived.origin))
            if derived is None:
                contents[entry.mag] = content_of_copy(copy, draft)
        elif derived is not None and derived.source_mag in changed and _is_replaceable(dataset, layer, entry.mag):
            plans.append(derived)
    if not plans:
        draft.add(LayerPlan(layer.name, (), ()), LayerSurvey())  # its published marker may be outdated
        return
    changed = [plan.mag for plan in plans]
    draft.locations = locations = draft.locations.rebuilding(layer.name, changed)
    plans = [clear_way(plan, locations, True, draft) for plan in plans]
    removed = [mag for name, mag in draft.reset if name == layer.name]
    removed += [mag for mag in changed if not locations.has_recipe(layer.name, mag)]
    survey = survey_layer(locations, plans, layer, dataset, outside=contents, discarded=removed, overwrite=True)
    draft.add(LayerPlan(layer.name, tuple(plans), tuple(changed), tuple(survey.found), discarded=tuple(changed)), survey)


def _wanted(request: RecodingRequest, dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> MagCopy | None:
    """Return how a mag is copied into its own layer; None if it is stored as it is wanted already."""
    spec = dataset.open_mag(layer, layer.mag(mag)).spec
    copy = MagCopy(dataset.locations.dataset, layer, mag, spec, mag, request.recoding)
    return None if layout_of(copy.plan(layer).spec) == layout_of(spec) else copy


def _is_replaceable(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> bool:
    with contextlib.suppress(InputRefused):
        check_replaceable(dataset, layer, mag)
        return True
    return False


def _derived(dataset: StoredDataset, layer: LayerProperties, mag: Mag, changed: Sequence[Mag]) -> MagPlan | None:
    """Return the plan to make a mag again from the finer one that it was made from, so that both stay connected.

    The voxels are the same if the mag is up to date; None if it is not, or was not made from a finer one.
    """
    recipe = load_recipe(dataset.locations, layer.name, mag)
    if recipe is None or not isinstance(origin := recipe.origin, FromMag) or origin.mag not in {entry.mag for entry in layer.mags}:
        return None
    present = refreshed(recipe, origin, layer)
    with contextlib.suppress(ForeignMag):
        survey = survey_layer(dataset.locations, [present], layer, dataset)
        if not survey.pending and not survey.doubtful:
            if origin.mag in changed and isinstance(present.origin, FromMag):  # a new array has only the layer's own channels
                return replace(present, origin=replace(present.origin, channel=0))
            return present
    return None
