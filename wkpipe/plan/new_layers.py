"""Plan the layers of a dataset that is made: from images, or from a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from wkpipe.errors import AlreadyExists, ForeignMag
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.clear_way import clear_way
from wkpipe.plan.config import Config
from wkpipe.plan.conversion import Conversion, plan_conversion
from wkpipe.plan.download import Download, plan_download
from wkpipe.plan.draft import Draft
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.pyramid import chain, ladder_of
from wkpipe.plan.recipe import load_recipe
from wkpipe.plan.survey import survey_layer
from wkpipe.plan.target import Target
from wkpipe.server.remote import FoundDataset, RemoteDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import load_swap

Say = Callable[[str], None]


def plan_from_images(config: Config) -> Draft:
    conversion = plan_conversion(config)
    try:
        return _converted(config, conversion)
    except ForeignMag:
        if not config.overwrite_existing:
            raise
        return _converted(config, replace(conversion, target=conversion.target.discarded))


def _converted(config: Config, conversion: Conversion) -> Draft:
    draft = _new_dataset(conversion.target, config.name, conversion.new_dataset)
    made: list[Mag] = []
    for stack, layer, finest in zip(conversion.stacks, conversion.layers, conversion.finest, strict=True):
        plans = [finest]
        if config.downsample:
            ladder = ladder_of(config, layer, conversion.voxel_size_nm, [finest.mag], made)
            draft.notes += [f"layer {layer.name}: {warning}" for warning in ladder.warnings]
            plans += chain(config, layer, ladder.from_mag, ladder.mags, config)
        made += [plan.mag for plan in plans]
        _plan_new_layer(config, conversion.target, layer, plans, stack, draft)
    return draft


def plan_new_download(config: Config, found: FoundDataset, say: Say) -> Draft:
    download = plan_download(config, found, say)
    try:
        return _downloaded(config, found, download)
    except ForeignMag:
        if not config.overwrite_existing:
            raise
        return _downloaded(config, found, replace(download, target=download.target.discarded))


def _downloaded(config: Config, found: FoundDataset, download: Download) -> Draft:
    draft = _new_dataset(download.target, config.name or found.properties.name, download.new_dataset)
    draft.notes += download.notes
    for layer, plans in download.layers:
        _plan_new_layer(config, download.target, layer, plans, found.remote, draft)
    return draft


def _new_dataset(target: Target, name: str | None, new_dataset: Mapping[str, Any]) -> Draft:
    locations = target.locations
    draft = Draft(locations, name or locations.dataset.name, remove_target=target.remove_target, conversion=target.identity)
    draft.new_dataset = new_dataset if target.published is None else None
    return draft


def _plan_new_layer(
    config: Config, target: Target, layer: LayerProperties, plans: Sequence[MagPlan], origin: ImageStack | RemoteDataset, draft: Draft
) -> None:
    """Plan the mags of a layer, from fine to coarse, in a dataset that is new or that an earlier run of the same has begun."""
    registered = target.registered(layer.name)
    if not target.remove_target and load_swap(target.locations, layer.name) is not None:
        raise AlreadyExists(
            f"layer {layer.name} of {config.target}: a run was stopped while its mags took the place of the old ones; "
            "end that with `wkpipe downsample` first"
        )
    if not target.remove_target and config.shard is None:
        plans = [_laid_out_as_before(plan, target.locations) for plan in plans]
    for plan in plans:
        rivals = [mag for mag in registered if mag.max_dim == plan.mag.max_dim and mag != plan.mag]
        if rivals:
            raise AlreadyExists(
                f"layer {layer.name} of {config.target} has mag {rivals[0]}, beside which mag {plan.mag} can not be made; "
                "choose the sampling mode that it was made with, or pass --no-downsample"
            )
        if plan.mag not in registered:
            if not target.remove_target:
                clear_way(plan, target.locations, config.overwrite_existing, draft)
        elif (recipe := load_recipe(target.locations, layer.name, plan.mag)) is None or recipe.params != plan.params:
            raise AlreadyExists(
                f"layer {layer.name}: mag {plan.mag} of {config.target} was made with other parameters; "
                "choose another target, or pass --overwrite-existing"
            )
    removed = [plan.mag for plan in plans] if target.remove_target else [mag for name, mag in draft.reset if name == layer.name]
    survey = survey_layer(config, target.locations, plans, layer, None, origin=origin, discarded=removed)
    publish = tuple(plan.mag for plan in plans if plan.mag not in registered)
    new = None if registered else layer_to_json(layer)
    stack = origin.to_json() if isinstance(origin, ImageStack) else None
    draft.add(LayerPlan(layer.name, tuple(plans), publish, (), new, stack), survey)


def _laid_out_as_before(plan: MagPlan, locations: Locations) -> MagPlan:
    """Return a plan with the shards that an earlier run has begun to make: other defaults do not change what exists."""
    if plan.spec.data_format is not DataFormat.WKW or plan.spec.compression.is_on:
        return plan
    recipe = load_recipe(locations, plan.layer, plan.mag)
    if recipe is None or recipe.spec.chunk_shape != plan.spec.chunk_shape:
        return plan
    same = replace(plan, spec=replace(plan.spec, shape=recipe.spec.shape, shard_shape=recipe.spec.shard_shape))
    return same if same == recipe else plan
