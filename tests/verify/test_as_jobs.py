"""Verifying and adopting as tasks of a workflow: together they find and record the same as one process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verify.helpers import data_files, ledger_directory, records_of
from wkpipe.plan.cost.resources import JobSlots, Sizing
from wkpipe.plan.cut.task import VERIFY, Task
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import Run
from wkpipe.storage.record import Record
from wkpipe.stored.locations import Locations
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.as_jobs import adopted_count, verify_plan, verify_task, whole_report
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.select import Selection

Copies = Callable[[str], Path]

MANY = Sizing.of(JobSlots(jobs=3, threads=2, range_seconds=1e-4))


def markers_of(plan: Plan) -> list[bytes]:
    with Run(plan).begun() as epoch:
        tasks = [Task.from_json(task.to_json()) for task in plan.tasks]
        return [verify_task(plan, task, epoch) for task in tasks]


@pytest.mark.parametrize("selection", [Selection(), Selection(share=0.5, seed=3), Selection(deep=True), Selection(layer_name="color")])
def test_the_parts_are_the_whole(dataset: Copies, selection: Selection) -> None:
    root = dataset("zarr3")
    damaged = data_files(root)[0]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    plan = verify_plan(root, None, selection, MANY)
    assert len(plan.tasks) >= 3
    assert {task.rule for task in plan.tasks} == {VERIFY}
    assert all(task.threads == 2 and 60 < task.mem_mb < 300 for task in plan.tasks)
    report = whole_report(root, markers_of(plan))
    alone = verify_dataset(root, selection=selection)
    assert set(report.problems) == set(alone.problems)
    if selection.share is None:
        assert report.problems
    assert replace(report, problems=(), notes=()) == replace(alone, problems=(), notes=())
    assert set(report.notes) == set(alone.notes)


def test_adopting_by_tasks_goes_from_fine_to_coarse(dataset: Copies) -> None:
    root = dataset("zarr3")
    expected = root.parent
    shutil.copytree(root, expected / "expected")
    for place in (root, expected / "expected"):
        for segment in (place / ".wkpipe" / "ledger").rglob("*.segment"):
            segment.unlink()
    count = adopt_dataset(expected / "expected", state_dir=None, selection=Selection())
    plan = verify_plan(root, None, Selection(), MANY, adopt=True)
    assert len(plan.tasks) > 3
    for task in plan.tasks:  # the records of a coarser mag refer to those of the finer
        assert task.selection is not None
        finer = [
            other.name
            for other in plan.tasks
            if other.selection is not None
            and other.selection["layer_name"] == task.selection["layer_name"]
            and other.selection["mag"] != task.selection["mag"]
            and other.name < task.name
        ]
        assert bool(task.inputs) == bool(finer)
        assert set(task.inputs) <= set(finer)
    assert adopted_count(markers_of(plan)) == count
    for directory in (root / ".wkpipe" / "ledger").glob("*/*"):
        layer, mag = directory.parent.name, directory.name
        found, wanted = (_without_stamps(records_of(place, layer, mag)) for place in (root, expected / "expected"))
        assert found == wanted
        assert found
        assert ledger_directory(root, layer, mag) == directory
    assert verify_dataset(root).is_sound


def _without_stamps(records: list[Record]) -> set[object]:
    return {(r.unit, r.origin, r.proof.size, r.proof.digest, r.token, r.params, r.inputs) for r in records}


def test_what_cannot_be_opened_is_still_reported(dataset: Copies) -> None:
    root = dataset("zarr3")
    next(root.glob("color/2*/zarr.json")).write_text("{")
    report = whole_report(root, markers_of(verify_plan(root, None, Selection(), MANY)))
    assert {str(problem) for problem in report.problems} == {str(problem) for problem in verify_dataset(root).problems}
    assert report.problems


def test_a_state_elsewhere(dataset: Copies, tmp_path: Path) -> None:
    root, states = dataset("zarr3"), tmp_path / "states"
    state = Locations.of(root, states).state
    state.parent.mkdir()
    (root / ".wkpipe").rename(state)
    os.utime(data_files(root)[0])
    plan = verify_plan(root, states, Selection(), MANY)
    assert plan.state == state
    report = whole_report(root, markers_of(plan))
    assert report.is_sound
    assert report.only_decoded == 0
