"""Plan what becomes of an existing dataset: its derived mags are brought up to date, then its ladders extended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wkpipe.errors import AlreadyExists, InputRefused, MetadataError, RemoteMag
from wkpipe.formats.base import Compression
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.clear_way import clear_way
from wkpipe.plan.config import Config
from wkpipe.plan.draft import Draft
from wkpipe.plan.emptiness import finer_that_shows_loss
from wkpipe.plan.mag_plan import DOWNSAMPLE, MagPlan
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.pyramid import chain, ladder_of, refreshed, with_compression
from wkpipe.plan.recipe import inherited_config, load_recipe
from wkpipe.plan.survey import LayerSurvey, survey_layer
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import done_file, is_remaking, load_swap


def plan_existing(config: Config) -> Draft:
    dataset = StoredDataset.open(config.target, config.state_dir)
    draft = Draft(dataset.locations, dataset.properties.name)
    if not config.downsample:
        return draft
    inherited = inherited_config(dataset.locations, config)
    layers = [dataset.layer(config.layer_name)] if config.layer_name is not None else list(dataset.properties.layers)
    if not layers:
        raise InputRefused(f"{config.target} has no layer to downsample; convert images or add a layer first")
    made: dict[str, list[Mag]] = {layer.name: [entry.mag for entry in layer.mags] for layer in dataset.properties.layers}
    remote = []
    for layer in layers:
        try:
            _plan_layer(config, inherited, dataset, layer, made, draft)
        except RemoteMag as error:
            remote.append(error)
            made[layer.name] = [entry.mag for entry in layer.mags]
            draft.notes.append(f"{error}; the layer is left out")
    if len(remote) == len(layers):
        raise remote[0]
    return draft


def _plan_layer(
    config: Config, inherited: Config, dataset: StoredDataset, layer: LayerProperties, made: dict[str, list[Mag]], draft: Draft
) -> None:
    """Bring the derived mags of a layer up to date, then extend its ladder."""
    if (swap := load_swap(dataset.locations, layer.name)) is not None:
        made[layer.name] = [entry.mag for entry in swap.with_new(layer).mags]
        draft.add(LayerPlan(layer.name, (), (), discarded=swap.old), LayerSurvey())
        draft.notes.append(
            f"layer {layer.name}: an earlier run was stopped while its mags took the place of the old ones; this run ends that "
            "and makes nothing else of the layer"
        )
        return
    locations = dataset.locations
    existing = list(made[layer.name])
    discarded: list[Mag] = []
    if config.overwrite_existing and existing:
        finest = min(existing)
        discarded = [mag for mag in existing if mag != finest]
        existing = [finest]
        made[layer.name] = existing
        for mag in discarded:
            if not dataset.owns(layer, layer.mag(mag)):
                raise InputRefused(
                    f"layer {layer.name}: mag {mag} lies outside of the dataset and is not overwritten; remove it from the properties first"
                )
            _check_not_shared(dataset, layer, mag)
    derived = _derived(config, dataset, layer, existing)
    foreign = [mag for mag in existing if mag not in {plan.mag for plan in derived}]
    others = [mag for name, mags in made.items() if name != layer.name for mag in mags]
    ladder = ladder_of(config, layer, dataset.properties.voxel_size.nm, existing, others)
    if ladder.mags and (entry := layer.mag(ladder.from_mag)).is_remote:
        dataset.mag_path(layer, entry)  # raises, before anything is planned of the layer
    lost = _lost(config, dataset, layer, foreign, draft)
    _check_present(dataset, layer, [mag for mag in foreign if mag not in lost and not layer.mag(mag).is_remote])
    draft.notes += [f"layer {layer.name}: {warning}" for warning in ladder.warnings]
    if ladder.mags or lost:
        inherited = with_compression(config, inherited, _compression(dataset, layer, ladder.from_mag, derived))
    extension = chain(config, layer, ladder.from_mag, ladder.mags, inherited)
    local = [mag for mag in existing if not layer.mag(mag).is_remote]
    rebuilt = [plan for mag in lost for plan in chain(config, layer, _source_of(mag, local), [mag], inherited)]
    made[layer.name] = [*existing, *ladder.mags]
    if discarded and _is_remade(locations, layer, extension):
        made[layer.name] = [entry.mag for entry in layer.mags]
        _plan_layer(config.model_copy(update={"overwrite_existing": False}), inherited, dataset, layer, made, draft)
        return
    if not extension:
        discarded = []
    if discarded:  # the new ones are made beside the old ones
        remade = frozenset((layer.name, plan.mag) for plan in extension)
        draft.locations = locations = replace(locations, remade=draft.locations.remade | remade)
    for plan in extension:
        clear_way(plan, locations, config.overwrite_existing, draft)
    draft.unpublish += [(layer.name, mag) for mag in lost]
    draft.reset += [(layer.name, mag) for mag in lost]
    plans = sorted([*derived, *rebuilt, *extension], key=lambda plan: plan.mag.to_tuple())
    publish = tuple(plan.mag for plan in plans if plan not in derived)
    removed = [mag for name, mag in draft.reset if name == layer.name]
    removed += [mag for mag in discarded if not locations.recipe(layer.name, mag).exists()]
    survey = survey_layer(config, locations, plans, layer, dataset, discarded=removed)
    draft.add(LayerPlan(layer.name, tuple(plans), publish, tuple(survey.found), discarded=tuple(discarded)), survey)


def _is_remade(locations: Locations, layer: LayerProperties, plans: Sequence[MagPlan]) -> bool:
    """Tell whether a run that was stopped has overwritten the layer's mags already with these, and other layers' not."""
    if not done_file(locations, layer.name).exists() or not is_remaking(locations) or len(layer.mags) != len(plans) + 1:
        return False
    recipes = [load_recipe(locations, layer.name, plan.mag) for plan in plans]
    return all(recipe is not None and recipe.params == plan.params for recipe, plan in zip(recipes, plans, strict=True))


def _lost(config: Config, dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag], draft: Draft) -> list[Mag]:
    """Return the mags of another tool that are registered and hold nothing, as its crash leaves them, and are to be made anew.

    Raises:
        InputRefused: there are some, and nobody said that they may be made anew, or are empty rightly.
    """
    if config.trust_empty:
        return []
    shown = {mag: finer for mag in sorted(mags, key=lambda m: m.to_tuple()) if (finer := finer_that_shows_loss(dataset, layer, mag))}
    if not shown:
        return []
    lost, finer = ", ".join(map(str, shown)), min(shown.values())
    what = f"layer {layer.name}: mag {lost} has no data at all although the finer mag {finer} has; it is likely what a crash left"
    if not config.repair:
        raise InputRefused(f"{what}. Pass --repair to make it anew, or --trust-empty to take it as it is")
    for mag in shown:
        if not dataset.owns(layer, layer.mag(mag)):
            raise InputRefused(f"{what}. It lies outside of the dataset: repair it there, or remove it from the properties")
        _check_not_shared(dataset, layer, mag)
    draft.notes.append(f"{what}; it is made anew")
    return list(shown)


def _check_not_shared(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> None:
    """Refuse to replace an array that other layers have channels in."""
    if (other := dataset.shared_with(layer, layer.mag(mag))) is not None:
        raise InputRefused(
            f"layer {layer.name}: the array of mag {mag} is one of layer {other} too and is not replaced; "
            "remove the mag from the properties of one of them first"
        )


def _source_of(mag: Mag, existing: Sequence[Mag]) -> Mag:
    """Return the coarsest of the existing mags that a mag can be made from."""
    finer = [other for other in existing if other != mag and all(a <= b for a, b in zip(other, mag, strict=True))]
    return max(finer, key=lambda m: m.to_tuple())


def _compression(dataset: StoredDataset, layer: LayerProperties, mag: Mag, derived: Sequence[MagPlan]) -> Compression | None:
    """Return how an existing mag is compressed; None where it is not there."""
    for plan in derived:
        if plan.mag == mag:
            return plan.spec.compression
    entry = layer.mag(mag)
    if entry.is_remote or not dataset.mag_path(layer, entry).is_dir():
        return None
    return dataset.open_mag(layer, entry).spec.compression


def _check_present(dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag]) -> None:
    """Refuse a layer whose properties name mags that are not there, and that wkpipe does not know how to make."""
    for mag in mags:
        path = dataset.mag_path(layer, layer.mag(mag))
        if not path.is_dir():
            mend = "convert its source again" if dataset.locations.conversion.exists() else "restore it, or remove its entry"
            coarser = "" if mag == min(mags) else ", or pass --overwrite-existing to make all coarser mags anew"
            raise MetadataError(
                f"layer {layer.name}: datasource-properties.json names mag {mag}, but there is no directory {path}; {mend}{coarser}"
            )


def _derived(config: Config, dataset: StoredDataset, layer: LayerProperties, existing: Sequence[Mag]) -> list[MagPlan]:
    """Return the existing mags that wkpipe made from finer ones, from fine to coarse; one that was moved and linked is only read."""
    plans, locations = [], dataset.locations
    for mag in sorted(existing, key=lambda m: m.to_tuple()):
        recipe = load_recipe(locations, layer.name, mag)
        if recipe is None or recipe.kind != DOWNSAMPLE or recipe.from_mag not in existing:
            continue
        if any(entry.is_remote for entry in layer.mags if entry.mag in (mag, recipe.from_mag)):
            continue
        if dataset.mag_path(layer, layer.mag(mag)).resolve() != locations.dataset / layer.name / str(mag):
            continue
        if contradiction := _contradiction(config, recipe):
            raise AlreadyExists(
                f"layer {layer.name}: mag {mag} was made with {contradiction}; "
                "pass --overwrite-existing to make it and all coarser mags again"
            )
        plans.append(refreshed(recipe, layer))
    return plans


def _contradiction(config: Config, recipe: MagPlan) -> str | None:
    """Say in what an existing mag differs from what is asked for; None where it does not. Defaults ask for nothing."""
    mode, wanted = recipe.interpolation, config.interpolation_mode
    if mode is not None and wanted not in ("default", mode.value):
        return f"interpolation mode {mode.value}, not {wanted}"
    chunk, shard = spatial(recipe.spec, recipe.spec.chunk_shape), spatial(recipe.spec, recipe.spec.shard_shape)
    if config.chunk not in (None, chunk):
        return f"chunks of {chunk}, not {config.chunk}"
    if config.shard not in (None, shard):
        return f"storage shards of {shard}, not {config.shard}"
    return None if config.compress or not recipe.spec.compression.is_on else "compression, not without"
