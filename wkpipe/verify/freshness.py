"""Freshness: find out whether a mag made from another one still is what that one gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitFacts
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DAMAGED, DIRTY, Record
from wkpipe.stored.identity import is_replaced, recorded_identity
from wkpipe.verify.mag import MagOnDisk


@dataclass(frozen=True)
class Freshness:
    """The recorded units of a derived mag that are stale, and the number of units that may be: their source has no record."""

    stale: tuple[Position, ...] = ()
    unknown: int = 0


def freshness_of(
    recipe: MagPlan, origin: FromOtherMag, layer: LayerProperties, ledger: Ledger, source: ArraySpec, tokens: Mapping[Position, str]
) -> Freshness:
    """Compare the recorded inputs of a derived mag's units with the present `tokens` of its source mag's units.

    Units without a record are left out. A unit that was written by hand counts as stale: a run replaces it.
    """
    plan = refreshed(recipe, origin, layer)
    params, stale, unknown = plan.params, [], 0
    for unit in plan.units():
        record = ledger.get(unit)
        if record is None or record.origin in (DAMAGED, DIRTY):
            continue
        if not record.is_made_by(params):
            stale.append(unit)
            continue
        inputs = plan.origin.inputs(plan, unit, source, tokens)
        if inputs is None:
            unknown += 1
        elif inputs != record.inputs:
            stale.append(unit)
    return Freshness(tuple(stale), unknown)


Tokens = Callable[[Ledger, StoredArray], Mapping[Position, str]]
"""A function that returns the present tokens of the source mag's units, from its ledger and its array."""

_CHANGED = "changed"


def recorded_tokens(ledger: Ledger) -> dict[Position, str]:
    """Return the recorded tokens of a mag's units."""
    return {unit: record.token for unit, record in ledger.records.items()}


def seen_tokens(ledger: Ledger, array: StoredArray) -> dict[Position, str]:
    """Return the tokens of a mag's units, with a new token for units with files that are clearly not the recorded ones."""
    return {unit: record.token if may_be_recorded(record, _facts_of(array, unit)) else _CHANGED for unit, record in ledger.records.items()}


def read_tokens(other: Collection[Position]) -> Tokens:
    """Return a function for the tokens of units that were read: `other` have another content than recorded, perhaps on purpose.

    Files without a digest and with another stamp count as changed too. Damaged or lost files do not: they are restored or
    made again as they were.
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
    """True if files with these facts can be the recorded ones; the files are not read.

    Unlike `Record.matches`, this allows another stamp if there is a digest: a copied dataset keeps its proofs.
    """
    if facts is None or not record.proof.is_known or record.proof.is_fill:
        return record.matches(facts)
    return (facts.files, facts.size) == (record.proof.files, record.proof.size)


def freshness(mag: MagOnDisk, ledger: Ledger, tokens: Tokens) -> Freshness | None:
    """Return the stale units of a derived mag, from the `tokens` of the mag it was made from; None if that mag cannot be opened."""
    recipe = mag.recipe
    if recipe is None or not isinstance(origin := recipe.origin, FromOtherMag):
        return None
    locations, name, finer = mag.dataset.locations, mag.layer.name, origin.mag
    try:
        source = mag.dataset.open_mag(mag.layer, mag.layer.mag(finer))
    except WkpipeError:  # the check of that mag reports it
        return None
    known = Ledger.load(locations.ledger(name, finer))
    if is_replaced(recorded_identity(locations, name, finer), source, known):
        found: Mapping[Position, str] = dict.fromkeys(known.records, _CHANGED)
    else:
        found = tokens(known, source)
    try:
        return freshness_of(recipe, origin, mag.layer, ledger, source.spec, found)
    except MetadataError:  # the properties contradict the recipe; the check of the array's metadata reports it
        return None
