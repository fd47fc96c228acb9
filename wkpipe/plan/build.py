"""Make the plan of a run from its config: everything that can be refused is refused here, before a byte is written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wkpipe.errors import AlreadyExists, ForeignMag, InputRefused, MetadataError, RemoteMag
from wkpipe.formats import open_array
from wkpipe.formats.base import Compression, DataFormat
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.config import Config
from wkpipe.plan.conversion import Conversion, plan_conversion
from wkpipe.plan.download import Download, plan_download
from wkpipe.plan.download_space import sampled_rates
from wkpipe.plan.emptiness import finer_that_shows_loss
from wkpipe.plan.foreign import foreign_mag
from wkpipe.plan.grouping import PendingMag, group_tasks
from wkpipe.plan.mag_plan import CONVERT, DOWNSAMPLE, MagPlan, planned_array
from wkpipe.plan.plan import LayerPlan, Plan, Preparation
from wkpipe.plan.proving import DoubtfulMag
from wkpipe.plan.pyramid import chain, ladder_of, refreshed, with_compression
from wkpipe.plan.reasons import MagReasons
from wkpipe.plan.recipe import inherited_config, load_recipe
from wkpipe.plan.resources import Sizing
from wkpipe.plan.space import RECORD_BYTES, Free, Need, Stored, check_space, free_bytes, space_needed
from wkpipe.plan.survey import LayerSurvey, survey_layer
from wkpipe.plan.target import Target
from wkpipe.plan.upload import upload_request, upload_task, uploaded_already
from wkpipe.server.remote import FoundDataset, RemoteDataset
from wkpipe.storage.access import check_removable, nearest
from wkpipe.storage.ledger import Ledger, Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import MagIdentity, is_replaced, layout_of, recorded_identity
from wkpipe.stored.lease import Lookout, elsewhere_text, state_elsewhere
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import done_file, is_remaking, load_swap

Say = Callable[[str], None]


def make_plan(
    config: Config,
    sizing: Sizing,
    free: Free = free_bytes,
    found: FoundDataset | None = None,
    break_lock: bool = False,
    say: Say = lambda _: None,
) -> Plan:
    """Plan a run: inspect source and target, and hold what is wanted against what is proven. Writes nothing.

    `free` tells the free bytes of the file system of a path, None where that is not known. `found` is the dataset to download.
    With `break_lock`, a run that may be gone is not waited for. `say` is given a line if planning takes long.

    Raises:
        InputRefused: the source or the target can not be worked on, or the disk is too small.
        IntegrityError: a source has lost shards or is damaged.
        TryAgain: the same, but it may be the work in progress of another run.
    """
    locations = Locations.of(config.target, config.state_dir)
    lookout = Lookout.begin(locations, break_lock)
    with lookout.refusals_checked():
        plan = _planned(config, sizing, free, found, say)
    elsewhere = state_elsewhere(locations)
    notes = plan.notes if elsewhere is None else (f"{locations.dataset}: {elsewhere_text(elsewhere)}", *plan.notes)
    return replace(plan, epoch=lookout.epoch, working=lookout.working, notes=notes)


def _planned(config: Config, sizing: Sizing, free: Free, found: FoundDataset | None, say: Say) -> Plan:
    assert (found is None) == (config.download_url is None)
    if found is not None:
        draft = _plan_download(config, found, say)
    else:
        draft = _plan_from_images(config) if config.source is not None else _plan_existing(config)
    upload = upload_request(config, draft.locations, draft.name)
    space = None if config.ignore_disk_space else _check_space(draft, sizing, free, found)
    converted_anew = {name for name, pending in draft.pending.items() if any(mag.plan.kind == CONVERT for mag in pending)}
    publish = [
        layer.name for layer in draft.layers if layer.publish or layer.discarded or layer.new is not None or layer.name in converted_anew
    ]
    tasks = group_tasks(draft.pending, publish, sizing, draft.doubtful)
    uploaded = None
    if upload is not None and (tasks or (uploaded := uploaded_already(upload)) is None):
        tasks = (*tasks, upload_task(tasks))
    return Plan(
        dataset=draft.locations.dataset,
        state=draft.locations.state,
        layers=tuple(draft.layers),
        tasks=tasks,
        new_dataset=draft.new_dataset,
        conversion=draft.conversion,
        notes=tuple(draft.notes),
        preparation=Preparation(draft.adopted, tuple(draft.reset), tuple(draft.unpublish), tuple(draft.forgotten), draft.remove_target),
        reasons=tuple(draft.reasons),
        space=space,
        upload=upload,
        uploaded=uploaded,
        download=None if found is None else found.remote,
    )


@dataclass
class _Draft:
    """A plan in the making; `name` is the dataset's."""

    locations: Locations
    name: str
    layers: list[LayerPlan] = field(default_factory=list)
    pending: dict[str, Sequence[PendingMag]] = field(default_factory=dict)
    adopted: dict[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: list[MagReasons] = field(default_factory=list)
    stored: dict[tuple[str, Mag], Stored] = field(default_factory=dict)
    doubtful: list[DoubtfulMag] = field(default_factory=list)
    forgotten: list[tuple[str, Mag]] = field(default_factory=list)
    reset: list[tuple[str, Mag]] = field(default_factory=list)
    unpublish: list[tuple[str, Mag]] = field(default_factory=list)
    remove_target: bool = False
    new_dataset: Mapping[str, Any] | None = None
    conversion: Mapping[str, Any] | None = None

    def add(self, layer: LayerPlan, survey: LayerSurvey) -> None:
        self.layers.append(layer)
        self.pending[layer.name] = survey.pending
        self.adopted |= survey.adopted
        self.notes += survey.notes
        self.reasons += survey.reasons
        self.doubtful += survey.doubtful
        self.forgotten += survey.forgotten
        self.stored |= survey.stored


# -- an existing dataset --------------------------------------------------------------------------------------------


def _plan_existing(config: Config) -> _Draft:
    dataset = StoredDataset.open(config.target, config.state_dir)
    draft = _Draft(dataset.locations, dataset.properties.name)
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
    config: Config, inherited: Config, dataset: StoredDataset, layer: LayerProperties, made: dict[str, list[Mag]], draft: _Draft
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
        _clear_way(plan, locations, config.overwrite_existing, draft)
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


def _lost(config: Config, dataset: StoredDataset, layer: LayerProperties, mags: Sequence[Mag], draft: _Draft) -> list[Mag]:
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


def _clear_way(plan: MagPlan, locations: Locations, overwrite: bool, draft: _Draft) -> None:
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


# -- new datasets ----------------------------------------------------------------------------------------------------


def _plan_from_images(config: Config) -> _Draft:
    conversion = plan_conversion(config)
    try:
        return _converted(config, conversion)
    except ForeignMag:
        if not config.overwrite_existing:
            raise
        return _converted(config, replace(conversion, target=conversion.target.discarded))


def _converted(config: Config, conversion: Conversion) -> _Draft:
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


def _plan_download(config: Config, found: FoundDataset, say: Say) -> _Draft:
    download = plan_download(config, found, say)
    try:
        return _downloaded(config, found, download)
    except ForeignMag:
        if not config.overwrite_existing:
            raise
        return _downloaded(config, found, replace(download, target=download.target.discarded))


def _downloaded(config: Config, found: FoundDataset, download: Download) -> _Draft:
    draft = _new_dataset(download.target, config.name or found.properties.name, download.new_dataset)
    draft.notes += download.notes
    for layer, plans in download.layers:
        _plan_new_layer(config, download.target, layer, plans, found.remote, draft)
    return draft


def _new_dataset(target: Target, name: str | None, new_dataset: Mapping[str, Any]) -> _Draft:
    locations = target.locations
    draft = _Draft(locations, name or locations.dataset.name, remove_target=target.remove_target, conversion=target.identity)
    draft.new_dataset = new_dataset if target.published is None else None
    return draft


def _plan_new_layer(
    config: Config, target: Target, layer: LayerProperties, plans: Sequence[MagPlan], origin: ImageStack | RemoteDataset, draft: _Draft
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
                _clear_way(plan, target.locations, config.overwrite_existing, draft)
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


def _check_space(draft: _Draft, sizing: Sizing, free: Free, found: FoundDataset | None) -> Need:
    """Return what the pending units will take on the dataset's disk; note where that is tight.

    Raises:
        NotWritable: it does not fit, or the state does not, where that lies on another disk.
    """
    if not any(draft.pending.values()):
        return Need()
    locations = draft.locations
    known = None if found is None else sampled_rates(found, draft.pending)
    need = space_needed(draft.pending, draft.stored, sizing.cores, known)
    records = sum(len(mag.units) for mags in draft.pending.values() for mag in mags) + sum(map(len, draft.adopted.values()))
    state = Need(RECORD_BYTES * records, 2 * RECORD_BYTES * records)  # twice while the ledger is folded
    if nearest(locations.state).stat().st_dev == nearest(locations.dataset).stat().st_dev:
        need += state
    else:
        draft.notes += check_space(locations.state, state, [locations.temporary], free)
    removed = [locations.array(layer, mag) for layer, mag in draft.reset]
    removed = [locations.dataset] if draft.remove_target else [*removed, locations.data_temporary]
    draft.notes += check_space(locations.dataset, need, removed, free)
    return need
