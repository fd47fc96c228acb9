"""Verify: prove a dataset by itself, without a second copy of it. Nothing is written, so it may be read-only."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wkpipe.errors import MagNotFound, WkpipeError
from wkpipe.formats.base import Position
from wkpipe.geometry import Mag, MagLike
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.steps.ordered import ordered_map
from wkpipe.steps.verify_empty import shows_loss
from wkpipe.steps.verify_files import leftovers, live_run, stray_files
from wkpipe.steps.verify_freshness import freshness_of, recorded_tokens
from wkpipe.steps.verify_mag import MagOnDisk, open_to_read, refresh_command
from wkpipe.steps.verify_metadata import ends_with_partial_voxels, metadata_problems, missing_extent
from wkpipe.steps.verify_report import Problem, VerifyReport
from wkpipe.steps.verify_unit import UnitVerdict, unit_name, verify_unit
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.dataset import StoredDataset

OnUnit = Callable[[int, int], None]


def verify_dataset(
    root: Path,
    *,
    state_dir: Path | None = None,
    layer_name: str | None = None,
    mag: MagLike | None = None,
    threads: int = 1,
    on_unit: OnUnit | None = None,
) -> VerifyReport:
    """Prove all mags of a dataset, or of one layer, or those of one magnification.

    `on_unit` is called with the number of units done and of all.

    Raises:
        UnreadableInput: there is no dataset.
        MetadataError: its properties are broken.
        LayerNotFound, MagNotFound: there is no such layer or mag.
    """
    dataset = open_to_read(root, state_dir)
    verification = _Verification(dataset, threads, on_unit)
    mags = [opened for layer, entry in _chosen(dataset, layer_name, mag) if (opened := verification.open(layer, entry))]
    verification.total = sum(len(opened.units) for opened in mags)
    for opened in mags:
        verification.verify_mag(opened)
    verification.look_for_leftovers()
    return VerifyReport(
        dataset=dataset.locations.dataset,
        mags=verification.mags,
        units=verification.units,
        bytes_read=verification.bytes_read,
        problems=tuple(verification.problems),
        notes=tuple(verification.notes),
        only_decoded=verification.only_decoded,
    )


def _chosen(dataset: StoredDataset, layer_name: str | None, mag: MagLike | None) -> list[tuple[LayerProperties, MagProperties]]:
    """Return the mags to look at, in the order of the properties, each layer's from fine to coarse."""
    layers = dataset.properties.layers if layer_name is None else (dataset.layer(layer_name),)
    wanted = None if mag is None else Mag(mag)
    if wanted is not None and layer_name is not None:
        layers[0].mag(wanted)  # says which mags there are
    chosen = [
        (layer, entry)
        for layer in layers
        for entry in sorted(layer.mags, key=lambda entry: entry.mag.to_tuple())
        if wanted is None or entry.mag == wanted
    ]
    if wanted is not None and not chosen:
        there = ", ".join(dict.fromkeys(str(entry.mag) for layer in layers for entry in layer.mags)) or "none"
        raise MagNotFound(f"no layer of {dataset.locations.dataset} has a mag {wanted}; there are {there}")
    return chosen


@dataclass
class _Verification:
    """Collects what is found."""

    dataset: StoredDataset
    threads: int
    on_unit: OnUnit | None
    total: int = 0
    done: int = 0
    mags: int = 0
    units: int = 0
    only_decoded: int = 0
    bytes_read: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    # -- one mag ------------------------------------------------------------------------------------------------

    def open(self, layer: LayerProperties, entry: MagProperties) -> MagOnDisk | None:
        """Open a mag; None where that can not be done, which is a problem, or note, of its own."""
        if entry.path is not None and "://" in entry.path:
            self.notes.append(f"layer {layer.name}, mag {entry.mag}: {entry.path} is remote and was not verified")
            return None
        self.mags += 1
        where = f"layer {layer.name}, mag {entry.mag}: "
        try:
            return MagOnDisk.open(self.dataset, layer, entry)
        except WkpipeError as error:
            what, _, mend = str(error).removeprefix(where).partition("; ")
            mend = mend or f"restore {self.dataset.mag_path(layer, entry)} from a copy, or make the mag again with --overwrite-existing"
            self.problems.append(Problem(layer.name, str(entry.mag), "", what, mend))
            return None

    def verify_mag(self, mag: MagOnDisk) -> None:
        """Verify a mag's metadata, units, files, and whether it is up to date."""
        ledger = mag.load_ledger()
        for what in metadata_problems(mag):
            mend = f"restore the metadata of {mag.array.path}, or correct datasource-properties.json"
            self._problem(mag, "", what, mend)
        self._note_partial_voxels(mag)
        if ledger.damaged_lines:
            self._note(mag, f"{ledger.damaged_lines} lines of the ledger were cut short or damaged and do not count")
        self._verify_units(mag, ledger)
        self._verify_files(mag, ledger)
        self._verify_freshness(mag, ledger)

    def _verify_units(self, mag: MagOnDisk, ledger: Ledger) -> None:
        made = mag.is_made(ledger)
        units: Sequence[Position] = mag.units
        if not ledger and not made:
            # Of absent units, of which a foreign dataset may have many, there is nothing to look at.
            stored = set(mag.array.stored_units())
            units = [unit for unit in mag.units if unit in stored]
        absent, touched = len(mag.units) - len(units), 0
        self._advance(absent)
        for verdict in self._verdicts(mag, ledger, units, made):
            self.bytes_read += verdict.bytes_read
            absent += verdict.is_absent
            self.only_decoded += not (verdict.is_proven or verdict.is_absent)
            touched += verdict.is_touched
            if verdict.problem is not None:
                self.problems.append(verdict.problem)
            self._advance(1)
        self.units += len(mag.units)
        if touched:
            self._note(mag, f"{touched} storage shards have another mtime than recorded; there is no checksum to tell more")
        if made or not absent:
            return
        if absent == len(mag.units) and (finer := self._finer_that_shows_loss(mag)):
            what = f"found no storage shard at all, expected some because the finer mag {finer} has data that can not vanish in it"
            mend = refresh_command(self.dataset, mag.layer, overwrite=True)
            self._problem(mag, "", what, f"restore its files from a copy; or, if the finest mag is good, {mend}")
        else:
            self._note(mag, f"{absent} of {len(mag.units)} storage shards have no file and count as empty")

    def _verdicts(self, mag: MagOnDisk, ledger: Ledger, units: Sequence[Position], made: bool) -> Iterator[UnitVerdict]:
        return ordered_map(lambda unit: verify_unit(mag, unit, ledger.get(unit), made), units, self.threads)

    def _finer_that_shows_loss(self, mag: MagOnDisk) -> Mag | None:
        """Return the coarsest finer mag that has data, if these can not have come out as nothing at all in `mag`."""
        for entry in sorted(mag.layer.mags, key=lambda entry: entry.mag.to_tuple(), reverse=True):
            is_finer = entry.mag != mag.entry.mag and all(a <= b for a, b in zip(entry.mag, mag.entry.mag, strict=True))
            if not is_finer or (entry.path is not None and "://" in entry.path):
                continue
            try:
                array = self.dataset.open_mag(mag.layer, entry)
            except WkpipeError:  # reported where that mag itself is looked at
                continue
            if next(array.stored_units(), None) is not None:
                return entry.mag if shows_loss(array, mag.layer, entry.mag, mag.entry.mag) else None
        return None

    def _verify_files(self, mag: MagOnDisk, ledger: Ledger) -> None:
        made = mag.is_made(ledger)
        outside, strange, first = 0, 0, ""
        for file in stray_files(mag):
            if file.unit is not None and (not made or ledger.get(file.unit) is not None):
                outside += 1
            elif made:
                why = "belongs to no storage shard" if file.unit is None else "lies outside of the layer's box and is not recorded"
                what = f"found the unexpected file {file.path}, which {why}"
                self._problem(mag, file.shard, what, f"rm {shlex.quote(str(file.path))}")
            else:
                strange, first = strange + 1, first or file.key
        if outside:
            self._note(mag, f"{outside} files lie outside of the layer's box and were not verified")
        if strange:
            self._note(mag, f"{strange} files are not part of the array, as {first}")

    def _verify_freshness(self, mag: MagOnDisk, ledger: Ledger) -> None:
        if mag.recipe is None or mag.recipe.from_mag is None:
            return
        from_mag = mag.recipe.from_mag
        if not mag.is_derived:
            self._note(mag, f"it was made from mag {from_mag}, which is no longer there to compare with")
            return
        try:
            source = self.dataset.open_mag(mag.layer, mag.layer.mag(from_mag)).spec
        except WkpipeError:  # reported where that mag itself is looked at
            return
        tokens = recorded_tokens(Ledger.load(self.dataset.locations.ledger(mag.layer.name, from_mag)))
        fresh = freshness_of(mag.recipe, mag.layer, ledger, source, tokens)
        if fresh.stale:
            what = (
                f"found {len(fresh.stale)} of {len(mag.units)} storage shards stale, expected them made from what mag {from_mag} holds now"
            )
            self._problem(mag, unit_name(fresh.stale[0]), what, refresh_command(self.dataset, mag.layer))
        if fresh.unknown:
            self._note(mag, f"{fresh.unknown} storage shards may be stale or not: there is no record of their source, mag {from_mag}")

    # -- the whole dataset --------------------------------------------------------------------------------------

    def look_for_leftovers(self) -> None:
        """Report temporary files that no run is going to need any more."""
        locations = self.dataset.locations
        holder = live_run(locations)
        if holder is not None:
            self.notes.append(f"a run is under way ({holder}); what it changes meanwhile may show up as a problem")
            return
        count, size = leftovers(locations)
        if count:
            what = f"found {count} temporary files ({size} bytes) of runs that have ended in {locations.temporary}, expected none"
            self.problems.append(Problem("", "", "", what, f"rm -r {shlex.quote(str(locations.temporary))}"))

    def _note_partial_voxels(self, mag: MagOnDisk) -> None:
        if mag.recipe is None and (missing := missing_extent(mag)) and ends_with_partial_voxels(mag) and mag.entry.mag != Mag(1):
            self._note(mag, f"found an array of {', '.join(missing)}: it lacks voxels that the layer's box covers in part")

    def _problem(self, mag: MagOnDisk, shard: str, what: str, mend: str) -> None:
        self.problems.append(Problem(mag.layer.name, str(mag.entry.mag), shard, what, mend))

    def _note(self, mag: MagOnDisk, text: str) -> None:
        self.notes.append(f"layer {mag.layer.name}, mag {mag.entry.mag}: {text}")

    def _advance(self, units: int) -> None:
        self.done += units
        if self.on_unit is not None and units:
            self.on_unit(self.done, self.total)
