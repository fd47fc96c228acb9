"""Prove doubtful units: read them and compare their digests; record digests of units that are read anyway.

A unit may have (docs/design/identity.md):

* the recorded content: its record gets the present stamp, and nothing made from it is made again;
* another content that decodes: in a mag that is only read, it is recorded as it is now. In a mag that wkpipe makes,
  another tool wrote it: it is recorded as written, and the gate of its layer stops the run;
* no content that decodes: it is damaged, and is made again if wkpipe can make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from wkpipe.engine.ordered import ordered_map
from wkpipe.errors import DamagedShard, MissingShard, TryAgain
from wkpipe.formats import open_array
from wkpipe.formats.base import Position, StoredArray, UnitProof, unit_name
from wkpipe.formats.waiting import read_each
from wkpipe.plan.cut.task import Range, Task
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.foreign import foreign_units
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import is_other_content
from wkpipe.storage.record import ADOPTED, DAMAGED, DIRTY, WRITTEN, Record, content_token

MOST_AT_ONCE: Final = 16
"""Source units whose proofs are completed at once if reading is slow; each reads little."""


def prove_task(plan: Plan, task: Task, epoch: Epoch, notify: Callable[[str], None]) -> None:
    """Prove the units of a task, and open the gates of its layers; `notify` gets notes for the user.

    Raises:
        DamagedShard, MissingShard: a unit that wkpipe cannot make is damaged or gone.
        ForeignMag: another tool has written units of a mag that wkpipe makes.
    """
    for mag_range in task.ranges:
        _prove_range(plan, mag_range, task, epoch, notify)
    for layer in task.layers:
        for mag_plan in plan.layer(layer).mags:
            _check_gate(plan, mag_plan)


def _check_gate(plan: Plan, mag_plan: MagPlan) -> None:
    ledger = Ledger.load(plan.locations.ledger(mag_plan.layer, mag_plan.mag))
    written = [unit for unit, record in ledger.records.items() if record.origin == WRITTEN and not record.proof.is_fill]
    if written:
        raise foreign_units(plan.locations, mag_plan.layer, mag_plan.mag, written)


def _prove_range(plan: Plan, mag_range: Range, task: Task, epoch: Epoch, notify: Callable[[str], None]) -> None:
    layer = plan.layer(mag_range.layer)
    found = next((found for found in layer.found if found.mag == mag_range.mag), None)
    if found is not None:
        array = open_array(found.place, found.spec.data_format, found.spec.axes, shape=found.spec.shape)
    else:
        array = planned_array(plan.mag_plan(mag_range.layer, mag_range.mag), plan.locations)
    ledger = Ledger.load(plan.locations.ledger(mag_range.layer, mag_range.mag), only=mag_range.units)
    where = f"layer {mag_range.layer}, mag {mag_range.mag}"
    records = plan.locations.records(mag_range.layer, mag_range.mag, plan.locations.scratch(epoch))
    with LedgerWriter(records, epoch.number, task.name) as writer:
        proofs = ordered_map(lambda unit: _proven(array, ledger.get(unit), unit, where, found is None), mag_range.units, task.threads)
        changed = 0
        for record in proofs:
            if record is not None:
                writer.add(record)
                before = ledger.get(record.unit)
                changed += before is not None and before.origin != DIRTY and is_other_content(before.proof, record.proof)
    if changed and found is not None:
        notify(f"{where}: {changed} storage shards changed since they were recorded; they are taken as they are now")


def _proven(array: StoredArray, record: Record | None, unit: Position, where: str, is_made: bool) -> Record | None:
    """Return the new record of a unit; None if its record is right, or if it is made again anyway."""
    name = f"{where}: storage shard {unit_name(unit)}"
    if record is not None and record.origin != DIRTY and record.matches(array.unit_facts(unit)):
        return None
    proof = array.prove_unit(unit)
    if proof is None:
        if is_made:
            return None
        raise MissingShard("vanished since this run began", where=name, fix="restore the file, and run the same command again")
    if record is not None and record.origin != DIRTY and record.proof.has_content_of(proof):
        return replace(record, proof=proof)
    if record is not None and is_made and record.origin != DIRTY and not is_other_content(record.proof, proof):
        return None  # recorded by a version whose checksum proves nothing: it is made again
    try:
        array.check_unit(unit)
    except DamagedShard as error:
        if is_made and record is not None:
            return replace(record, origin=DAMAGED)
        what = f"changed since it was recorded, and is damaged: {error.but(fix='')}"
        raise DamagedShard(what, where=name, fix=error.fix) from error
    is_written = is_made or (record is not None and record.origin in (WRITTEN, DIRTY))
    return Record(unit, WRITTEN if is_written else ADOPTED, proof, content_token(proof))


def check_content(array: StoredArray, record: Record, where: str, dataset: Path) -> None:
    """Refuse a unit of a source if its content is not the recorded one.

    Raises:
        DamagedShard: it is not.
    """
    found = array.prove_unit(record.unit)
    if found is None or is_other_content(record.proof, found):
        fix = f"restore it, or run `wkpipe verify {dataset} --repair`"
        raise DamagedShard("damaged: its content is not the recorded one", where=where, fix=fix)


class SourceDigests:
    """Digest the units of another tool's mag that a task has read, to distinguish later copies from changes.

    Each unit is digested once, by the task that makes the unit over its first voxel. What the task reads for its voxels is not read again
    (`StoredArray.note_reads`), unless that is too little of a unit or too large a table.
    """

    def __init__(
        self, plan: MagPlan, origin: FromOtherMag, source: StoredArray, proofs: Ledger, writer: LedgerWriter, threads: int
    ) -> None:
        self._plan, self._origin, self._source, self._threads = plan, origin, source, threads
        self._writer = writer
        self._unknown = {unit: record for unit, record in proofs.records.items() if not record.proof.is_known and record.origin != DIRTY}

    def begin(self, unit: Position) -> None:
        """Note what is read from now on to make a unit."""
        self._source.note_reads(self._read_for(unit))

    def record(self, unit: Position) -> None:
        """Record the digests of the source units of a unit that was just made.

        Raises:
            TryAgain: a source unit changed while it was being read.
        """
        units = self._read_for(unit)
        noted = read_each(self._source.proof_of_reads, units, MOST_AT_ONCE)
        self._writer.add(*ordered_map(lambda each: self._digested(*each), zip(units, noted, strict=True), self._threads))

    def _read_for(self, unit: Position) -> list[Position]:
        """Return the source units without a digest that belong to a unit."""
        under = self._origin.units_under(self._plan, unit, self._source.spec) if self._unknown else []
        return [source_unit for source_unit in under if source_unit in self._unknown]

    def _digested(self, unit: Position, noted: UnitProof | None) -> Record:
        """Return the record of a source unit; `noted` is the proof of what was read of it, if that is enough for one."""
        known = self._unknown.pop(unit)
        if noted is not None and noted.stamp == known.proof.stamp and not is_other_content(known.proof, noted):
            return replace(known, proof=noted)  # just the recorded files were read
        proof = self._source.prove_unit(unit)
        if proof is None or not known.matches(self._source.unit_facts(unit)) or is_other_content(known.proof, proof):
            name = f"layer {self._plan.layer}, mag {self._origin.mag}: storage shard {unit_name(unit)}"
            raise TryAgain("changed while it was being read", where=name, fix="run the same command again")
        return replace(known, proof=proof)
