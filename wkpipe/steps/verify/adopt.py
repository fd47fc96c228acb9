"""Adopt: record the files that are there, with checksums, where the ledger has lost its records or never had any."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import ArraySpec, Position, UnitProof
from wkpipe.plan.mag_plan import DOWNSAMPLE
from wkpipe.plan.pending import source_identity
from wkpipe.plan.pyramid import refreshed
from wkpipe.steps.permission import check_writable_state
from wkpipe.steps.verify.dataset import OnUnit, verdicts
from wkpipe.steps.verify.deep import deep_check
from wkpipe.steps.verify.freshness import recorded_tokens
from wkpipe.steps.verify.ledger import bad_lines
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.steps.verify.neighbours import Neighbours
from wkpipe.steps.verify.select import Selection
from wkpipe.steps.verify.unit import UnitCheck
from wkpipe.storage.commit import replace_file
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter, fold
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import ADOPTED, Record, content_token
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import identity_file, identity_of_array
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations

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
    """Record the units without a record, or without a checksum, whose files are all there and decode; return how many.

    With `selection.deep`, those of derived mags only if their voxels are what the finer mag gives. Units that have a
    record with a checksum are left alone: where their files differ, they are damaged.

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
    """Adopt under a lease that a run holds; see `adopt_dataset`."""
    locations, count = dataset.locations, 0
    for layer, entry in selection.mags(dataset):
        try:
            mag = MagOnDisk.open(dataset, layer, entry)
        except WkpipeError:  # verify names it
            continue
        directory = locations.ledger(layer.name, entry.mag)
        if mag.is_replaced:
            continue  # verify says so, and how its records are dropped
        work = _MagAdoption(mag, Ledger.load(directory), selection, threads, on_unit)
        with LedgerWriter(directory, epoch.number, "adopted") as writer:
            for records in work.records():
                epoch.check()
                writer.add(*records)
                count += len(records)
        if selection.is_first_part:
            path = identity_file(locations, layer.name, entry.mag)
            if not path.exists():
                replace_file(path, identity_of_array(mag.array.path, mag.array.spec).to_bytes(), locations.scratch(epoch))
        if bad_lines(directory).damaged and selection.part == (1, 1):
            fold(directory, epoch.number, locations.scratch(epoch))
    return count


@dataclass
class _MagAdoption:
    """Makes the records of one mag."""

    mag: MagOnDisk
    ledger: Ledger
    selection: Selection
    threads: int
    on_unit: OnUnit | None

    def records(self) -> Sequence[Sequence[Record]]:
        mag, layer = self.mag, self.mag.layer.name
        chosen = self.selection.units(layer, mag.entry.mag, mag.units)
        # Shared out before records are looked at: others may be adding some just now.
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
            return replace(known, proof=proof)  # the same content still, so what was made from it stays up to date
        params, inputs = self._made_by(unit)
        return Record(unit, ADOPTED, proof, content_token(proof), params, inputs)

    def _made_by(self, unit: Position) -> tuple[str, str]:
        """Return parameters and inputs of a unit, as they are now: the user says that the files were made from these."""
        recipe = self.mag.recipe
        if recipe is None:
            return "", ""
        if recipe.kind != DOWNSAMPLE or not self.mag.is_derived or recipe.from_mag is None:
            return recipe.params, ""
        plan, source = refreshed(recipe, self.mag.layer), self._source
        return plan.params, "" if source is None else source_identity(plan, unit, *source) or ""

    @functools.cached_property
    def _source(self) -> tuple[ArraySpec, Mapping[Position, str]] | None:
        """The finer mag that this one is made from: its array, and the tokens of its units."""
        recipe = self.mag.recipe
        if recipe is None or recipe.from_mag is None:
            return None
        dataset, layer = self.mag.dataset, self.mag.layer
        try:
            spec = dataset.open_mag(layer, layer.mag(recipe.from_mag)).spec
        except WkpipeError:  # verify names it
            return None
        return spec, recorded_tokens(Ledger.load(dataset.locations.ledger(layer.name, recipe.from_mag)))
