"""Plan a new dataset: which of the wanted mags are still to be made in the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wkpipe.errors import AlreadyExists, ForeignMag
from wkpipe.formats.base import DataFormat
from wkpipe.images import ImageStack
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.plan.config import Config
from wkpipe.plan.config.identity import conversion_of
from wkpipe.plan.layers.clear_way import clear_way, encoded_as_before
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.state.recipe import ACCOUNTS, load_recipe
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.state.target import Target
from wkpipe.plan.wishes.conversion import added_layers_wish, check_conversion, conversion_wish
from wkpipe.plan.wishes.download import canonical_download, download_wish
from wkpipe.plan.wishes.new_dataset import NewDataset, NewLayer
from wkpipe.server.download.remote import FoundDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import load_swap

Say = Callable[[str], None]


def plan_from_images(config: Config) -> Draft:
    """Plan a conversion.

    Raises:
        WkpipeError: see `conversion_wish`.
        AlreadyExists: the target holds something else.
    """
    target = target_of_conversion(config)  # a target that holds something else is refused before images are read
    return _planned(config, target, conversion_wish(config))


def plan_added_layers(config: Config, allow_several: bool) -> Draft:
    """Plan to convert images into new layers of an existing dataset.

    Raises:
        WkpipeError: see `added_layers_wish`.
        AlreadyExists: the dataset has a layer of that name, or other data are in its place.
    """
    check_conversion(config)
    locations = Locations.of(config.target, config.state_dir)
    properties = locations.properties_file().read()
    identity = conversion_of(config)
    wish = added_layers_wish(config, allow_several)
    target = Target(locations.published(properties), identity, properties, remove_target=False)
    draft = Draft(target.locations, properties.name, accounts=wish.accounts, notes=[*wish.notes])
    for new in wish.layers:
        properties = properties.with_new_layer(new.layer)  # refuses it if there is one of that name
        _plan_new_layer(config, target, new, draft)
        said = {**identity, ACCOUNTS: [account.to_json() for account in wish.accounts]}
        draft.images |= {(plan.layer, plan.mag): said for plan in new.plans}
    return draft


def plan_new_download(config: Config, found: FoundDataset, say: Say) -> Draft:
    """Plan a download; `say` is called with a line if that takes long.

    Raises:
        WkpipeError: see `download_wish`.
        AlreadyExists: the target holds something else.
    """
    config = canonical_download(config, found)
    target = _target(config)
    return _planned(config, target, download_wish(config, found, say))


def target_of_conversion(config: Config) -> Target:
    """Return the target of a conversion, which is free or has been begun by an earlier run of the same conversion.

    Raises:
        UsageError, InputRefused: see `check_conversion`.
        AlreadyExists: the target holds something else.
    """
    check_conversion(config)
    return _target(config)


def _target(config: Config) -> Target:
    return Target.found(config, Locations.of(config.target, config.state_dir), conversion_of(config))


def _planned(config: Config, target: Target, wish: NewDataset) -> Draft:
    try:
        return _planned_in(config, target, wish)
    except ForeignMag:
        if not config.overwrite_existing:
            raise
        return _planned_in(config, target.discarded, wish)


def _planned_in(config: Config, target: Target, wish: NewDataset) -> Draft:
    draft = Draft(target.locations, wish.name, remove_target=target.remove_target, conversion=target.identity, accounts=wish.accounts)
    if wish.accounts:
        draft.conversion = {**target.identity, ACCOUNTS: [account.to_json() for account in wish.accounts]}
    draft.new_dataset = wish.properties if target.published is None else None
    draft.notes += wish.notes
    for layer in wish.layers:
        _plan_new_layer(config, target, layer, draft)
    return draft


def _plan_new_layer(config: Config, target: Target, wish: NewLayer, draft: Draft) -> None:
    """Plan the mags of a layer in a dataset that is new or that an earlier run of the same conversion has begun."""
    layer, plans, source = wish.layer, wish.plans, wish.source
    registered = target.registered(layer.name)
    if not target.remove_target and load_swap(target.locations, layer.name) is not None:
        raise AlreadyExists(
            "a run was stopped while its mags took the place of the old ones",
            where=f"layer {layer.name} of {config.target}",
            fix="complete that with `wkpipe downsample` first",
        )
    if not target.remove_target:
        plans = [encoded_as_before(plan, load_recipe(target.locations, plan.layer, plan.mag)) for plan in plans]
    if not target.remove_target and config.shard is None:
        plans = [_laid_out_as_before(plan, target.locations) for plan in plans]
    for plan in plans:
        rivals = [mag for mag in registered if mag.max_dim == plan.mag.max_dim and mag != plan.mag]
        if rivals:
            raise AlreadyExists(
                f"layer {layer.name} of {config.target} has mag {rivals[0]}, so that mag {plan.mag} cannot be made beside it",
                fix="choose the sampling mode that it was made with, or pass --no-downsample",
            )
        if plan.mag not in registered:
            if not target.remove_target:
                clear_way(plan, target.locations, config.overwrite_existing, draft)
        elif (recipe := load_recipe(target.locations, layer.name, plan.mag)) is None or recipe.params != plan.params:
            raise AlreadyExists(
                f"mag {plan.mag} of {config.target} was made with other parameters",
                where=f"layer {layer.name}",
                fix="choose another target, or pass --overwrite-existing",
            )
    removed = [plan.mag for plan in plans] if target.remove_target else [mag for name, mag in draft.reset if name == layer.name]
    survey = survey_layer(
        target.locations,
        plans,
        layer,
        None,
        outside=source,
        discarded=removed,
        overwrite=config.overwrite_existing,
        least_slices=config.batch_size or 1,
    )
    publish = tuple(plan.mag for plan in plans if plan.mag not in registered)
    new = None if registered else layer_to_json(layer)
    stack = source.to_json() if isinstance(source, ImageStack) else None
    draft.add(LayerPlan(layer.name, tuple(plans), publish, (), new, stack), survey)


def _laid_out_as_before(plan: MagPlan, locations: Locations) -> MagPlan:
    """Return a plan with the shard shape that an earlier run has begun to use: new defaults do not change what exists."""
    if plan.spec.data_format is not DataFormat.WKW or plan.spec.compression.is_on:
        return plan
    recipe = load_recipe(locations, plan.layer, plan.mag)
    if recipe is None or recipe.spec.chunk_shape != plan.spec.chunk_shape:
        return plan
    same = replace(plan, spec=replace(plan.spec, shape=recipe.spec.shape, shard_shape=recipe.spec.shard_shape))
    return same if same == recipe else plan
