"""Freshness: whether a mag that was made from a finer one still is what the finer one would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wkpipe.formats.base import ArraySpec, Position, UnitFacts
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.pending import UNKNOWN_CRC, source_identity
from wkpipe.plan.pyramid import refreshed
from wkpipe.storage.ledger import DAMAGED, DIRTY, Ledger, Record


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


def recorded_tokens(ledger: Ledger) -> dict[Position, str]:
    """Return the tokens of a mag's units as the ledger has them."""
    return {unit: record.token for unit, record in ledger.records.items()}


def tokens_on_disk(ledger: Ledger, facts_of: Callable[[Position], UnitFacts | None]) -> dict[Position, str]:
    """Return the tokens of a mag's units, with another one for those whose files are plainly not the recorded ones."""
    return {unit: record.token if may_be_recorded(record, facts_of(unit)) else "changed" for unit, record in ledger.records.items()}


def may_be_recorded(record: Record, facts: UnitFacts | None) -> bool:
    """Tell, without reading, whether files with these facts can be the recorded ones.

    Other than `Record.matches` this lets a new mtime pass where there is a checksum: a copied dataset keeps its proofs.
    """
    if facts is None or record.proof.is_fill or record.proof.crc32c == UNKNOWN_CRC:
        return record.matches(facts)
    return (facts.files, facts.size) == (record.proof.files, record.proof.size)
