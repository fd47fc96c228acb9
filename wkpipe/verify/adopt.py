"""Adopt: record existing files with checksums if the ledger has lost its records or never had any."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import ArraySpec, Position, UnitProof
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.runs.permission import check_writable_state
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter, fold
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import ADOPTED, Record, content_token
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import identity_file, identity_of_array
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import OnUnit, verdicts
from wkpipe.verify.deep import deep_check
from wkpipe.verify.freshness import recorded_tokens
from wkpipe.verify.ledger import bad_lines
from wkpipe.verify.mag import MagOnDisk
from wkpipe.verify.neighbours import Neighbours
from wkpipe.verify.select import Selection
from wkpipe.verify.unit import UnitCheck

_BATCH = 64


def adopt_dataset(
    root: Path,
    *,
    state_dir: Path | None,
    selection: Selection,
    threads: int = 1,
    break_lock: bool = False,
    on_unit: OnUnit | None = None,
) -> int:
    """Record the units without a record or a checksum if their files are complete and decode; return their number.

    With `selection.deep`, units of derived mags are recorded only if their voxels are what their source gives. Units that
    have a record with a checksum are left alone: if their files differ, they are damaged.

    Raises:
        UnreadableInput, MetadataError: there is no dataset, or its properties are broken.
        TryAgain: another run works on the dataset.
    """
    locations = Locations.of(root, state_dir)
    with Lookout.begin(locations, break_lock).refusals_checked():
        dataset = StoredDataset.open(root, state_dir)
        list(selection.mags(dataset))
    check_writable_state(locations)
    with DatasetLease(locations, break_lock) as lease:
        return adopt_selection(dataset, lease.epoch, selection, threads, on_unit)


def adopt_selection(dataset: StoredDataset, epoch: Epoch, selection: Selection, threads: int = 1, on_unit: OnUnit | None = None) -> int:
    """Adopt under the lease of a run; see `adopt_dataset`."""
    locations, count = dataset.locations, 0
    for layer, entry in selection.mags(dataset):
        try:
            mag = MagOnDisk.open(dataset, layer, entry)
        except WkpipeError:  # verify reports it
            continue
        ledger = locations.ledger(layer.name, entry.mag)
        if mag.is_replaced:
            continue  # verify reports it, and how to drop its records
        work = _MagAdoption(mag, Ledger.load(ledger), selection, threads, on_unit)
        recorded = locations.records(layer.name, entry.mag, locations.scratch(epoch))
        with LedgerWriter(recorded, epoch.number, "adopted") as writer:
            for records in work.records():
                writer.add(*records)
                count += len(records)
        if selection.is_first_part:
            file = identity_file(locations, layer.name, entry.mag)
            if not file.is_there():
                file.put(identity_of_array(mag.array.place, mag.array.spec).to_bytes(), locations.scratch(epoch))
        if bad_lines(ledger).damaged and selection.part == (1, 1):
            fold(recorded, epoch.number)
    return count


@dataclass
class _MagAdoption:
    """Make the records of one mag."""

    mag: MagOnDisk
    ledger: Ledger
    selection: Selection
    threads: int
    on_unit: OnUnit | None

    def records(self) -> Sequence[Sequence[Record]]:
        mag, layer = self.mag, self.mag.layer.name
        chosen = self.selection.units(layer, mag.entry.mag, mag.units)
        # Units are shared out before records are looked at, because other jobs may be adding records.
        units = [chosen[index] for index in self.selection.of_this_part(len(chosen)) if self._lacks_proof(chosen[index])]
        deep = deep_check(mag, units) if self.selection.deep and units else None
        neighbours = Neighbours(mag)
        suspects = set(neighbours.suspects(set(mag.array.stored_units())))
        checks = (UnitCheck(mag, unit, None, must_be_recorded=False, deep=deep, prove=True) for unit in units)
        found, bytes_read = [], 0
        for done, verdict in enumerate(verdicts(checks, self.threads), 1):
            bytes_read += verdict.bytes_read
            if self.on_unit is not None:
                self.on_unit(done, len(units), bytes_read)
            if verdict.problem is not None:
                continue
            if verdict.proof is None and verdict.unit in suspects and neighbours.evidence_of_loss(verdict.unit) is not None:
                continue
            found.append(self._record(verdict.unit, verdict.proof or FILL))
        return [found[i : i + _BATCH] for i in range(0, len(found), _BATCH)]

    def _lacks_proof(self, unit: Position) -> bool:
        record = self.ledger.get(unit)
        if record is None:
            return True
        return not record.proof.is_known and record.matches(self.mag.array.unit_facts(unit))

    def _record(self, unit: Position, proof: UnitProof) -> Record:
        known = self.ledger.get(unit)
        if known is not None:
            return replace(known, proof=proof)  # the content is the same, so everything made from it stays up to date
        params, inputs = self._made_by(unit)
        return Record(unit, ADOPTED, proof, content_token(proof), params, inputs)

    def _made_by(self, unit: Position) -> tuple[str, str]:
        """Return the present parameters and inputs of a unit: the user declares that the files were made from these."""
        recipe = self.mag.recipe
        if recipe is None:
            return "", ""
        if not isinstance(recipe.origin, FromOtherMag) or not self.mag.is_derived:
            return recipe.params, ""
        plan, source = refreshed(recipe, recipe.origin, self.mag.layer), self._source
        return plan.params, "" if source is None else plan.origin.inputs(plan, unit, *source) or ""

    @functools.cached_property
    def _source(self) -> tuple[ArraySpec, Mapping[Position, str]] | None:
        """Return the array of the mag that this one is made from, and the tokens of its units."""
        recipe = self.mag.recipe
        if recipe is None or (finer := recipe.source_mag) is None:
            return None
        dataset, layer = self.mag.dataset, self.mag.layer
        try:
            spec = dataset.open_mag(layer, layer.mag(finer)).spec
        except WkpipeError:  # verify names it
            return None
        return spec, recorded_tokens(Ledger.load(dataset.locations.ledger(layer.name, finer)))
