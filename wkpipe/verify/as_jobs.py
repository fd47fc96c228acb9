"""Verify and adopt as jobs of the workflow on a cluster, for datasets that are too large for one host.

A task is a part of the work (as ``--part 3/10``); its report is the content of its marker, and the main process puts the
reports together. Adopting goes from mag to mag, because the records of a mag refer to those of its source mag.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wkpipe.engine.budget import CUBE_BYTES
from wkpipe.errors import WkpipeError
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import BASE_BYTES, TASK_SECONDS, Sizing
from wkpipe.plan.cut.proving import proving_bytes
from wkpipe.plan.cut.task import VERIFY, Task
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.found import DoubtfulMag
from wkpipe.storage.lease import Epoch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import newest_epoch
from wkpipe.stored.locations import STATE_NAME
from wkpipe.verify.adopt import adopt_selection
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.mag import MagOnDisk, open_to_read
from wkpipe.verify.report import Kind, Problem, VerifyReport
from wkpipe.verify.select import Selection

VERIFY_RATE = 100e6
"""The stored bytes that a thread reads, compares and decodes in a second; used only to size tasks."""

DEEP_SECONDS = 8.0
"""How much longer a part takes if it is also computed again; used only to size tasks."""


def verify_plan(root: Path, state_dir: Path | None, selection: Selection, sizing: Sizing, adopt: bool = False) -> Plan:
    """Return the plan of a verification or an adoption as jobs.

    Raises:
        UnreadableInput, MetadataError: there is no dataset, or its properties are broken.
        LayerNotFound, MagNotFound: there is no such layer or mag.
    """
    dataset = open_to_read(root, state_dir)
    found = [(layer.name, entry.mag, _read(dataset, layer.name, entry.mag)) for layer, entry in selection.mags(dataset)]
    sizes = [0 if doubtful is None else sum(doubtful.units.values()) for _, _, doubtful in found]
    thread_bytes = 2 * CUBE_BYTES + max([proving_bytes(doubtful.spec) for _, _, doubtful in found if doubtful is not None], default=0)
    work = _TaskMaker(sizing, selection, adopt, thread_bytes)
    tasks: list[Task] = []
    if adopt:
        before: dict[str, tuple[str, ...]] = {}
        for (layer, mag, _), size in zip(found, sizes, strict=True):
            made = work.tasks(replace(selection, layer_name=layer, mag=mag), size, len(tasks), before.get(layer, ()))
            before[layer] = tuple(task.name for task in made)
            tasks += made
    else:
        tasks = work.tasks(selection, sum(sizes), 0, ())
    locations = dataset.locations
    return Plan(locations.dataset, locations.state, (), tuple(tasks), epoch=newest_epoch(locations), generations=locations.generations)


def _read(dataset: StoredDataset, layer_name: str, mag: Mag) -> DoubtfulMag | None:
    """Return the stored bytes of a mag's units; None if it cannot be opened, which the verification will report."""
    layer = dataset.layer(layer_name)
    try:
        opened = MagOnDisk.open(dataset, layer, layer.mag(mag))
        facts = {unit: opened.array.unit_facts(unit) for unit in opened.units}
    except WkpipeError:
        return None
    return DoubtfulMag(layer_name, mag, opened.array.spec, {unit: 0 if fact is None else fact.size for unit, fact in facts.items()})


class _TaskMaker:
    """Cut a selection into tasks."""

    def __init__(self, sizing: Sizing, selection: Selection, adopt: bool, thread_bytes: int) -> None:
        self._sizing, self._adopt = sizing, adopt
        self._threads = sizing.threads or 1
        self._mem_mb = math.ceil((BASE_BYTES + self._threads * thread_bytes) / 1e6)
        self._slower = DEEP_SECONDS if selection.deep else 1.0

    def tasks(self, selection: Selection, size: int, first: int, inputs: tuple[str, ...]) -> list[Task]:
        seconds = size * (selection.share or 1.0) * self._slower / VERIFY_RATE
        count = max(1, min(self._sizing.ranges_of(seconds), self._sizing.most_tasks))
        return [
            Task(
                name=f"verify-{first + index:05d}",
                rule=VERIFY,
                inputs=inputs,
                threads=self._threads,
                mem_mb=self._mem_mb,
                runtime_s=TASK_SECONDS + seconds / count / self._threads,
                selection={**_plain(replace(selection, part=(index + 1, count))), "adopt": self._adopt},
            )
            for index in range(count)
        ]


def _plain(selection: Selection) -> dict[str, Any]:
    values = asdict(selection)
    del values["only"]
    return values | {"mag": None if selection.mag is None else str(selection.mag)}


def _selection(values: Mapping[str, Any]) -> Selection:
    mag = values["mag"]
    return Selection(
        values["layer_name"], None if mag is None else Mag(mag), values["share"], values["seed"], tuple(values["part"]), values["deep"]
    )


def verify_task(plan: Plan, task: Task, epoch: Epoch) -> bytes:
    """Do a part of a verification or an adoption, and return the content of the task's marker."""
    assert task.selection is not None
    selection = _selection(task.selection)
    state_dir = None if plan.state == plan.dataset / STATE_NAME else plan.state.parent
    if task.selection["adopt"]:
        dataset = StoredDataset.open(plan.dataset, state_dir)
        return json.dumps({"adopted": adopt_selection(dataset, epoch, selection, task.threads)}).encode()
    report = verify_dataset(plan.dataset, state_dir=state_dir, selection=selection, threads=task.threads, is_job=True)
    return json.dumps({"report": asdict(report)}, default=str).encode()


# -- results --------------------------------------------------------------------------------------------------------


def adopted_count(markers: Sequence[bytes]) -> int:
    """Return the number of units that all tasks of an adoption have recorded."""
    return sum(int(json.loads(marker)["adopted"]) for marker in markers)


def whole_report(dataset: Path, markers: Sequence[bytes]) -> VerifyReport:
    """Return one report from the reports of all tasks."""
    parts = [json.loads(marker)["report"] for marker in markers]

    def total(key: str) -> int:
        return sum(part[key] for part in parts)

    return VerifyReport(
        dataset=dataset,
        mags=max(part["mags"] for part in parts),
        units=total("units"),
        all_units=max(part["all_units"] for part in parts),
        deep_units=total("deep_units"),
        bytes_read=total("bytes_read"),
        problems=tuple(dict.fromkeys(_problem(problem) for part in parts for problem in part["problems"])),
        notes=tuple(dict.fromkeys(note for part in parts for note in part["notes"])),
        only_decoded=total("only_decoded"),
    )


def _problem(values: Mapping[str, Any]) -> Problem:
    unit, path = values["unit"], values["path"]
    plain = {key: values[key] for key in ("layer", "mag", "shard", "what", "fix", "is_repairable")}
    return Problem(
        kind=Kind(values["kind"]), **plain, unit=None if unit is None else tuple(unit), path=None if path is None else Path(path)
    )
