"""SourceMag: the mag that units of another mag of its layer are made from, and the proof that it is sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from wkpipe.errors import MissingShard
from wkpipe.formats import open_array
from wkpipe.formats.base import Position, StoredArray, UnitProof, unit_name
from wkpipe.formats.converted import as_dtype
from wkpipe.plan.mag_plan import planned_array
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.steps.kept import Kept
from wkpipe.steps.prove import SourceDigests, check_content
from wkpipe.steps.unchanged import kept_part
from wkpipe.steps.work import Work
from wkpipe.storage.change import names_of_tokens
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.proof import UNKNOWN_CRC
from wkpipe.storage.record import Record


class SourceMag:
    """The mag from which the units of a work are made, with the records of those of its units that they need."""

    def __init__(self, work: Work, origin: FromOtherMag) -> None:
        plan = work.mag_plan
        self._work, self._origin = work, origin
        self.array = _source(work, origin)
        needed = {source_unit for unit in work.range.units for source_unit in plan.source_units(unit, self.array.spec)}
        ledger = work.locations.ledger(plan.layer, origin.mag)
        waiting = [record for record in work.shared.commits.noted(ledger) if record.unit in needed]
        self._proofs = Ledger.load(ledger, only=needed).with_newer(waiting)
        self._tokens = {unit: record.token for unit, record in self._proofs.records.items()}
        self._kept: dict[Position, Kept] = {}

    def find_kept(self) -> bool:
        """Find out which units need not be made again as a whole; True if there are any.

        Raises:
            MissingShard: a unit of the source mag has no proof.
        """
        for unit, inputs in self._pending.items():
            record = self._work.ledger.get(unit)
            if record is None or record.inputs == inputs:
                continue
            kept = kept_part(self._work, self._origin, record, self.array.spec, self._proofs.records)
            if kept is not None:
                self._kept[unit] = kept
        return bool(self._kept)

    def records(self, make: Callable[[Position, Kept | None], UnitProof], is_read: bool = True) -> Iterator[Record]:
        """Yield the record of each unit of the work that is not proven yet, when `make` has committed it.

        `make` also gets what is kept of the unit. `is_read` is False if the voxels are in memory, so that stored source units need
        no check.

        Raises:
            MissingShard: a unit of the source mag has no proof, is gone, or has changed.
            DamagedShard: a unit of the source mag has another content than recorded.
        """
        work, origin, plan = self._work, self._origin, self._work.mag_plan
        with work.records(origin.mag, f"{work.task.name}-source") as writer:
            digests = SourceDigests(plan, origin, self.array, self._proofs, writer, work.task.threads)
            work.begin(self._pending)
            for unit, inputs in self._pending.items():
                for source_unit in plan.source_units(unit, self.array.spec) if is_read else ():
                    self._check(source_unit)
                kept = self._kept.get(unit)
                digests.begin(unit)
                proof = make(unit, kept)
                digests.record(unit)
                work.shared.certain.add((plan.layer, plan.mag, unit))
                names = names_of_tokens([self._tokens[each] for each in plan.source_units(unit, self.array.spec)])
                yield replace(work.made(unit, proof, inputs), sources=names, changes=() if kept is None else kept.changes())

    @cached_property
    def _pending(self) -> dict[Position, str]:
        """Return the units that are not proven yet, each with the identity of its inputs.

        Raises:
            MissingShard: a unit of the source mag has no proof.
        """
        work, plan, found = self._work, self._work.mag_plan, {}
        for unit in work.range.units:
            inputs = self._origin.inputs(plan, unit, self.array.spec, self._tokens)
            if inputs is None:
                where = f"layer {plan.layer}, mag {self._origin.mag}"
                raise MissingShard(f"a storage shard that mag {plan.mag} needs has no proof", where=where, fix="run the same command again")
            if not work.is_proven(unit, inputs):
                found[unit] = inputs
        return found

    def _check(self, unit: Position) -> None:
        """Refuse to compute from a storage shard that is gone or damaged: absent files would read as zeros."""
        record, facts = self._proofs.records[unit], self.array.unit_facts(unit)
        where = f"layer {self._work.mag_plan.layer}, mag {self._origin.mag}: storage shard {unit_name(unit)}"
        if facts is None:
            if not record.proof.is_fill:
                expected = f"{record.proof.size} bytes as the ledger recorded"
                raise MissingShard(where=where, found="no file", expected=expected, fix="restore the file or make the mag again")
            return
        is_recorded = record.matches(facts)
        if not is_recorded and not record.proof.is_known:
            raise MissingShard("changed since this run began", where=where, fix="run the same command again")
        if not is_recorded or (not self.array.notices_damage and (record.proof.is_known or record.proof.crc32c != UNKNOWN_CRC)):
            self._check_content(record, where)

    def _check_content(self, record: Record, where: str) -> None:
        """Compare a source unit with its digest, because its stamp changed or its format does not notice damage when it decodes."""
        certain = self._work.shared.certain
        key = (self._work.mag_plan.layer, self._origin.mag, record.unit)
        if key in certain:
            return
        check_content(self.array, record, where, self._work.locations.dataset)
        certain.add(key)


def _source(work: Work, origin: FromOtherMag) -> StoredArray:
    for found in work.layer.found:
        if found.mag == origin.mag:
            array = open_array(found.place, found.spec.data_format, found.spec.axes, shape=found.spec.shape)
            return as_dtype(array, found.spec.dtype)
    return planned_array(work.plan.mag_plan(work.range.layer, origin.mag), work.locations)
