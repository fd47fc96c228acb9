"""Survey a layer: hold its planned mags against ledger and disk, from fine to coarse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.config import Config
from wkpipe.plan.grouping import PendingMag
from wkpipe.plan.mag_plan import MagPlan, check_count, image_identity, planned_array, units_at
from wkpipe.plan.pending import MagState, found_state, made_state, source_identity
from wkpipe.plan.plan import FoundMag
from wkpipe.storage.ledger import Ledger, Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset, box_in_mag
from wkpipe.stored.locations import Locations


@dataclass
class LayerSurvey:
    """What is to be done in one layer, and what was found there."""

    pending: list[PendingMag] = field(default_factory=list)
    found: list[FoundMag] = field(default_factory=list)
    adopted: dict[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def survey_layer(
    config: Config,
    locations: Locations,
    plans: Sequence[MagPlan],
    layer: LayerProperties,
    dataset: StoredDataset | None,
    *,
    images: ImageStack | None = None,
    discarded: Sequence[Mag] = (),
) -> LayerSurvey:
    """Find out what of `plans` (from fine to coarse) is still to be made.

    Mags that are read and not planned are looked up in `dataset`. What lies in `discarded` mags does not count.

    Raises:
        IntegrityError: a source has lost a shard, or one is damaged.
    """
    survey = LayerSurvey()
    states: dict[Mag, tuple[ArraySpec, MagState]] = {}
    for plan in plans:
        source: ArraySpec | ImageStack
        if plan.from_mag is None:
            assert images is not None, "a mag without a finer one is converted from images"
            source, source_state = images, MagState()
        else:
            if plan.from_mag not in states:
                assert dataset is not None, "only planned mags have no dataset to be found in"
                states[plan.from_mag] = _find(config, dataset, layer, plan.from_mag, survey)
            source, source_state = states[plan.from_mag]
        state = _made(plan, locations, source, source_state, plan.mag in discarded)
        states[plan.mag] = (plan.spec, state)
        if state.adopted:
            survey.adopted[plan.layer, plan.mag] = state.adopted
        if state.changed:
            survey.notes.append(
                f"layer {plan.layer}, mag {plan.mag}: {len(state.changed)} storage shards are gone or damaged and will be made again"
            )
        units = [unit for unit in plan.units() if unit in state.pending]
        if units:
            survey.pending.append(PendingMag(plan, units, source, (config.batch_size or 1) if plan.from_mag is None else 1))
    return survey


def _made(plan: MagPlan, locations: Locations, source: ArraySpec | ImageStack, source_state: MagState, discarded: bool) -> MagState:
    def identity(unit: Position) -> str | None:
        if isinstance(source, ImageStack):
            return image_identity(plan, source, unit)
        return source_identity(plan, unit, source, source_state.tokens)

    path = locations.array(plan.layer, plan.mag)
    exists = path.is_dir() and any(path.iterdir()) and not discarded
    array = planned_array(plan, locations) if exists else None
    return made_state(plan, array, Ledger.load(locations.ledger(plan.layer, plan.mag)), identity)


def _find(config: Config, dataset: StoredDataset, layer: LayerProperties, mag: Mag, survey: LayerSurvey) -> tuple[ArraySpec, MagState]:
    """Look at a mag that is there already."""
    entry = layer.mag(mag)
    array = dataset.open_mag(layer, entry)
    where = f"layer {layer.name}, mag {mag}"
    ledger = Ledger.load(dataset.locations.ledger(layer.name, mag))
    if ledger.damaged_lines:
        survey.notes.append(f"{where}: {ledger.damaged_lines} damaged lines in the ledger were left out")
    units = units_in_box(layer, mag, array.spec)
    state = found_state(array, ledger, units, where, config.missing_shards == "error")
    if state.absent and not ledger:
        survey.notes.append(f"{where}: {state.absent} of {len(units)} storage shards have no file and count as empty")
    if state.changed:
        survey.notes.append(
            f"{where}: {len(state.changed)} storage shards changed since they were recorded; what is made from them will be made again"
        )
    if state.adopted:
        survey.adopted[layer.name, mag] = state.adopted
    survey.found.append(FoundMag(mag, array.path, array.spec))
    return array.spec, state


def units_in_box(layer: LayerProperties, mag: Mag, spec: ArraySpec) -> list[Position]:
    """Return all units of an existing array that the layer's box touches."""
    box = box_in_mag(layer.bounding_box(), mag)
    shape = spatial(spec, spec.unit_shape)
    first, last = box.topleft_xyz // shape, box.bottomright_xyz.ceildiv(shape)
    check_count(f"layer {layer.name}", last - first)
    cells = list(itertools.product(*(range(a, b) for a, b in zip(first, last, strict=True))))
    return units_at(spec, cells)
