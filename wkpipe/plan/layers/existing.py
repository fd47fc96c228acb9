"""Plan the work on an existing dataset: its derived mags are brought up to date, then its ladders are extended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import AlreadyExists, InputRefused, LinkedLayer, MetadataError, RemoteMag
from wkpipe.formats.base import Compression
from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.layers.clear_way import clear_way, encoded_as_before
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.layers.made_mags import MadeMags
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.origins.lineage import sources_first, without_circles
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.request import DownsampleRequest, Overwrite, Storing
from wkpipe.plan.state.emptiness import finer_that_shows_loss
from wkpipe.plan.state.found import LayerSurvey
from wkpipe.plan.state.recipe import inherited_storing, load_recipe, with_recorded_names
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.wishes.existing import LayerWish, contradiction
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import is_remaking, is_swapped, load_swap

Recipes = Mapping[Mag, MagPlan | None]
"""How the mags of a layer that are in the properties were made; None for those that wkpipe did not make."""

_LOST_FIX = "pass --repair (in Python: allow_overwrite=True) to make it again, or --trust-empty to accept it as it is"


def plan_nothing(path: Path, state_dir: Path | None) -> Draft:
    """Plan no work on an existing dataset."""
    dataset = StoredDataset.open(path, state_dir)
    return Draft(dataset.locations, dataset.properties.name)


def plan_existing(request: DownsampleRequest) -> Draft:
    """Plan what is wanted of an existing dataset.

    Raises:
        InputRefused: the dataset, or all its layers, cannot be used as they are, or the wanted mags cannot be made.
        IntegrityError: a source has lost shards or is damaged.
    """
    dataset = StoredDataset.open(request.dataset, request.state_dir).looking_once()
    draft = Draft(dataset.locations, dataset.properties.name)
    inherited = inherited_storing(dataset, request.storing)
    layers = [dataset.layer(request.layer)] if request.layer is not None else list(dataset.properties.layers)
    if not layers:
        raise InputRefused(f"{request.dataset} has no layer to downsample", fix="convert images or add a layer first")
    made = MadeMags(dataset.properties.layers)
    left_out: list[InputRefused] = []
    for layer in layers:
        try:
            _check_not_linked(request, dataset, layer, made)
            _plan_layer(request, inherited, dataset, layer, made, draft)
        except (RemoteMag, LinkedLayer) as error:
            left_out.append(error)
            made.set(layer.name, [entry.mag for entry in layer.mags])
            draft.notes.append(f"{error}; the layer is left out")
    if len(left_out) == len(layers):
        raise left_out[0]
    return draft


def _check_not_linked(request: DownsampleRequest, dataset: StoredDataset, layer: LayerProperties, made: MadeMags) -> None:
    """Refuse to make mags in a layer whose directory is a link.

    Raises:
        LinkedLayer: that is wanted.
    """
    data = dataset.locations.data
    if data.is_link(layer.name) and wish_of(request, dataset, layer, made).new:
        what = f"{data.path(layer.name)} is a link that leads out to {data.real(layer.name)}, so no mags are made in it"
        raise LinkedLayer(what, where=f"layer {layer.name}", fix="make them there, or put a copy in the place of the link")


def _plan_layer(
    request: DownsampleRequest,
    inherited: Storing,
    dataset: StoredDataset,
    layer: LayerProperties,
    made: MadeMags,
    draft: Draft,
) -> None:
    """Bring the derived mags of a layer up to date, then extend its ladder."""
    if (swap := load_swap(dataset.locations, layer.name)) is not None:
        made.set(layer.name, [entry.mag for entry in swap.with_new(layer).mags])
        draft.add(LayerPlan(layer.name, (), (), discarded=swap.old), LayerSurvey())
        draft.notes.append(
            f"layer {layer.name}: an earlier run was stopped while its mags took the place of the old ones; this run ends that "
            "and makes no other mags of the layer"
        )
        return
    locations = dataset.locations
    wish = wish_of(request, dataset, layer, made)
    for mag in wish.replaced:
        check_replaceable(dataset, layer, mag)
    recipes = {entry.mag: load_recipe(locations, layer.name, entry.mag) for entry in layer.mags}
    _check_no_source(layer, wish, recipes)
    derived = _derived(dataset, layer, wish, recipes)
    foreign = [mag for mag in wish.concerned if mag not in {plan.mag for plan in derived}]
    if wish.new and (entry := layer.mag(wish.ladder.from_mag)).is_remote:
        dataset.mag_place(layer, entry)  # raises before anything is planned for the layer
    lost = _lost(request, dataset, layer, foreign, draft)
    _check_present(dataset, layer, [mag for mag in foreign if mag not in lost and not layer.mag(mag).is_remote])
    draft.notes += wish.warnings
    compression = compression_of_mag(dataset, layer, wish.ladder.from_mag, derived) if wish.new or lost else None
    new = wish.new_mags(inherited, compression)
    extension = [plan if plan.mag in wish.replaced else with_recorded_names(plan, locations) for plan in new]
    if wish.replaced and _is_remade(locations, layer, wish, extension):
        made.set(layer.name, [entry.mag for entry in layer.mags])
        _plan_layer(replace(request, overwrite=Overwrite.NOTHING), inherited, dataset, layer, made, draft)
        return
    made.set(layer.name, wish.mags)
    discarded = wish.replaced if extension else ()
    if discarded:  # the new ones are made beside the old ones
        draft.locations = locations = draft.locations.rebuilding(layer.name, [plan.mag for plan in extension])
    overwrite = request.overwrite is not Overwrite.NOTHING
    extension = [clear_way(plan, locations, overwrite, draft) for plan in extension]
    draft.unpublish += [(layer.name, mag) for mag in lost]
    draft.reset += [(layer.name, mag) for mag in lost]
    rebuilt = wish.made_again(inherited, compression, lost)
    plans = sources_first([*derived, *rebuilt, *extension])
    publish = tuple(plan.mag for plan in plans if plan not in derived)
    removed = [mag for name, mag in draft.reset if name == layer.name]
    removed += [mag for mag in discarded if not locations.has_recipe(layer.name, mag)]
    survey = survey_layer(
        locations, plans, layer, dataset, discarded=removed, overwrite=overwrite, missing_is_error=request.missing_is_error
    )
    draft.add(LayerPlan(layer.name, tuple(plans), publish, tuple(survey.found), discarded=tuple(discarded)), survey)


def wish_of(request: DownsampleRequest, dataset: StoredDataset, layer: LayerProperties, made: MadeMags) -> LayerWish:
    """Return what is wanted of a layer; `made` are the mags of all layers.

    Raises:
        InputRefused: see `LayerWish.of`; or coarser mags exist that were not made from the mag to start from.
    """
    wish = LayerWish.of(request, layer, dataset.properties.voxel_size.nm, made.of(layer.name), made.of_others(layer.name))
    if request.from_mag is not None and not request.targets and request.overwrite is Overwrite.NOTHING:
        _check_made_from(dataset.locations, layer, request.from_mag)
    return wish


def _check_made_from(locations: Locations, layer: LayerProperties, start: Mag) -> None:
    """Refuse to start from a mag if coarser mags exist that were not made from it."""
    known = {start}
    for mag in sorted((entry.mag for entry in layer.mags if entry.mag > start), key=Mag.to_tuple):
        recipe = load_recipe(locations, layer.name, mag)
        if recipe is None or not isinstance(recipe.origin, FromMag) or recipe.origin.mag not in known:
            raise InputRefused(
                f"cannot downsample from mag {start}, because the coarser mag {mag} exists and was not made from it",
                where=f"layer {layer.name}",
                fix=f"start from {mag}, delete it, or pass allow_overwrite=True",
            )
        known.add(mag)


def check_replaceable(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> None:
    """Refuse to replace an array that is not in the dataset, or that holds channels of other layers."""
    if not dataset.owns(layer, layer.mag(mag)):
        raise InputRefused(
            f"mag {mag} is outside of the dataset and is not overwritten",
            where=f"layer {layer.name}",
            fix="remove it from the properties first",
        )
    _check_not_shared(dataset, layer, mag)


def _check_no_source(layer: LayerProperties, wish: LayerWish, recipes: Recipes) -> None:
    """Refuse to replace a mag from which a kept one was upsampled: it is the data, and the kept mag only repeats its voxels."""
    for mag, recipe in _made_by(recipes, recipes).items():
        if mag not in wish.replaced and isinstance(recipe.origin, FromCoarser) and recipe.origin.mag in wish.replaced:
            raise InputRefused(
                f"mag {recipe.origin.mag} is not overwritten because mag {mag} was upsampled from it",
                where=f"layer {layer.name}",
                fix=f"delete mag {mag} first",
            )


def _is_remade(locations: Locations, layer: LayerProperties, wish: LayerWish, plans: Sequence[MagPlan]) -> bool:
    """Return True if an interrupted run has already replaced the layer's mags by these, but not yet those of other layers."""
    if not is_swapped(locations, layer.name) or not is_remaking(locations) or len(layer.mags) != len(wish.mags):
        return False
    recipes = [load_recipe(locations, layer.name, plan.mag) for plan in plans]
    pairs = zip(recipes, plans, strict=True)
    return all(recipe is not None and encoded_as_before(plan, recipe).params == recipe.params for recipe, plan in pairs)


def _lost(request: DownsampleRequest, dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag], draft: Draft) -> list[Mag]:
    """Return the registered mags to make again because another tool left them without data, as its crash does.

    Raises:
        InputRefused: there are such mags, and neither `repair` nor `trust_empty` says what to do with them.
    """
    if request.trust_empty:
        return []
    shown = {mag: finer for mag in sorted(mags, key=lambda m: m.to_tuple()) if (finer := finer_that_shows_loss(dataset, layer, mag))}
    if not shown:
        return []
    lost, finer = ", ".join(map(str, shown)), min(shown.values())
    where = f"layer {layer.name}"
    what = f"mag {lost} has no data at all although the finer mag {finer} has, probably because a tool crashed"
    if not request.repair:
        raise InputRefused(what, where=where, fix=_LOST_FIX)
    for mag in shown:
        if not dataset.owns(layer, layer.mag(mag)):
            outside = f"{what}, and it is outside of the dataset"
            raise InputRefused(outside, where=where, fix="repair it there, or remove it from the properties")
        _check_not_shared(dataset, layer, mag)
    draft.notes.append(f"{where}: {what}; it is made again")
    return list(shown)


def _check_not_shared(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> None:
    """Refuse to replace an array that holds channels of other layers."""
    if (other := dataset.shared_with(layer, layer.mag(mag))) is not None:
        raise InputRefused(
            f"the array of mag {mag} also belongs to layer {other} and is not replaced",
            where=f"layer {layer.name}",
            fix="remove the mag from the properties of one of them first",
        )


def compression_of_mag(dataset: StoredDataset, layer: LayerProperties, mag: Mag, derived: Sequence[MagPlan] = ()) -> Compression | None:
    """Return how an existing mag is compressed; None if its array does not exist. `derived` are mags whose plans say it.

    The default level of an array without a recipe is no level: other tools write it, and it says nothing about parameters.
    """
    for plan in derived:
        if plan.mag == mag:
            return plan.spec.compression
    entry = layer.mag(mag)
    if entry.is_remote or not dataset.mag_place(layer, entry).is_directory():
        return None
    found = dataset.open_mag(layer, entry).spec.compression
    recipe = load_recipe(dataset.locations, layer.name, mag)
    if recipe is not None and (recipe.spec.compression.kind, recipe.spec.compression.level) == (found.kind, found.level):
        return recipe.spec.compression
    return replace(found, level=None) if found.level == DEFAULT_LEVEL else found


def _check_present(dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag]) -> None:
    """Refuse a layer whose properties name mags that do not exist and that wkpipe does not know how to make."""
    for mag in mags:
        place = dataset.mag_place(layer, layer.mag(mag))
        if not place.is_directory():
            fix = "convert its source again" if dataset.locations.has_conversion else "restore it, or remove its entry"
            coarser = "" if mag == min(mags) else ", or pass --overwrite-existing to make all coarser mags again"
            raise MetadataError(
                f"datasource-properties.json names mag {mag}, but there is no directory {place.path()}",
                where=f"layer {layer.name}",
                fix=f"{fix}{coarser}",
            )


def _made_by(recipes: Recipes, mags: Iterable[Mag]) -> dict[Mag, MagPlan]:
    """Return how wkpipe makes some mags of a layer, without those that became data (see `without_circles`)."""
    return without_circles({mag: recipe for mag in mags if (recipe := recipes.get(mag)) is not None})


def _derived(dataset: StoredDataset, layer: LayerProperties, wish: LayerWish, recipes: Recipes) -> list[MagPlan]:
    """Return the existing mags that wkpipe made from others of the layer; a mag that was moved and linked is only read."""
    plans, locations, existing = [], dataset.locations, wish.concerned
    for mag, recipe in _made_by(recipes, existing).items():
        if not isinstance(origin := recipe.origin, FromOtherMag) or origin.mag not in existing:
            continue
        if any(entry.is_remote for entry in layer.mags if entry.mag in (mag, origin.mag)):
            continue
        if dataset.mag_place(layer, layer.mag(mag)).real() != str(locations.data.path(f"{layer.name}/{locations.name(layer.name, mag)}")):
            continue
        mode = origin.interpolation if isinstance(origin, FromMag) and wish.is_wanted(mag) else None
        if mode is not None and (difference := contradiction(wish.request, recipe, mode)):
            raise AlreadyExists(
                f"mag {mag} was made with {difference}",
                where=f"layer {layer.name}",
                fix="pass --overwrite-existing to make it and all coarser mags again",
            )
        plans.append(refreshed(recipe, origin, layer))
    return plans
