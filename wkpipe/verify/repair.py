"""Repair what verify found: metadata from the records in the state, storage shards by making them again as a run does.

Only the damaged units are made, and only from sound sources, by a plan that the workflow executes. Before that, they are
marked in the ledger under the run's lease, so an interrupted repair leaves no shard that looks proven.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec, Position, unit_name
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.images.options import CLOSE
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.grouping import group_tasks
from wkpipe.plan.layers.new_layers import target_of_conversion
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.origins.lineage import mags_sources_first
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.plan.state.copied import CopiedMag
from wkpipe.plan.state.found import FoundMag, PendingMag
from wkpipe.plan.state.recipe import load_conversion, load_images
from wkpipe.plan.wishes.conversion import added_layers_wish, check_conversion, conversion_wish
from wkpipe.plan.wishes.new_dataset import NewDataset
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.runs.permission import check_writable_state
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.record import DAMAGED
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.images_note import images_note
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import OnUnit, verify_dataset
from wkpipe.verify.mag import MagOnDisk, locations_to_read, open_to_read, recipes_of
from wkpipe.verify.rebuild import METADATA_KINDS, rebuild
from wkpipe.verify.report import Kind, Problem, VerifyReport
from wkpipe.verify.select import Selection

RunPlan = Callable[[Plan], object]
Say = Callable[[str], None]
Unit = tuple[str, Mag, Position]

MANY_LAYERS = 1 << 20
"""No limit of layers: how many the conversion made has been decided."""


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
    """Repair what a report calls repairable, verify it again and return the new report.

    `lookout` began before the report was made: if another run has worked since then, nothing is repaired. `run` executes a
    plan. What cannot be repaired is in the new report.

    Raises:
        TryAgain: another run works on the dataset.
        WkpipeError: a task of the repair failed.
    """

    def verified(again: Selection) -> VerifyReport:
        return verify_dataset(root, state_dir=state_dir, selection=again, threads=threads, on_unit=on_unit)

    locations = locations_to_read(Locations.of(root, state_dir))
    lookout = lookout or Lookout.begin(locations, break_lock)
    lookout.check()
    if _rebuild_all(locations, report, lambda: verified(replace(selection, only=())), break_lock, say):
        lookout = Lookout.begin(locations, break_lock)
        report = verified(selection)  # mags can be opened now, so their units can be checked
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
        affected.update(
            (mag_range.layer, mag_range.mag, unit) for task in refresh.tasks for mag_range in task.ranges for unit in mag_range.units
        )
    return verified(replace(selection, share=None, part=(1, 1), only=affected))


def _rebuild_all(locations: Locations, report: VerifyReport, look: Callable[[], VerifyReport], break_lock: bool, say: Say) -> bool:
    """Rebuild metadata until nothing repairable is left, because repairs reveal more; return True if any was rebuilt.

    `look` verifies metadata alone.
    """
    before: set[Problem] = set()
    while todo := {problem for problem in report.problems if problem.kind in METADATA_KINDS and problem.is_repairable}:
        if todo == before:  # nothing more can be done
            break
        rebuild(locations, report, break_lock, say)
        before, report = todo, look()
    return bool(before)


def _refreshing(root: Path, state_dir: Path | None, report: VerifyReport) -> Iterable[Config]:
    """Yield the configs that update the layers with stale mags or with mags that lost everything."""
    layers = dict.fromkeys(problem.layer for problem in report.problems if problem.kind in (Kind.STALE, Kind.LOST_MAG))
    dataset = open_to_read(root, state_dir)
    for name in layers:
        if any(problem.layer == name and problem.kind is Kind.UNIT and not problem.is_repairable for problem in report.problems):
            continue  # planning would treat a damaged source as a changed one
        lost = any(problem.layer == name and problem.kind is Kind.LOST_MAG for problem in report.problems)
        coarsest = max(entry.mag for entry in dataset.layer(name).mags)
        values = {"target": str(root), "layer_name": name, "coarsest_mag": str(coarsest), "repair": lost}
        yield load_config(values | ({"state_dir": str(state_dir)} if state_dir else {}), "repair")


class _UnitRepair:
    """Find the damaged units that can be made again, mark them, and plan to make them."""

    def __init__(self, dataset: StoredDataset, say: Say) -> None:
        self.dataset = dataset
        self.locations = dataset.locations
        self._say = say
        self._todo: dict[tuple[str, Mag], list[Position]] = {}
        self._damaged: set[Unit] = set()
        self._sources: dict[tuple[str, Mag] | None, tuple[str, NewDataset] | str] = {}

    def plan(self, problems: Iterable[Problem], sizing: Sizing) -> Plan | None:
        """Return the plan that makes all units that can be made; None if there are none. Nothing is written."""
        by_layer: dict[str, dict[Mag, list[Problem]]] = {}
        for problem in problems:
            by_layer.setdefault(problem.layer, {}).setdefault(Mag(problem.mag), []).append(problem)
        layers, pending = [], {}
        for name, mags in by_layer.items():
            layer_pending = []
            found: dict[Mag, FoundMag] = {}
            for mag in mags_sources_first(mags, recipes_of(self.dataset, self.dataset.layer(name))):
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
        tasks = group_tasks(pending, (), sizing)
        return Plan(self.locations.dataset, self.locations.state, tuple(layers), tasks, generations=self.locations.generations)

    def mark(self, lookout: Lookout) -> int:
        """Record the planned units as damaged, so that they are made again; return the number of this run.

        Raises:
            TryAgain: another run has worked on the dataset since `lookout` began.
        """
        check_writable_state(self.locations)
        with DatasetLease(self.locations, lookout.break_lock) as lease:
            lookout.check_lease(lease)
            for (layer, mag), units in self._todo.items():
                records = self.locations.records(layer, mag, self.locations.scratch(lease.epoch))
                ledger = Ledger.load(records)
                known = [record for unit in units if (record := ledger.get(unit)) is not None]
                with LedgerWriter(records, lease.epoch.number, "repair") as writer:
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
        recipe, origin = opened.recipe, opened.recipe.origin
        work = None
        if isinstance(origin, FromImages):
            work = self._converted(opened, recipe, origin, units, where)
        elif isinstance(origin, FromOtherMag):
            work = self._derived(opened, refreshed(recipe, origin, layer), origin.mag, units, where, found)
        elif isinstance(origin, FromArray):
            work = self._copied(opened, recipe, origin, units, where)
        if work is not None:
            self._say(f"{where}: {len(work.units)} of {len(units)} damaged storage shards are made again")
            self._todo[name, mag] = list(work.units)
            self._damaged.difference_update((name, mag, unit) for unit in work.units)
        return work

    def _derived(
        self, mag: MagOnDisk, plan: MagPlan, finer: Mag, units: list[Position], where: str, found: dict[Mag, FoundMag]
    ) -> PendingMag | None:
        try:
            source = self.dataset.open_mag(mag.layer, mag.layer.mag(finer))
        except WkpipeError as error:
            self._say(f"{where}: not repaired, its source cannot be opened: {error}")
            return None
        found[finer] = FoundMag(finer, source.path, source.spec)
        can, spec = [], source.spec
        for unit in (unit for unit in plan.units() if unit in set(units)):
            bad = self._damaged_source(plan, finer, unit, spec)
            if bad is None:
                can.append(unit)
            else:
                self._say(f"{where}: storage shard {unit_name(unit)} is not repaired: first repair {unit_name(bad)} of mag {finer}")
        return PendingMag(plan, can, spec) if can else None

    def _damaged_source(self, plan: MagPlan, finer: Mag, unit: Position, source: ArraySpec) -> Position | None:
        return next((u for u in plan.source_units(unit, source) if (plan.layer, finer, u) in self._damaged), None)

    def _converted(self, mag: MagOnDisk, plan: MagPlan, origin: FromImages, units: list[Position], where: str) -> PendingMag | None:
        source = self._source_of(plan)
        if isinstance(source, str):
            self._say(f"{where}: not repaired: {source}")
            return None
        images, wish = source
        stack = next((layer.source for layer in wish.layers if layer.plans[0].params == plan.params), None)
        if not isinstance(stack, ImageStack):
            self._say(f"{where}: not repaired: the images in {images} make another layer now")
            return None
        ledger = mag.load_ledger()
        there = set(plan.units())
        records = [record for unit, record in ledger.records.items() if unit in there and record.is_made_by(plan.params) and record.inputs]
        if not records:
            fix = "`wkpipe verify --adopt` records the files as they are, the original `wkpipe convert` command makes them again"
            self._say(f"{where}: not repaired: no record is left to show that the images are the same; {fix}")
            return None
        if any(record.inputs != origin.inputs(plan, record.unit, stack, {}) for record in records):
            self._say(f"{where}: not repaired: the images in {images} changed since they were converted")
            return None
        wanted = set(units)
        return PendingMag(plan, [unit for unit in plan.units() if unit in wanted], stack)

    def _copied(self, mag: MagOnDisk, plan: MagPlan, origin: FromArray, units: list[Position], where: str) -> PendingMag | None:
        wanted = [unit for unit in plan.units() if unit in set(units)]
        try:
            source = CopiedMag.of(origin)
            under = [each for unit in wanted for each in origin.units_under(plan, unit, source.array.spec)]
            content = source.content(list(dict.fromkeys(under)), source.ledger())
        except WkpipeError as error:
            self._say(f"{where}: not repaired, what it was copied from cannot be read: {error}")
            return None
        records, contents = mag.load_ledger().records, {plan.mag: content}
        can = [unit for unit in wanted if unit in records and records[unit].inputs == origin.inputs(plan, unit, contents, {})]
        for unit in sorted({*wanted} - {*can}):
            self._say(f"{where}: storage shard {unit_name(unit)} is not repaired: {source.where} changed since it was copied")
        return PendingMag(plan, can, contents) if can else None

    def _source_of(self, plan: MagPlan) -> tuple[str, NewDataset] | str:
        """Return the images of a mag and the wish of converting them now, or why that is not possible."""
        own = (plan.layer, plan.mag) if images_note(self.locations, plan.layer, plan.mag).is_there() else None
        if own not in self._sources:
            try:
                known = load_conversion(self.locations) if own is None else load_images(self.locations, *own)
                if known is None:
                    raise MetadataError("the source of its conversion is not recorded")
                self._sources[own] = known["source"], self._wish(known, own is not None)
            except (WkpipeError, KeyError, TypeError) as error:
                self._sources[own] = str(error)
        return self._sources[own]

    def _wish(self, known: Mapping[str, Any], is_added: bool) -> NewDataset:
        values = {
            "target": str(self.locations.dataset),
            "source": known["source"],
            "downsample": False,
            "missing_slices": CLOSE,
            "max_layers": MANY_LAYERS,
            **known["params"],
        }
        if not self.locations.is_inside:
            values["state_dir"] = str(self.locations.state.parent)
        config = load_config(values, str(self.locations.conversion))
        if is_added:
            check_conversion(config)
            return added_layers_wish(config, allow_several=True)
        target_of_conversion(config)  # refuses another conversion
        return conversion_wish(config)
