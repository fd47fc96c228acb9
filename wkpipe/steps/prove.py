"""Prove doubtful units: read them, and let their digests decide what they are; record digests of units that are read anyway.

What a unit is found to be (docs/design/identity.md):

* the recorded content: its record gets the present stamp, and nothing that was made from it is made again;
* another content that decodes: in a mag that is only read, it is recorded as it is now. In a mag that wkpipe makes, somebody
  wrote it: it is recorded as written, and the gate of its layer refuses to go on;
* nothing that decodes: it is damaged, and is made again where wkpipe can make it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import DamagedShard, MissingShard, TryAgain
from wkpipe.formats import open_array
from wkpipe.formats.base import Position, StoredArray
from wkpipe.plan.foreign import foreign_units
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.plan import Plan
from wkpipe.plan.task import Part, Task
from wkpipe.steps.ordered import ordered_map
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import is_other_content
from wkpipe.storage.record import ADOPTED, DAMAGED, DIRTY, WRITTEN, Record, content_token
from wkpipe.stored.axes import spatial


def prove_task(plan: Plan, task: Task, epoch: Epoch, tell: Callable[[str], None]) -> None:
    """Prove the units of a task, and open the gates of its layers; `tell` says what the user is to know.

    Raises:
        DamagedShard, MissingShard: a unit that wkpipe cannot make is damaged or gone.
        ForeignMag: another tool has written units of a mag that wkpipe makes.
    """
    for part in task.parts:
        _prove_part(plan, part, task, epoch, tell)
    for layer in task.layers:
        for mag_plan in plan.layer(layer).mags:
            _check_gate(plan, mag_plan)


def _check_gate(plan: Plan, mag_plan: MagPlan) -> None:
    ledger = Ledger.load(plan.locations.ledger(mag_plan.layer, mag_plan.mag))
    written = [unit for unit, record in ledger.records.items() if record.origin == WRITTEN and not record.proof.is_fill]
    if written:
        raise foreign_units(plan.locations, mag_plan.layer, mag_plan.mag, written)


def _prove_part(plan: Plan, part: Part, task: Task, epoch: Epoch, tell: Callable[[str], None]) -> None:
    layer = plan.layer(part.layer)
    found = next((found for found in layer.found if found.mag == part.mag), None)
    if found is not None:
        array = open_array(found.path, found.spec.data_format, found.spec.axes, shape=found.spec.shape)
    else:
        array = planned_array(plan.mag_plan(part.layer, part.mag), plan.locations)
    directory = plan.locations.ledger(part.layer, part.mag)
    ledger = Ledger.load(directory, only=part.units)
    where = f"layer {part.layer}, mag {part.mag}"
    with LedgerWriter(directory, epoch.number, task.name) as writer:
        proofs = ordered_map(lambda unit: _proven(array, ledger.get(unit), unit, where, found is None), part.units, task.threads)
        changed = 0
        for record in proofs:
            if record is not None:
                epoch.check()
                writer.add(record)
                before = ledger.get(record.unit)
                changed += before is not None and before.origin != DIRTY and is_other_content(before.proof, record.proof)
    if changed and found is not None:
        tell(f"{where}: {changed} storage shards changed since they were recorded; they are taken as they are now")


def _proven(array: StoredArray, record: Record | None, unit: Position, where: str, is_made: bool) -> Record | None:
    """Return what is now known of a unit; None if its record holds, or if it is to be made again anyway."""
    name = f"{where}: storage shard {'.'.join(map(str, unit))}"
    if record is not None and record.origin != DIRTY and record.matches(array.unit_facts(unit)):
        return None
    proof = array.prove_unit(unit)
    if proof is None:
        if is_made:
            return None
        raise MissingShard(f"{name} vanished since this run began; restore the file, and run the same command again")
    if record is not None and record.origin != DIRTY and record.proof.has_content_of(proof):
        return replace(record, proof=proof)
    if record is not None and is_made and record.origin != DIRTY and not is_other_content(record.proof, proof):
        return None  # recorded by a version whose checksum proves nothing: it is made again
    try:
        array.check_unit(unit)
    except DamagedShard as error:
        if is_made and record is not None:
            return replace(record, origin=DAMAGED)
        raise DamagedShard(f"{name} changed since it was recorded, and is damaged: {error}") from error
    is_written = is_made or (record is not None and record.origin in (WRITTEN, DIRTY))
    return Record(unit, WRITTEN if is_written else ADOPTED, proof, content_token(proof))


class SourceDigests:
    """Digests the units of another tool's mag that a task has read, so that later copies and changes of them can be told apart.

    Each unit is digested by the task that makes what lies over its first voxel: once, and while the system still has it in memory.
    """

    def __init__(self, plan: MagPlan, source: StoredArray, ledger: Path, proofs: Ledger, epoch: Epoch, task: Task) -> None:
        self._plan, self._source, self._epoch, self._threads = plan, source, epoch, task.threads
        self._writer = LedgerWriter(ledger, epoch.number, f"{task.name}-source")
        self._unknown = {unit: record for unit, record in proofs.records.items() if not record.proof.is_known and record.origin != DIRTY}

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def record(self, unit: Position) -> None:
        """Record the digests of the source units under a unit that was just made.

        Raises:
            TryAgain: one has changed while it was being read.
        """
        mine = [source_unit for source_unit in self._under(unit) if source_unit in self._unknown] if self._unknown else []
        records = list(ordered_map(self._digested, mine, self._threads))
        if records:
            self._epoch.check()
            self._writer.add(*records)

    def _digested(self, unit: Position) -> Record:
        known = self._unknown.pop(unit)
        proof = self._source.prove_unit(unit)
        if proof is None or not known.matches(self._source.unit_facts(unit)) or is_other_content(known.proof, proof):
            name = f"layer {self._plan.layer}, mag {self._plan.from_mag}: storage shard {'.'.join(map(str, unit))}"
            raise TryAgain(f"{name} changed while it was being read; run the same command again")
        return replace(known, proof=proof)

    def _under(self, unit: Position) -> Iterator[Position]:
        """Yield the source units whose first voxel (in the trusted box) the unit is computed from, without a margin."""
        plan, spec = self._plan, self._source.spec
        assert plan.source_box is not None
        first, end = plan.unit_box(unit)
        for source_unit in plan.source_units(unit, spec):
            corner = (spatial(spec, source_unit) * spatial(spec, spec.unit_shape)).pairmax(plan.source_box[0])
            if all(a <= c < b for a, c, b in zip(first * plan.factors, corner, end * plan.factors, strict=True)):
                yield source_unit
