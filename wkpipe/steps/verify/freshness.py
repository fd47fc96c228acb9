"""Freshness: whether a mag that was made from a finer one still is what the finer one would give."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitFacts
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.pending import source_identity
from wkpipe.plan.pyramid import refreshed
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DAMAGED, DIRTY, Record
from wkpipe.stored.identity import is_replaced, recorded_identity


@dataclass(frozen=True)
class Freshness:
    """The recorded units of a derived mag that are stale, and how many can not be told: their source has no record."""

    stale: tuple[Position, ...] = ()
    unknown: int = 0


def freshness_of(recipe: MagPlan, layer: LayerProperties, ledger: Ledger, source: ArraySpec, tokens: Mapping[Position, str]) -> Freshness:
    """Compare what the units of a derived mag were made from with the `tokens` that the finer mag's units have now.

    Units without a record are not looked at. One that was written by hand counts as stale: a run replaces it.
    """
    plan = refreshed(recipe, layer)
    params, stale, unknown = plan.params, [], 0
    for unit in plan.units():
        record = ledger.get(unit)
        if record is None or record.origin in (DAMAGED, DIRTY):
            continue
        if not record.is_made_by(params):
            stale.append(unit)
            continue
        inputs = source_identity(plan, unit, source, tokens)
        if inputs is None:
            unknown += 1
        elif inputs != record.inputs:
            stale.append(unit)
    return Freshness(tuple(stale), unknown)


Tokens = Callable[[Ledger, StoredArray], Mapping[Position, str]]
"""Gives the tokens that the units of the finer mag have now, from its ledger and its array."""

_CHANGED = "changed"


def recorded_tokens(ledger: Ledger) -> dict[Position, str]:
    """Return the tokens of a mag's units as the ledger has them."""
    return {unit: record.token for unit, record in ledger.records.items()}


def seen_tokens(ledger: Ledger, array: StoredArray) -> dict[Position, str]:
    """Return the tokens of a mag's units, with another one for those whose files are plainly not the recorded ones."""
    return {unit: record.token if may_be_recorded(record, _facts_of(array, unit)) else _CHANGED for unit, record in ledger.records.items()}


def read_tokens(other: Collection[Position]) -> Tokens:
    """Give the tokens of units that were read: `other` have another content than recorded, which somebody may have meant.

    Files without a digest whose stamp is another one count as changed, too. What is damaged or gone does not: it is restored or
    made again as it was.
    """

    def tokens(ledger: Ledger, array: StoredArray) -> Mapping[Position, str]:
        found = recorded_tokens(ledger)
        for unit, record in ledger.records.items():
            is_unknown = not record.proof.is_known and not record.params
            if unit in other or (is_unknown and (facts := _facts_of(array, unit)) is not None and not record.matches(facts)):
                found[unit] = _CHANGED
        return found

    return tokens


def _facts_of(array: StoredArray, unit: Position) -> UnitFacts | None:
    return array.unit_facts(unit) if len(unit) == len(array.spec.axes) and min(unit) >= 0 else None


def may_be_recorded(record: Record, facts: UnitFacts | None) -> bool:
    """Tell, without reading, whether files with these facts can be the recorded ones.

    Other than `Record.matches` this lets another stamp pass where there is a digest: a copied dataset keeps its proofs.
    """
    if facts is None or not record.proof.is_known or record.proof.is_fill:
        return record.matches(facts)
    return (facts.files, facts.size) == (record.proof.files, record.proof.size)


def freshness(mag: MagOnDisk, ledger: Ledger, tokens: Tokens) -> Freshness | None:
    """Return which units of a derived mag are stale, by the `tokens` of the mag that it was made from; None if that cannot be opened."""
    assert mag.recipe is not None
    assert mag.recipe.from_mag is not None
    locations, name, finer = mag.dataset.locations, mag.layer.name, mag.recipe.from_mag
    try:
        source = mag.dataset.open_mag(mag.layer, mag.layer.mag(finer))
    except WkpipeError:  # reported where that mag itself is looked at
        return None
    known = Ledger.load(locations.ledger(name, finer))
    if is_replaced(recorded_identity(locations, name, finer), source, known):
        found: Mapping[Position, str] = dict.fromkeys(known.records, _CHANGED)
    else:
        found = tokens(known, source)
    try:
        return freshness_of(mag.recipe, mag.layer, ledger, source.spec, found)
    except MetadataError:  # the properties contradict the recipe, which is reported with the array's metadata
        return None
