"""Plan: all that a run will do, as a value; stored as files that jobs load only their share of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.errors import UsageError
from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.reasons import MagReasons
from wkpipe.plan.space import Need
from wkpipe.plan.spec_json import spec_from_json, spec_to_json
from wkpipe.plan.task import PROVE, PUBLISH, Task
from wkpipe.plan.upload import request_from_json, request_to_json
from wkpipe.server.remote import RemoteDataset
from wkpipe.server.request import Uploaded, UploadRequest
from wkpipe.storage.record import Record
from wkpipe.storage.seal import Seal
from wkpipe.stored.locations import Locations

PLAN_FILE = "plan.json"
LAYERS_FILE = "layers.jsonl"
TASKS_FILE = "tasks.jsonl"


@dataclass(frozen=True)
class FoundMag:
    """A mag that is there already and is only read; `path` is absolute."""

    mag: Mag
    path: Path
    spec: ArraySpec

    def to_json(self) -> dict[str, Any]:
        return {"mag": self.mag.to_list(), "path": str(self.path), "spec": spec_to_json(self.spec)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FoundMag:
        return cls(Mag(values["mag"]), Path(values["path"]), spec_from_json(values["spec"]))


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer.

    `found` are the mags that are only read. `new` holds the layer's properties (JSON of datasource-properties.json,
    without mags) where it is made now, else None; `stack` the images that it is converted from. `publish` names
    the mags to be made visible. Where there are `discarded` ones, these are made beside them and then take their place;
    with nothing to publish, an earlier run has begun with that and it is only to be ended.
    """

    name: str
    mags: tuple[MagPlan, ...]
    publish: tuple[Mag, ...]
    found: tuple[FoundMag, ...] = ()
    new: Mapping[str, Any] | None = None
    stack: Mapping[str, Any] | None = None
    discarded: tuple[Mag, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mags": [mag.to_json() for mag in self.mags],
            "publish": [mag.to_list() for mag in self.publish],
            "found": [found.to_json() for found in self.found],
            "new": self.new,
            "stack": self.stack,
            "discarded": [mag.to_list() for mag in self.discarded],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LayerPlan:
        return cls(
            name=values["name"],
            mags=tuple(MagPlan.from_json(mag) for mag in values["mags"]),
            publish=tuple(Mag(mag) for mag in values["publish"]),
            found=tuple(FoundMag.from_json(found) for found in values["found"]),
            new=values["new"],
            stack=values["stack"],
            discarded=tuple(Mag(mag) for mag in values["discarded"]),
        )


@dataclass(frozen=True)
class Preparation:
    """What the main process does once, under the run's lease, before the first job.

    `adopted` are ledger records of units that were found in place, by layer and mag; `reset` the mags whose leftovers
    (of other parameters, never published) are removed; `unpublish` those that are taken out of the properties first;
    `forgotten` are the mags whose records are dropped first, as another tool has made them again; `remove_target` tells
    that the whole target is deleted (``--overwrite-existing`` of convert).
    """

    adopted: Mapping[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    reset: tuple[tuple[str, Mag], ...] = ()
    unpublish: tuple[tuple[str, Mag], ...] = ()
    forgotten: tuple[tuple[str, Mag], ...] = ()
    remove_target: bool = False


@dataclass(frozen=True)
class Plan:
    """All that a run will do.

    `dataset` and `state` are absolute paths; `new_dataset` has the properties of one that is made. `epoch` is that of the
    newest run before planning began, `working` the token of a run that was at work then: where it is another one by now, or
    that one has ended, what was found may not hold any more. A plan that
    was loaded for a single task has just the layers of that task; `layer_order` names them all. `reasons` tell why units are
    pending, `space` what they will take on the dataset's disk (None: not asked for); neither is stored. `upload` tells what is
    uploaded where; `uploaded` that it is there already, as it is now, so that nothing is to be done. `download` is the dataset that
    mags are downloaded from.
    """

    dataset: Path
    state: Path
    layers: tuple[LayerPlan, ...]
    tasks: tuple[Task, ...]
    new_dataset: Mapping[str, Any] | None = None
    conversion: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    preparation: Preparation = field(default_factory=Preparation)
    epoch: int = 0
    working: str = ""
    layer_order: tuple[str, ...] = ()
    reasons: tuple[MagReasons, ...] = ()
    space: Need | None = None
    upload: UploadRequest | None = None
    uploaded: Uploaded | None = None
    download: RemoteDataset | None = None

    def __post_init__(self) -> None:
        if not self.layer_order:
            object.__setattr__(self, "layer_order", tuple(layer.name for layer in self.layers))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.tasks

    @property
    def locations(self) -> Locations:
        """Where things lie; those mags apart that are made beside others."""
        remade = frozenset((layer.name, mag) for layer in self.layers if layer.discarded for mag in layer.publish)
        return Locations(self.dataset, self.state, remade)

    def layer(self, name: str) -> LayerPlan:
        return next(layer for layer in self.layers if layer.name == name)

    def mag_plan(self, layer: str, mag: Mag) -> MagPlan:
        return next(plan for plan in self.layer(layer).mags if plan.mag == mag)

    def of_rule(self, rule: str) -> list[Task]:
        return [task for task in self.tasks if task.rule == rule]

    @property
    def units_to_do(self) -> int:
        return sum(len(part.units) for task in self.tasks if task.rule != PROVE for part in task.parts)

    @property
    def units_to_prove(self) -> int:
        return sum(len(part.units) for task in self.of_rule(PROVE) for part in task.parts)

    # -- stored -------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Return the plan as files: what holds for all, a line per layer, a line per task; lines begin with the name."""
        head = {
            "dataset": str(self.dataset),
            "state": str(self.state),
            "layer_order": list(self.layer_order),
            "new_dataset": self.new_dataset,
            "conversion": self.conversion,
            "notes": list(self.notes),
            "upload": None if self.upload is None else request_to_json(self.upload),
            "download": None if self.download is None else self.download.to_json(),
        }
        layers = b"".join(_line(layer.name, layer.to_json()) for layer in self.layers)
        tasks = b"".join(_line(task.name, task.to_json()) for task in self.tasks)
        return {PLAN_FILE: json.dumps(head).encode(), LAYERS_FILE: layers, TASKS_FILE: tasks}


def _line(name: str, values: Mapping[str, Any]) -> bytes:
    return f"{_key(name)}{json.dumps(values, separators=(',', ':'))}\n".encode()


def _key(name: str) -> str:
    return json.dumps(name) + "\t"


def _values(path: Path, seal: Seal, names: Iterable[str] | None) -> list[Any]:
    """Return what the lines of these names hold, or all lines; others are passed over unread."""
    keys = None if names is None else tuple(_key(name).encode() for name in names)
    with path.open("rb") as file:
        lines = [seal.opened(path.name, line) for line in file if keys is None or line.startswith(keys)]
    return [json.loads(line.split(b"\t", 1)[1]) for line in lines]


def load_plan(directory: Path, seal: Seal, only_task: str | None = None) -> Plan:
    """Load a stored plan as a whole, or a single task with its layers.

    Raises:
        UsageError: there is no such plan or task, or another process than that of the run's seal has written it.
    """
    try:
        head = json.loads(seal.opened(PLAN_FILE, (directory / PLAN_FILE).read_bytes()))
        tasks = [Task.from_json(values) for values in _values(directory / TASKS_FILE, seal, None if only_task is None else [only_task])]
        if only_task is not None and not tasks:
            raise UsageError(f"the plan in {directory} has no task {only_task}; start the run again")
        layers = _values(directory / LAYERS_FILE, seal, None if only_task is None else tasks[0].all_layers)
        wanted = head["layer_order"] if only_task is None else tasks[0].all_layers
        if missing := {*wanted} - {layer["name"] for layer in layers}:
            raise UsageError(f"the plan in {directory} has no layer {min(missing)}; start the run again")
    except OSError as error:
        raise UsageError(f"{directory} does not hold a plan: {error.strerror}; start the run again") from error
    return Plan(
        dataset=Path(head["dataset"]),
        state=Path(head["state"]),
        layers=tuple(LayerPlan.from_json(layer) for layer in layers),
        tasks=tuple(tasks),
        new_dataset=head["new_dataset"],
        conversion=head["conversion"],
        notes=tuple(head["notes"]),
        layer_order=tuple(head["layer_order"]),
        upload=None if head["upload"] is None else request_from_json(head["upload"]),
        download=None if head["download"] is None else RemoteDataset.from_json(head["download"]),
    )


__all__ = ["PUBLISH", "LayerPlan", "Plan", "Preparation", "load_plan"]
