"""Verify: prove a dataset on its own, without a second copy. Nothing is written, so the dataset may be read-only."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wkpipe.engine.ordered import ordered_map
from wkpipe.errors import MetadataError, UnreadableInput, WkpipeError
from wkpipe.formats.base import Position, unit_name
from wkpipe.geometry import Mag, MagLike
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.store import COPY
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.places import place_at
from wkpipe.verify.deep import deep_check
from wkpipe.verify.files import leftovers, live_run
from wkpipe.verify.findings import Findings
from wkpipe.verify.ledger import copy_notes, state_damage
from wkpipe.verify.mag import MagOnDisk, locations_to_read, open_to_read, repair_command, verify_command, without_mag
from wkpipe.verify.mag_check import MagCheck, check_as_whole
from wkpipe.verify.metadata import group_problems
from wkpipe.verify.neighbours import Neighbours
from wkpipe.verify.report import Kind, Problem, VerifyReport
from wkpipe.verify.select import Selection
from wkpipe.verify.unit import Found, Piece, UnitCheck, UnitVerdict

OnUnit = Callable[[int, int, int], None]


def verify_dataset(
    root: Path,
    *,
    state_dir: Path | None = None,
    layer_name: str | None = None,
    mag: MagLike | None = None,
    selection: Selection | None = None,
    threads: int = 1,
    on_unit: OnUnit | None = None,
    is_job: bool = False,
) -> VerifyReport:
    """Prove a dataset, or the part of it that `selection` (or `layer_name` and `mag`) names.

    `on_unit` is called with the number of units done, the number of all units, and the bytes read so far. `is_job` is True in
    a job of a run, which does not report the run's own lease and temporary files.

    Raises:
        UnreadableInput: there is no dataset.
        MetadataError: its properties are broken, and the state has no copy of them.
        LayerNotFound, MagNotFound: there is no such layer or mag.
    """
    chosen = selection or Selection(layer_name, None if mag is None else Mag(mag))
    try:
        dataset = open_to_read(root, state_dir)
    except (MetadataError, UnreadableInput) as error:
        return _report_of_lost_properties(root, state_dir, error)
    return _Verification(dataset, chosen, threads, on_unit, is_job).run()


def _report_of_lost_properties(root: Path, state_dir: Path | None, error: WkpipeError) -> VerifyReport:
    """Return the report of unreadable properties; raise `error` if the state has no copy of them."""
    if not place_at(root).is_directory():
        raise error
    locations = locations_to_read(Locations.of(root, state_dir))
    if not locations.store.has(COPY):
        raise error
    what = str(error.but(fix=""))
    fix = verify_command(locations, None, None, "--repair") + " (which puts back what wkpipe wrote last)"
    problem = Problem(Kind.PROPERTIES, "", "", "", what, fix, True, path=locations.dataset / "datasource-properties.json")
    return VerifyReport(locations.dataset, problems=(problem,))


@dataclass
class _Verification:
    """Go through a dataset and collect the findings."""

    dataset: StoredDataset
    selection: Selection
    threads: int
    on_unit: OnUnit | None
    is_job: bool = False
    total: int = 0
    done: int = 0
    bare: int = 0
    mags: int = 0
    all_units: int = 0
    deep_units: int = 0
    only_decoded: int = 0
    bytes_read: int = 0
    newest_epoch: int = 0
    other: dict[tuple[str, Mag], set[Position]] = field(default_factory=dict)
    is_own: bool = False
    is_converted: bool = False

    def __post_init__(self) -> None:
        self.findings = Findings(self.dataset)

    def run(self) -> VerifyReport:
        checks = self._share([check for layer, entry in self.selection.mags(self.dataset) if (check := self._opened(layer, entry))])
        self.total = sum(len(check.units) for check in checks)
        for check in checks:
            if check.as_whole:
                check_as_whole(check, self.findings, self._changed_source(check.mag))
                check.empty += check.bare
                self.bare += check.bare
            self._check_units(check)
        if self.selection.is_first_part:
            self._check_dataset()
        return VerifyReport(
            dataset=self.dataset.locations.dataset,
            mags=self.mags,
            units=self.total + self.bare,
            all_units=self.all_units,
            deep_units=self.deep_units,
            bytes_read=self.bytes_read,
            problems=tuple(self.findings.problems),
            notes=tuple(self.findings.notes),
            only_decoded=self.only_decoded,
        )

    # -- selection ----------------------------------------------------------------------------------------------

    def _opened(self, layer: LayerProperties, entry: MagProperties) -> MagCheck | None:
        """Open a mag; if it cannot be opened, report a problem or a note and return None."""
        if entry.is_remote:
            self.findings.notes.append(f"layer {layer.name}, mag {entry.mag}: {entry.path} is remote and was not verified")
            return None
        self.mags += 1
        try:
            mag = MagOnDisk.open(self.dataset, layer, entry)
        except WkpipeError as error:
            self.findings.problems.append(self._unopened(layer, entry, error))
            return None
        ledger = mag.load_ledger()
        self.newest_epoch = max([self.newest_epoch, *(record.epoch for record in ledger.records.values())])
        self.is_own |= mag.recipe is not None
        self.is_converted |= mag.is_converted_with_dataset
        self.all_units += len(mag.units)
        units, neighbours = list(mag.units), None
        if not mag.is_made(ledger):
            neighbours = Neighbours(mag)
            stored = set(mag.array.stored_units())
            known = stored | set(ledger.records)
            # Other tools' datasets may have many absent units; only those with data around them are looked at.
            units = sorted({unit for unit in mag.units if unit in known} | set(neighbours.suspects(stored)))
        return MagCheck(
            mag,
            ledger,
            units,
            as_whole=True,
            neighbours=neighbours,
            bare=len(mag.units) - len(units),
            shows_changes=self.selection.is_whole and self.selection.mag is None,
        )

    def _unopened(self, layer: LayerProperties, entry: MagProperties, error: WkpipeError) -> Problem:
        what, fix = str(without_mag(error, layer, entry).but(fix="")), error.fix
        kind, is_repairable = Kind.ARRAY, True
        try:
            if load_recipe(self.dataset.locations, layer.name, entry.mag) is None:
                records = Ledger.load(self.dataset.locations.ledger(layer.name, entry.mag)).records.values()
                is_repairable = any(record.params for record in records)
                kind = Kind.RECIPE if is_repairable else Kind.ARRAY
        except MetadataError:
            kind = Kind.RECIPE
        if is_repairable:
            fix = repair_command(self.dataset, layer.name, entry.mag)
        else:
            fix = (
                fix or f"restore {self.dataset.mag_place(layer, entry).path()} from a copy, or make the mag again with --overwrite-existing"
            )
        return Problem(kind, layer.name, str(entry.mag), "", what, fix, is_repairable)

    def _share(self, checks: list[MagCheck]) -> list[MagCheck]:
        """Keep the units of the sample that are in this part; checking a mag as a whole counts like a unit."""
        for check in checks:
            layer, mag = check.mag.layer.name, check.mag.entry.mag
            check.units = self.selection.units(layer, mag, check.units)
            check.deep_units = self.selection.deep_units(layer, mag, check.units)
        mine = self.selection.of_this_part(sum(1 + len(check.units) for check in checks))
        at = 0
        for check in checks:
            check.as_whole = at in mine
            first, at = at + 1, at + 1 + len(check.units)
            check.units = check.units[max(0, mine.start - first) : max(0, mine.stop - first)]
        return checks

    def _changed_source(self, mag: MagOnDisk) -> set[Position]:
        """Return the changed units of the mag that this one was made from, which is checked first."""
        finer = None if mag.recipe is None else mag.recipe.source_mag
        return set() if finer is None else self.other.get((mag.layer.name, finer), set())

    # -- units --------------------------------------------------------------------------------------------------

    def _check_units(self, check: MagCheck) -> None:
        mag = check.mag
        deep_units = [unit for unit in check.units if unit in check.deep_units]
        if deep_units:
            check.deep = deep_check(mag, deep_units)
            if check.deep is not None:
                self.deep_units += len(deep_units)
            elif mag.recipe is None and any(entry.mag < mag.entry.mag for entry in mag.layer.mags):
                self.findings.note(mag, "it could not be computed again: no known way of downsampling gives it from a finer mag")
        for verdict in verdicts((check.check(unit) for unit in check.units), self.threads):
            self._note(check, verdict)
            self._advance(1)
        if check.touched:
            self.findings.note(
                mag, f"{check.touched} storage shards have another mtime than recorded; there is no checksum to compare with"
            )
        if check.written:
            self.findings.note(mag, f"{check.written} storage shards were written since they were recorded")
        if check.empty:
            self.findings.note(mag, f"{check.empty} of {len(mag.units)} storage shards have no file and count as empty")

    def _note(self, check: MagCheck, verdict: UnitVerdict) -> None:
        self.bytes_read += verdict.bytes_read
        check.touched += verdict.is_touched
        check.written += verdict.is_written and verdict.problem is None
        if verdict.is_other:
            self.other.setdefault((check.mag.layer.name, check.mag.entry.mag), set()).add(verdict.unit)
        if verdict.problem is not None:
            self.findings.problems.append(verdict.problem)
        elif verdict.is_absent and check.neighbours is not None and not check.is_made:
            self._check_absent(check, verdict.unit)
        elif not verdict.is_proven:
            self.only_decoded += 1

    def _check_absent(self, check: MagCheck, unit: Position) -> None:
        mag = check.mag
        assert check.neighbours is not None
        what = None if check.lost_against is not None else check.neighbours.evidence_of_loss(unit)
        if what is not None:
            layer, level = mag.layer.name, str(mag.entry.mag)
            self.findings.problems.append(Problem(Kind.UNIT, layer, level, unit_name(unit), what, mag.fix_of_unit(), unit=unit))
        else:
            check.empty += 1

    # -- the whole dataset --------------------------------------------------------------------------------------

    def _check_dataset(self) -> None:
        locations = self.dataset.locations
        for damage in state_damage(locations, self.newest_epoch, self.is_converted):
            self.findings.state_problem(damage)
        for path, what in group_problems(self.dataset, self.is_own):
            self.findings.problems.append(Problem(Kind.GROUP, "", "", "", what, repair_command(self.dataset), True, path=path))
        self.findings.notes += copy_notes(locations)
        if self.is_job:
            return
        holder = live_run(locations)
        if holder:
            self.findings.notes.append(f"a run is under way ({holder}); what it changes meanwhile may show up as a problem")
            return
        count, size = leftovers(locations)
        if count:
            what = f"found {count} temporary files ({size} bytes) of runs that have ended in {locations.temporary}, expected none"
            fix = f"rm -r {shlex.quote(str(locations.temporary))}"
            self.findings.problems.append(Problem(Kind.LEFTOVER, "", "", "", what, fix, True, path=locations.temporary))

    def _advance(self, units: int) -> None:
        self.done += units
        if self.on_unit is not None and units:
            self.on_unit(self.done, self.total, self.bytes_read)


def verdicts(checks: Iterable[UnitCheck], threads: int) -> Iterator[UnitVerdict]:
    """Run the pieces of all checks side by side, few at a time, and yield the verdicts in the order of the checks."""

    def work(item: tuple[UnitCheck, Piece | None]) -> tuple[UnitCheck, Found, bool]:
        check, piece = item
        return check, None if piece is None else piece(), piece is None

    def pieces() -> Iterator[tuple[UnitCheck, Piece | None]]:
        for check in checks:
            yield from ((check, piece) for piece in check.pieces())
            yield check, None

    found: list[Found] = []
    for check, result, is_end in ordered_map(work, pieces(), threads):
        if is_end:
            yield check.verdict(found)
            found = []
        else:
            found.append(result)
