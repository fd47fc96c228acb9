"""The step of `FromArray`: copy units from another layer or dataset, after its units were found sound.

Copies of what is stored take the chunks of a unit as they are, if both arrays store them alike; the facts in the source's record go
with them. Because such chunks are not decoded, the unit is first proven by its recorded digest, or all of it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from wkpipe.errors import TryAgain
from wkpipe.formats.base import Position, unit_name
from wkpipe.formats.unit_copy import copy_stored_unit, is_stored_alike, stores_alike
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.state.copied import CopiedMag
from wkpipe.steps.copy import copy_unit
from wkpipe.steps.prove import check_content
from wkpipe.steps.work import Work
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DIRTY, Record


def make_units(work: Work, origin: FromArray) -> Iterator[Record]:
    """Copy units, and yield the record of each when it is committed.

    Raises:
        MissingShard: the files of a source unit are gone.
        DamagedShard: a source unit has another content than recorded, or cannot be decoded.
        TryAgain: a source unit changed while it was read.
    """
    plan, mag = work.mag_plan, CopiedMag.of(origin)
    under = {unit: origin.units_under(plan, unit, mag.array.spec) for unit in work.range.units}
    source = _Source(mag, list(dict.fromkeys(each for units in under.values() for each in units)))
    takes_stored = origin.as_stored and stores_alike(mag.array, work.target)
    inputs_of = {unit: origin.inputs(plan, unit, {plan.mag: source.content}, {}) for unit in work.range.units}
    pending = {unit: inputs for unit, inputs in inputs_of.items() if not work.is_proven(unit, inputs)}
    work.begin(pending)
    for unit, inputs in pending.items():
        is_whole = takes_stored and origin.is_whole(plan, unit, mag.array.spec)
        if is_whole:
            source.check_sound([unit], is_decoded=False)  # first: what follows believes the headers of files
        if is_whole and is_stored_alike(mag.array, unit):
            proof = copy_stored_unit(mag.array, work.target, unit, work.scratch, work.on_voxels)
            source.check_unchanged([unit])
            yield replace(work.made(unit, proof, inputs, source.stats(unit)), encoder=source.encoder(unit))
            continue
        source.check_sound(under[unit])
        proof = copy_unit(plan, origin, mag.array, work.target, unit, work.task.threads, work.scratch, work.on_voxels, work.fork)
        source.check_unchanged(under[unit])
        yield work.made(unit, proof, inputs)


class _Source:
    """The units of a mag that a task copies, as they were when it began."""

    def __init__(self, mag: CopiedMag, units: Sequence[Position]) -> None:
        self._mag = mag
        self._facts = {unit: mag.array.unit_facts(unit) for unit in units}
        self._ledger: Ledger = mag.ledger(only=units)
        self.content = mag.content(units, self._ledger)
        self._certain: set[Position] = set()

    def stats(self, unit: Position) -> Mapping[str, int | float]:
        """Return the facts about a unit's voxels that its record has."""
        record = self._record(unit)
        return {} if record is None else record.stats

    def encoder(self, unit: Position) -> str:
        """Return what encoded a unit's chunks; empty if that is not known."""
        record = self._record(unit)
        return "" if record is None else record.encoder

    def _record(self, unit: Position) -> Record | None:
        """Return the record of a unit if it is valid."""
        record = self._ledger.get(unit)
        return None if record is None or record.origin == DIRTY or not record.matches(self._facts[unit]) else record

    def check_sound(self, units: Sequence[Position], is_decoded: bool = True) -> None:
        """Refuse units whose recorded digest is not that of their content, unless they are decoded and that notices it.

        Units without a digest that are not decoded later are decoded here.
        """
        for unit in units:
            record = self._record(unit)
            if record is None or not record.proof.digest:
                if not is_decoded and self._facts[unit] is not None:
                    self._mag.array.check_unit(unit)
                continue
            if (is_decoded and self._mag.array.notices_damage) or unit in self._certain:
                continue
            check_content(self._mag.array, record, self._name(unit), self._mag.stored.locations.dataset)
            self._certain.add(unit)

    def check_unchanged(self, units: Sequence[Position]) -> None:
        """Refuse what was copied from units that changed meanwhile."""
        for unit in units:
            if self._mag.array.unit_facts(unit) != self._facts[unit]:
                raise TryAgain("changed while it was being read", where=self._name(unit), fix="run the same command again")

    def _name(self, unit: Position) -> str:
        return f"{self._mag.where}: storage shard {unit_name(unit)}"
