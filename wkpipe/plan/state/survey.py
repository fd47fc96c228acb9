"""Survey a layer: compare its planned mags with ledger and disk, from fine to coarse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wkpipe.errors import MetadataError
from wkpipe.formats import has_array
from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.formats.converted import ConvertedArray
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.state.foreign import foreign_mag, foreign_units
from wkpipe.plan.state.found import FoundMag, LayerSurvey, PendingMag, Stored
from wkpipe.plan.state.pending import MagState, found_state, made_state
from wkpipe.plan.state.reasons import Reason, reasons_of
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.plan.state.units import units_in_box
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.dataset import StoredDataset
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
from wkpipe.stored.published import content_of


def survey_layer(
    locations: Locations,
    plans: Sequence[MagPlan],
    layer: LayerProperties,
    dataset: StoredDataset | None,
    *,
    outside: Any = None,
    discarded: Sequence[Mag] = (),
    overwrite: bool = False,
    missing_is_error: bool = False,
    least_slices: int = 1,
) -> LayerSurvey:
    """Return the pending units of `plans` (from fine to coarse), and what was found.

    Mags that are made from no other mag come from `outside`, which their origin understands. Mags that are read and not
    planned are looked up in `dataset`. The data of `discarded` mags do not count. overwrite: mags are made again because the user
    wants it. missing_is_error: shards of other tools that have no file are refused. least_slices: see `PendingMag`.

    Raises:
        IntegrityError: a shard of a source is gone or damaged.
        ForeignMag: another tool has made a planned mag again, or written to it.
        MetadataError: the metadata of a planned mag's array are not those that it was made with.
    """
    survey = LayerSurvey()
    states: dict[Mag, tuple[ArraySpec, MagState]] = {}
    for plan in plans:
        source: Any = outside
        source_state = MagState()
        if plan.source_mag is not None:
            if plan.source_mag not in states:
                assert dataset is not None, "only planned mags have no dataset to be found in"
                states[plan.source_mag] = _find(dataset, layer, plan.source_mag, survey, overwrite, missing_is_error)
            source, source_state = states[plan.source_mag]
        state, ledger = _made(plan, locations, source, source_state, plan.mag in discarded)
        if plan.mag in discarded:
            why = Reason.OVERWRITE if overwrite else Reason.PARAMETERS if ledger else Reason.GONE
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
            survey.reasons.append(reasons_of(plan.layer, plan.mag, plan.source_mag, every, state.pending, causes))
            survey.pending.append(PendingMag(plan, units, source, least_slices if plan.source_mag is None else 1))
    if not survey.pending and not survey.doubtful:
        survey.contents = {mag: content_of(state.tokens) for mag, (_, state) in states.items()}
    return survey


@dataclass(frozen=True)
class _Causes:
    """Returns the units of the finer mag that make a unit pending, as far as they are known."""

    plan: MagPlan
    source: Any
    state: MagState
    ledger: Ledger

    def __call__(self, unit: Position) -> Sequence[Position]:
        record = self.ledger.get(unit)
        if record is None:
            return ()
        state = self.state
        return [
            finer
            for finer in self.plan.source_units(unit, self.source)
            if finer in state.pending or finer in state.doubtful or state.written.get(finer, 0) > record.time_ns
        ]


def _stored(state: MagState, of_units: int) -> Stored:
    return Stored(state.stored_bytes, of_units - len(state.pending), state.filled, of_units, state.replaced_bytes)


def _made(plan: MagPlan, locations: Locations, source: Any, source_state: MagState, discarded: bool) -> tuple[MagState, Ledger]:
    def identity(unit: Position) -> str | None:
        return plan.origin.inputs(plan, unit, source, source_state.tokens)

    exists = has_array(locations.array(plan.layer, plan.mag)) and not discarded
    array = planned_array(plan, locations) if exists else None
    ledger = Ledger.load(locations.ledger(plan.layer, plan.mag))
    if array is not None:
        _check_is_own(plan, locations, array, ledger)
    state = made_state(plan, array, ledger, identity, source_state)
    if state.foreign:
        raise foreign_units(locations, plan.layer, plan.mag, state.foreign)
    return state, ledger


def _check_is_own(plan: MagPlan, locations: Locations, array: StoredArray, ledger: Ledger) -> None:
    """Check that an array is the one that wkpipe made by this plan.

    Raises:
        ForeignMag: it is another array.
        MetadataError: it is the same array, but its metadata are damaged.
    """
    recorded = recorded_identity(locations, plan.layer, plan.mag) or MagIdentity("", "", layout_of(plan.spec))
    found = identity_of_array(array.place, array.spec)
    if is_same_array(recorded, found, array.spec.data_format):
        return
    if not has_recorded_unit(array, ledger):
        raise foreign_mag(locations, plan.layer, plan.mag)
    if recorded.layout != found.layout:
        raise _other_metadata(locations, plan.layer, plan.mag, array)


def _other_metadata(locations: Locations, layer: str, mag: Mag, array: StoredArray) -> MetadataError:
    return MetadataError(
        f"the metadata of {array.path} describe another layout than that of the recorded storage shards",
        where=f"layer {layer}, mag {mag}",
        fix=f"restore them, with `wkpipe verify {locations.dataset} --repair` if wkpipe made the mag",
    )


def _find(
    dataset: StoredDataset, layer: LayerProperties, mag: Mag, survey: LayerSurvey, overwrite: bool, missing_is_error: bool
) -> tuple[ArraySpec, MagState]:
    """Return the layout and the state of a mag that already exists."""
    entry = layer.mag(mag)
    array = dataset.open_mag(layer, entry)
    where = f"layer {layer.name}, mag {mag}"
    if isinstance(array, ConvertedArray):
        survey.notes.append(f"{where}: the array has dtype {array.stored.spec.dtype}, read as {layer.dtype} because of elementClass")
    ledger = Ledger.load(dataset.locations.ledger(layer.name, mag))
    if ledger.damaged_lines:
        survey.notes.append(f"{where}: {ledger.damaged_lines} damaged lines in the ledger were ignored")
    recipe = load_recipe(dataset.locations, layer.name, mag)
    recorded = recorded_identity(dataset.locations, layer.name, mag)
    is_doubtful = False
    if is_replaced(recorded, array, ledger):
        if recipe is not None and not overwrite:
            raise foreign_mag(dataset.locations, layer.name, mag)
        survey.notes.append(f"{where}: another tool has made the mag again; mags that are made from it will be made again")
        survey.forgotten.append((layer.name, mag))
        is_doubtful, ledger, recipe = was_replaced(array, ledger), Ledger({}), None
    elif recorded is not None and recorded.layout != layout_of(array.spec):
        raise _other_metadata(dataset.locations, layer.name, mag, array)
    units = units_in_box(layer, mag, array.spec)
    made = None if recipe is None else frozenset(recipe.units())
    state = found_state(array, ledger, units, where, missing_is_error, is_doubtful, made)
    if state.absent and not ledger:
        survey.notes.append(f"{where}: {state.absent} of {len(units)} storage shards have no file and count as empty")
    survey.add_doubtful(layer.name, mag, array.spec, state)
    if state.adopted:
        survey.adopted[layer.name, mag] = state.adopted
    survey.found.append(FoundMag(mag, array.path, array.spec))
    survey.stored[layer.name, mag] = _stored(state, len(units))
    return array.spec, state
