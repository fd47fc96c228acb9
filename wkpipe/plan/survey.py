"""Survey a layer: hold its planned mags against ledger and disk, from fine to coarse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from wkpipe.errors import MetadataError
from wkpipe.formats import has_array
from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.formats.converted import ConvertedArray
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.config import Config
from wkpipe.plan.foreign import foreign_mag, foreign_units
from wkpipe.plan.grouping import PendingMag
from wkpipe.plan.mag_plan import MagPlan, Source, check_count, download_identity, image_identity, planned_array, units_at
from wkpipe.plan.pending import MagState, found_state, made_state, source_identity
from wkpipe.plan.plan import FoundMag
from wkpipe.plan.proving import DoubtfulMag
from wkpipe.plan.reasons import MagReasons, Reason, reasons_of
from wkpipe.plan.recipe import load_recipe
from wkpipe.plan.space import Stored
from wkpipe.server.remote import RemoteDataset
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset, box_in_mag
from wkpipe.stored.identity import (
    MagIdentity,
    has_recorded_unit,
    identity_of_array,
    is_replaced,
    is_same_array,
    layout_of,
    recorded_identity,
    was_replaced,
)
from wkpipe.stored.locations import Locations


@dataclass
class LayerSurvey:
    """What is to be done in one layer, and what was found there.

    `doubtful` units are to be proven first; `forgotten` mags are not those any more that their records tell of.
    """

    pending: list[PendingMag] = field(default_factory=list)
    found: list[FoundMag] = field(default_factory=list)
    adopted: dict[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reasons: list[MagReasons] = field(default_factory=list)
    doubtful: list[DoubtfulMag] = field(default_factory=list)
    forgotten: list[tuple[str, Mag]] = field(default_factory=list)
    stored: dict[tuple[str, Mag], Stored] = field(default_factory=dict)

    def add_doubtful(self, layer: str, mag: Mag, spec: ArraySpec, state: MagState) -> None:
        """Have the doubtful units of a mag, if there are any, proven first."""
        if state.doubtful:
            self.doubtful.append(DoubtfulMag(layer, mag, spec, state.doubtful))


def survey_layer(
    config: Config,
    locations: Locations,
    plans: Sequence[MagPlan],
    layer: LayerProperties,
    dataset: StoredDataset | None,
    *,
    origin: ImageStack | RemoteDataset | None = None,
    discarded: Sequence[Mag] = (),
) -> LayerSurvey:
    """Find out what of `plans` (from fine to coarse) is still to be made.

    Mags that are made from no other come from `origin`. Mags that are read and not planned are looked up in `dataset`. What lies
    in `discarded` mags does not count.

    Raises:
        IntegrityError: a source has lost a shard, or one is damaged.
        ForeignMag: another tool has made a planned mag again, or written to it.
        MetadataError: the metadata of a planned mag's array are not those it was made with.
    """
    survey = LayerSurvey()
    states: dict[Mag, tuple[ArraySpec, MagState]] = {}
    for plan in plans:
        source: Source
        if plan.from_mag is None:
            assert origin is not None, "a mag without a finer one is converted from images, or downloaded"
            source, source_state = origin, MagState()
        else:
            if plan.from_mag not in states:
                assert dataset is not None, "only planned mags have no dataset to be found in"
                states[plan.from_mag] = _find(config, dataset, layer, plan.from_mag, survey)
            source, source_state = states[plan.from_mag]
        state, ledger = _made(plan, locations, source, source_state, plan.mag in discarded)
        if plan.mag in discarded:
            why = Reason.OVERWRITE if config.overwrite_existing else Reason.PARAMETERS if ledger else Reason.GONE
            state.pending = dict.fromkeys(state.pending, why)
        states[plan.mag] = (plan.spec, state)
        if state.adopted:
            survey.adopted[plan.layer, plan.mag] = state.adopted
        if state.gone:
            survey.notes.append(f"layer {plan.layer}, mag {plan.mag}: {state.gone} storage shards are gone and will be made again")
        survey.add_doubtful(plan.layer, plan.mag, plan.spec, state)
        every = plan.units()
        survey.stored[plan.layer, plan.mag] = _stored(state, len(every))
        units = [unit for unit in every if unit in state.pending]
        if units:
            causes = _Causes(plan, source, source_state, ledger)
            survey.reasons.append(reasons_of(plan.layer, plan.mag, plan.from_mag, every, state.pending, causes))
            survey.pending.append(PendingMag(plan, units, source, (config.batch_size or 1) if plan.from_mag is None else 1))
    return survey


@dataclass(frozen=True)
class _Causes:
    """Tells which units of the finer mag make a unit pending, as far as that is known."""

    plan: MagPlan
    source: Source
    state: MagState
    ledger: Ledger

    def __call__(self, unit: Position) -> Sequence[Position]:
        record = self.ledger.get(unit)
        if not isinstance(self.source, ArraySpec) or record is None:
            return ()
        state = self.state
        return [
            finer
            for finer in self.plan.source_units(unit, self.source)
            if finer in state.pending or finer in state.doubtful or state.written.get(finer, 0) > record.time_ns
        ]


def _stored(state: MagState, of_units: int) -> Stored:
    return Stored(state.stored_bytes, of_units - len(state.pending), state.filled, of_units, state.replaced_bytes)


def _made(plan: MagPlan, locations: Locations, source: Source, source_state: MagState, discarded: bool) -> tuple[MagState, Ledger]:
    def identity(unit: Position) -> str | None:
        if isinstance(source, ImageStack):
            return image_identity(plan, source, unit)
        if isinstance(source, RemoteDataset):
            return download_identity(plan)
        return source_identity(plan, unit, source, source_state.tokens)

    path = locations.array(plan.layer, plan.mag)
    exists = has_array(path) and not discarded
    array = planned_array(plan, locations) if exists else None
    ledger = Ledger.load(locations.ledger(plan.layer, plan.mag))
    if array is not None:
        _check_is_own(plan, locations, array, ledger)
    state = made_state(plan, array, ledger, identity, source_state)
    if state.foreign:
        raise foreign_units(locations, plan.layer, plan.mag, state.foreign)
    return state, ledger


def _check_is_own(plan: MagPlan, locations: Locations, array: StoredArray, ledger: Ledger) -> None:
    """Make sure that an array is the one that wkpipe made by this plan.

    Raises:
        ForeignMag: it is another one.
        MetadataError: it is that one, but its metadata are damaged.
    """
    recorded = recorded_identity(locations, plan.layer, plan.mag) or MagIdentity("", "", layout_of(plan.spec))
    found = identity_of_array(array.path, array.spec)
    if is_same_array(recorded, found, array.spec.data_format):
        return
    if not has_recorded_unit(array, ledger):
        raise foreign_mag(locations, plan.layer, plan.mag)
    if recorded.layout != found.layout:
        raise _other_metadata(locations, plan.layer, plan.mag, array)


def _other_metadata(locations: Locations, layer: str, mag: Mag, array: StoredArray) -> MetadataError:
    return MetadataError(
        f"layer {layer}, mag {mag}: the metadata of {array.path} have another layout than its storage shards were recorded with; "
        f"restore them, with `wkpipe verify {locations.dataset} --repair` if wkpipe made the mag"
    )


def _find(config: Config, dataset: StoredDataset, layer: LayerProperties, mag: Mag, survey: LayerSurvey) -> tuple[ArraySpec, MagState]:
    """Look at a mag that is there already."""
    entry = layer.mag(mag)
    array = dataset.open_mag(layer, entry)
    where = f"layer {layer.name}, mag {mag}"
    if isinstance(array, ConvertedArray):
        survey.notes.append(f"{where}: the array holds {array.stored.spec.dtype}, which is read as {layer.dtype} as elementClass says")
    ledger = Ledger.load(dataset.locations.ledger(layer.name, mag))
    if ledger.damaged_lines:
        survey.notes.append(f"{where}: {ledger.damaged_lines} damaged lines in the ledger were left out")
    recipe = load_recipe(dataset.locations, layer.name, mag)
    recorded = recorded_identity(dataset.locations, layer.name, mag)
    is_doubtful = False
    if is_replaced(recorded, array, ledger):
        if recipe is not None and not config.overwrite_existing:
            raise foreign_mag(dataset.locations, layer.name, mag)
        survey.notes.append(f"{where}: another tool has made the mag again; what is made from it will be made again")
        survey.forgotten.append((layer.name, mag))
        is_doubtful, ledger, recipe = was_replaced(array, ledger), Ledger({}), None
    elif recorded is not None and recorded.layout != layout_of(array.spec):
        raise _other_metadata(dataset.locations, layer.name, mag, array)
    units = units_in_box(layer, mag, array.spec)
    made = None if recipe is None else frozenset(recipe.units())
    state = found_state(array, ledger, units, where, config.missing_shards == "error", is_doubtful, made)
    if state.absent and not ledger:
        survey.notes.append(f"{where}: {state.absent} of {len(units)} storage shards have no file and count as empty")
    survey.add_doubtful(layer.name, mag, array.spec, state)
    if state.adopted:
        survey.adopted[layer.name, mag] = state.adopted
    survey.found.append(FoundMag(mag, array.path, array.spec))
    survey.stored[layer.name, mag] = _stored(state, len(units))
    return array.spec, state


def units_in_box(layer: LayerProperties, mag: Mag, spec: ArraySpec) -> list[Position]:
    """Return all units of an existing array that hold some of the layer's channels and that its box touches."""
    box = box_in_mag(layer.bounding_box(), mag)
    shape = spatial(spec, spec.unit_shape)
    first, last = box.topleft_xyz // shape, box.bottomright_xyz.ceildiv(shape)
    check_count(f"layer {layer.name}", last - first)
    cells = list(itertools.product(*(range(a, b) for a, b in zip(first, last, strict=True))))
    return units_at(spec, cells, Channels.of(layer, layer.mag(mag)))
