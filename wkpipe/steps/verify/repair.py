"""Repair what verify found: metadata from what the state knows, storage shards by making them again as a run does.

Just the damaged units are made, and only from sound sources: a plan of their own, which the workflow executes. Before,
they are marked in the ledger under the run's lease; so a repair that is interrupted leaves no shard that looks proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.conversion import Conversion, plan_conversion
from wkpipe.plan.grouping import PendingMag, group_tasks
from wkpipe.plan.mag_plan import CONVERT, MagPlan, image_identity
from wkpipe.plan.plan import FoundMag, LayerPlan, Plan
from wkpipe.plan.pyramid import refreshed
from wkpipe.plan.recipe import load_conversion
from wkpipe.plan.resources import Sizing
from wkpipe.steps.permission import check_writable_state
from wkpipe.steps.verify.dataset import OnUnit, verify_dataset
from wkpipe.steps.verify.mag import MagOnDisk, locations_to_read, open_to_read
from wkpipe.steps.verify.rebuild import METADATA_KINDS, rebuild
from wkpipe.steps.verify.report import Kind, Problem, VerifyReport
from wkpipe.steps.verify.select import Selection
from wkpipe.steps.verify.unit import unit_name
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.record import DAMAGED
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations

RunPlan = Callable[[Plan], object]
Say = Callable[[str], None]
Unit = tuple[str, Mag, Position]


def repair_dataset(
    root: Path,
    report: VerifyReport,
    selection: Selection,
    *,
    state_dir: Path | None,
    sizing: Sizing,
    run: RunPlan,
    break_lock: bool = False,
    threads: int = 1,
    on_unit: OnUnit | None = None,
    say: Say = lambda _: None,
    lookout: Lookout | None = None,
) -> VerifyReport:
    """Repair what a report says is repairable and return the report of verifying it again.

    `lookout` began before the report was made: if another run has worked since, nothing is repaired. `run` executes a plan.
    What can not be repaired stays in the report that is returned.

    Raises:
        TryAgain: another run works on the dataset.
        WkpipeError: a task of the repair has failed.
    """

    def verified(again: Selection) -> VerifyReport:
        return verify_dataset(root, state_dir=state_dir, selection=again, threads=threads, on_unit=on_unit)

    locations = locations_to_read(Locations.of(root, state_dir))
    lookout = lookout or Lookout.begin(locations, break_lock)
    lookout.check()
    if _rebuild_all(locations, report, lambda: verified(replace(selection, only=())), break_lock, say):
        lookout = Lookout.begin(locations, break_lock)
        report = verified(selection)  # now that mags can be opened, their units can be looked at
    affected = {
        (problem.layer, Mag(problem.mag), problem.unit)
        for problem in report.problems
        if problem.kind is Kind.UNIT and problem.unit is not None
    }
    unit_repair = _UnitRepair(open_to_read(root, state_dir), say)
    plan = unit_repair.plan([problem for problem in report.problems if problem.kind is Kind.UNIT], sizing)
    if plan is not None:
        run(replace(plan, epoch=unit_repair.mark(lookout)))
    for config in _refreshing(root, state_dir, report):
        refresh = make_plan(config, sizing)
        say(f"layer {config.layer_name}: {refresh.units_to_do} stale or lost storage shards are made again")
        run(refresh)
        affected.update((part.layer, part.mag, unit) for task in refresh.tasks for part in task.parts for unit in part.units)
    return verified(replace(selection, share=None, part=(1, 1), only=affected))


def _rebuild_all(locations: Locations, report: VerifyReport, look: Callable[[], VerifyReport], break_lock: bool, say: Say) -> bool:
    """Rebuild metadata, and what shows only when others can be read again; `look` verifies metadata alone. Return whether any were."""
    before: set[Problem] = set()
    while todo := {problem for problem in report.problems if problem.kind in METADATA_KINDS and problem.is_repairable}:
        if todo == before:  # nothing more can be done
            break
        rebuild(locations, report, break_lock, say)
        before, report = todo, look()
    return bool(before)


def _refreshing(root: Path, state_dir: Path | None, report: VerifyReport) -> Iterable[Config]:
    """Yield how the layers with stale mags, or with mags that lost everything, are brought up to date."""
    layers = dict.fromkeys(problem.layer for problem in report.problems if problem.kind in (Kind.STALE, Kind.LOST_MAG))
    dataset = open_to_read(root, state_dir)
    for name in layers:
        if any(problem.layer == name and problem.kind is Kind.UNIT and not problem.is_repairable for problem in report.problems):
            continue  # planning would take a damaged source for a changed one
        lost = any(problem.layer == name and problem.kind is Kind.LOST_MAG for problem in report.problems)
        coarsest = max(entry.mag for entry in dataset.layer(name).mags)
        values = {"target": str(root), "layer_name": name, "coarsest_mag": str(coarsest), "repair": lost}
        yield load_config(values | ({"state_dir": str(state_dir)} if state_dir else {}), "repair")


class _UnitRepair:
    """Finds out which damaged units can be made again, marks them, and plans that."""

    def __init__(self, dataset: StoredDataset, say: Say) -> None:
        self.dataset = dataset
        self.locations = dataset.locations
        self._say = say
        self._todo: dict[tuple[str, Mag], list[Position]] = {}
        self._damaged: set[Unit] = set()
        self._conversion: Conversion | str | None = None

    def plan(self, problems: Iterable[Problem], sizing: Sizing) -> Plan | None:
        """Return the plan that makes what can be made; None where nothing can. It writes nothing."""
        by_layer: dict[str, dict[Mag, list[Problem]]] = {}
        for problem in problems:
            by_layer.setdefault(problem.layer, {}).setdefault(Mag(problem.mag), []).append(problem)
        layers, pending = [], {}
        for name, mags in by_layer.items():
            layer_pending = []
            found: dict[Mag, FoundMag] = {}
            for mag in sorted(mags, key=lambda m: m.to_tuple()):
                units = [problem.unit for problem in mags[mag] if problem.unit is not None]
                work = self._work_of(name, mag, units, any(problem.is_repairable for problem in mags[mag]), found)
                if work is not None:
                    layer_pending.append(work)
            if layer_pending:
                plans = tuple(work.plan for work in layer_pending)
                stack = next((work.source.to_json() for work in layer_pending if isinstance(work.source, ImageStack)), None)
                planned = {plan.mag for plan in plans}
                layers.append(LayerPlan(name, plans, (), tuple(f for f in found.values() if f.mag not in planned), stack=stack))
                pending[name] = layer_pending
        if not layers:
            return None
        return Plan(self.locations.dataset, self.locations.state, tuple(layers), group_tasks(pending, (), sizing))

    def mark(self, lookout: Lookout) -> int:
        """Record that the planned units are damaged, so that they are made again; return the number of this run.

        Raises:
            TryAgain: another run has worked on the dataset since `lookout` began.
        """
        check_writable_state(self.locations)
        with DatasetLease(self.locations, lookout.break_lock) as lease:
            lookout.check_lease(lease)
            for (layer, mag), units in self._todo.items():
                directory = self.locations.ledger(layer, mag)
                ledger = Ledger.load(directory)
                known = [record for unit in units if (record := ledger.get(unit)) is not None]
                with LedgerWriter(directory, lease.epoch.number, "repair") as writer:
                    writer.add(*(replace(record, origin=DAMAGED) for record in known))
            return lease.epoch.number

    # -- one mag ------------------------------------------------------------------------------------------------

    def _work_of(self, name: str, mag: Mag, units: list[Position], is_repairable: bool, found: dict[Mag, FoundMag]) -> PendingMag | None:
        layer = self.dataset.layer(name)
        self._damaged.update((name, mag, unit) for unit in units)
        opened = MagOnDisk.open(self.dataset, layer, layer.mag(mag))
        if not is_repairable or opened.recipe is None:
            return None
        where = f"layer {name}, mag {mag}"
        if opened.recipe.kind == CONVERT:
            work = self._converted(opened, opened.recipe, units, where)
        else:
            work = self._derived(opened, refreshed(opened.recipe, layer), units, where, found)
        if work is not None:
            self._say(f"{where}: {len(work.units)} of {len(units)} damaged storage shards are made again")
            self._todo[name, mag] = list(work.units)
            self._damaged.difference_update((name, mag, unit) for unit in work.units)
        return work

    def _derived(self, mag: MagOnDisk, plan: MagPlan, units: list[Position], where: str, found: dict[Mag, FoundMag]) -> PendingMag | None:
        assert plan.from_mag is not None
        try:
            source = self.dataset.open_mag(mag.layer, mag.layer.mag(plan.from_mag))
        except WkpipeError as error:
            self._say(f"{where}: not repaired, its source can not be opened: {error}")
            return None
        found[plan.from_mag] = FoundMag(plan.from_mag, source.path, source.spec)
        can, spec = [], source.spec
        for unit in (unit for unit in plan.units() if unit in set(units)):
            bad = self._damaged_source(plan, unit, spec)
            if bad is None:
                can.append(unit)
            else:
                self._say(f"{where}: storage shard {unit_name(unit)} is not repaired: first repair {unit_name(bad)} of mag {plan.from_mag}")
        return PendingMag(plan, can, spec) if can else None

    def _damaged_source(self, plan: MagPlan, unit: Position, source: ArraySpec) -> Position | None:
        assert plan.from_mag is not None
        return next((u for u in plan.source_units(unit, source) if (plan.layer, plan.from_mag, u) in self._damaged), None)

    def _converted(self, mag: MagOnDisk, plan: MagPlan, units: list[Position], where: str) -> PendingMag | None:
        conversion = self._source_of_conversion()
        if isinstance(conversion, str):
            self._say(f"{where}: not repaired: {conversion}")
            return None
        at = next((i for i, finest in enumerate(conversion.finest) if finest.params == plan.params), None)
        if at is None:
            self._say(f"{where}: not repaired: the images in {conversion.target.identity['source']} make another layer now")
            return None
        stack, ledger = conversion.stacks[at], mag.load_ledger()
        there = set(plan.units())
        records = [record for unit, record in ledger.records.items() if unit in there and record.is_made_by(plan.params) and record.inputs]
        if not records:
            mend = "`wkpipe verify --adopt` records the files as they are, the `wkpipe convert` command of then makes them anew"
            self._say(f"{where}: not repaired: no record is left to tell that the images are the same; {mend}")
            return None
        if any(record.inputs != image_identity(plan, stack, record.unit) for record in records):
            self._say(f"{where}: not repaired: the images in {conversion.target.identity['source']} changed since they were converted")
            return None
        wanted = set(units)
        return PendingMag(plan, [unit for unit in plan.units() if unit in wanted], stack)

    def _source_of_conversion(self) -> Conversion | str:
        """Return what the dataset's images would make now, or why they make nothing."""
        if self._conversion is None:
            try:
                known = load_conversion(self.locations)
                if known is None:
                    raise MetadataError("it is not known from what it was converted")
                values = {"target": str(self.locations.dataset), "source": known["source"], "downsample": False, **known["params"]}
                if not self.locations.is_inside:
                    values["state_dir"] = str(self.locations.state.parent)
                self._conversion = plan_conversion(load_config(values, str(self.locations.conversion)))
            except (WkpipeError, KeyError, TypeError) as error:
                self._conversion = str(error)
        return self._conversion
