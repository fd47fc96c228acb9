"""Plan: everything that a run will do, as a value; stored as files of which a job loads only its share."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wkpipe.errors import UnreadableInput, UsageError
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.plan.cost.sampled import Need
from wkpipe.plan.cut.task import PROVE, PUBLISH, Task
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.recorded import mag_plan_from_json
from wkpipe.plan.state.found import FoundMag
from wkpipe.plan.state.reasons import MagReasons
from wkpipe.storage.inside import Looks
from wkpipe.storage.lines import lines_of
from wkpipe.storage.record import Record
from wkpipe.storage.seal import Seal
from wkpipe.stored.generations import Generations
from wkpipe.stored.locations import Locations
from wkpipe.stored.places import place_at

if TYPE_CHECKING:  # slow to import, and needed by conversions and transfers only
    from wkpipe.images import AccountLine
    from wkpipe.server.download.remote import ServedDataset
    from wkpipe.server.upload.request import Uploaded, UploadRequest

PLAN_FILE = "plan.json"
LAYERS_FILE = "layers.jsonl"
TASKS_FILE = "tasks.jsonl"

_AGAIN = "start wkpipe or snakemake again"


@dataclass(frozen=True)
class LayerPlan:
    """The planned work on one layer.

    `found` are the mags that are only read. `new` holds the properties of a layer that is made now (JSON of
    datasource-properties.json, without mags), else None. `stack` are the images that the layer is converted from. `publish`
    names the mags to make visible. If there are `discarded` mags, the new ones are made beside them and then take their
    place. `discarded` mags with nothing to publish mean that an earlier run has begun this replacement, and it is completed.
    `box` is None, or a box that the layer's box does not contain yet, and will when the mags are published.
    """

    name: str
    mags: tuple[MagPlan, ...]
    publish: tuple[Mag, ...]
    found: tuple[FoundMag, ...] = ()
    new: Mapping[str, Any] | None = None
    stack: Mapping[str, Any] | None = None
    discarded: tuple[Mag, ...] = ()
    box: NDBoundingBox | None = None

    @property
    def changes_entry(self) -> bool:
        """True if the layer's entry is made or changed even if no mag is published."""
        return self.new is not None or self.box is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "mags": [mag.to_json() for mag in self.mags],
            "publish": [mag.to_list() for mag in self.publish],
            "found": [found.to_json() for found in self.found],
            "new": self.new,
            "stack": self.stack,
            "discarded": [mag.to_list() for mag in self.discarded],
            "box": None if self.box is None else [list(self.box.topleft), list(self.box.size), list(self.box.axes)],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LayerPlan:
        return cls(
            name=values["name"],
            mags=tuple(mag_plan_from_json(mag) for mag in values["mags"]),
            publish=tuple(Mag(mag) for mag in values["publish"]),
            found=tuple(FoundMag.from_json(found) for found in values["found"]),
            new=values["new"],
            stack=values["stack"],
            discarded=tuple(Mag(mag) for mag in values["discarded"]),
            box=None if values["box"] is None else NDBoundingBox(*values["box"]),
        )


@dataclass(frozen=True)
class Preparation:
    """What the main process does once, under the run's lease, before the first job.

    `adopted` are ledger records of units that were found in place, by layer and mag. `reset` are the mags whose leftovers
    (of other parameters, never published) are removed. `unpublish` are the mags that are first taken out of the properties.
    `forgotten` are the mags whose records are first dropped, because another tool has made them again. `remove_target` is True
    if the whole target is deleted (``--overwrite-existing`` of convert). `images` say for mags of added layers what they are
    converted from.
    """

    adopted: Mapping[tuple[str, Mag], Sequence[Record]] = field(default_factory=dict)
    reset: tuple[tuple[str, Mag], ...] = ()
    unpublish: tuple[tuple[str, Mag], ...] = ()
    forgotten: tuple[tuple[str, Mag], ...] = ()
    remove_target: bool = False
    images: Mapping[tuple[str, Mag], Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that a run will do.

    `dataset` and `state` are absolute paths. `new_dataset` has the properties of a dataset that is made. `epoch` is the epoch of
    the newest run before planning began, `working` the token of a run that was at work then: if there is another run by now,
    or that run has ended, the plan may be outdated. A plan that was loaded for a single task has only the layers of
    that task; `layer_order` names all layers. `reasons` say why units are pending, `space` is the disk space that they will take
    (None if it was not computed), `accounts` say what of the source is used; these are not stored. `upload` is what is uploaded,
    and where. `uploaded` is set if the server already has the present dataset, so that there is nothing to do. `download` is the
    dataset that mags are downloaded from.
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
    accounts: tuple[AccountLine, ...] = ()
    upload: UploadRequest | None = None
    uploaded: Uploaded | None = None
    download: ServedDataset | None = None
    generations: Generations = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layer_order:
            object.__setattr__(self, "layer_order", tuple(layer.name for layer in self.layers))

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to do."""
        return not self.tasks

    @functools.cached_property
    def locations(self) -> Locations:
        """The locations of the dataset and its state; mags that are made beside others have their own."""
        rebuilt = frozenset((layer.name, mag) for layer in self.layers if layer.discarded for mag in layer.publish)
        return Locations(self.dataset, self.state, rebuilt - self.generations.keys(), self.generations, Looks(once=True))

    def layer(self, name: str) -> LayerPlan:
        return self._by_name[name]

    @functools.cached_property
    def _by_name(self) -> dict[str, LayerPlan]:
        return {layer.name: layer for layer in self.layers}

    def mag_plan(self, layer: str, mag: Mag) -> MagPlan:
        return next(plan for plan in self.layer(layer).mags if plan.mag == mag)

    def of_rule(self, rule: str) -> list[Task]:
        return [task for task in self.tasks if task.rule == rule]

    @property
    def units_to_do(self) -> int:
        return sum(len(mag_range.units) for task in self.tasks if task.rule != PROVE for mag_range in task.ranges)

    @property
    def units_to_prove(self) -> int:
        return sum(len(mag_range.units) for task in self.of_rule(PROVE) for mag_range in task.ranges)

    # -- stored -------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Return the plan as files: the common values, a line per layer, and a line per task; lines begin with the name."""
        head = {
            "dataset": str(self.dataset),
            "state": str(self.state),
            "layer_order": list(self.layer_order),
            "new_dataset": self.new_dataset,
            "conversion": self.conversion,
            "notes": list(self.notes),
            "upload": None if self.upload is None else _upload_to_json(self.upload),
            "download": None if self.download is None else self.download.to_json(),
            "generations": [[layer, mag.to_list(), number] for (layer, mag), number in self.generations.items()],
        }
        layers = b"".join(_line(layer.name, layer.to_json()) for layer in self.layers)
        tasks = b"".join(_line(task.name, task.to_json()) for task in self.tasks)
        return {PLAN_FILE: json.dumps(head).encode(), LAYERS_FILE: layers, TASKS_FILE: tasks}


def _line(name: str, values: Mapping[str, Any]) -> bytes:
    return f"{_key(name)}{json.dumps(values, separators=(',', ':'))}\n".encode()


def _key(name: str) -> str:
    return json.dumps(name) + "\t"


def _values(directory: Path, name: str, seal: Seal, names: Iterable[str] | None) -> list[Any]:
    """Return the values of the lines of a file with these names, or of all lines; other lines are not parsed."""
    keys = None if names is None else tuple(_key(name).encode() for name in names)
    place = place_at(directory)
    file = place.open(name)
    found = () if file is None else lines_of(file, longest=sys.maxsize)
    lines = [seal.opened(name, line) for line in found if keys is None or line.startswith(keys)]
    return [json.loads(line.split(b"\t", 1)[1]) for line in lines]


def run_file(directory: Path, name: str) -> bytes:
    """Return the content of a file in the directory of a run.

    Raises:
        UsageError: the run has no such file.
    """
    try:
        content = place_at(directory).content(name, MAX_BYTES)
    except UnreadableInput as error:
        raise UsageError(f"{directory} is not the directory of a run: {error.but(fix='')}", fix=_AGAIN) from error
    if content is None:
        raise UsageError(f"{directory} is not the directory of a run: it has no {name}", fix=_AGAIN)
    return content


def load_plan(directory: Path, seal: Seal, only_task: str | None = None) -> Plan:
    """Load a stored plan, or a single task of it with its layers.

    Raises:
        UsageError: there is no such plan or task, or a process without the run's seal has written it.
    """
    head = json.loads(seal.opened(PLAN_FILE, run_file(directory, PLAN_FILE)))
    tasks = [Task.from_json(values) for values in _values(directory, TASKS_FILE, seal, None if only_task is None else [only_task])]
    if only_task is not None and not tasks:
        raise UsageError(f"the plan in {directory} has no task {only_task}", fix="start the run again")
    layers = _values(directory, LAYERS_FILE, seal, None if only_task is None else tasks[0].all_layers)
    wanted = head["layer_order"] if only_task is None else tasks[0].all_layers
    if missing := {*wanted} - {layer["name"] for layer in layers}:
        raise UsageError(f"the plan in {directory} has no layer {min(missing)}", fix="start the run again")
    return Plan(
        dataset=Path(head["dataset"]),
        state=Path(head["state"]),
        layers=tuple(LayerPlan.from_json(layer) for layer in layers),
        tasks=tuple(tasks),
        new_dataset=head["new_dataset"],
        conversion=head["conversion"],
        notes=tuple(head["notes"]),
        layer_order=tuple(head["layer_order"]),
        upload=None if head["upload"] is None else _upload_from_json(head["upload"]),
        download=None if head["download"] is None else _download_from_json(head["download"]),
        generations={(layer, Mag(mag)): number for layer, mag, number in head["generations"]},
    )


# Jobs import what transfers need only if there is one.


def _upload_to_json(request: UploadRequest) -> dict[str, Any]:
    from wkpipe.plan.wishes.upload import request_to_json

    return request_to_json(request)


def _upload_from_json(values: Mapping[str, Any]) -> UploadRequest:
    from wkpipe.plan.wishes.upload import request_from_json

    return request_from_json(values)


def _download_from_json(values: Mapping[str, Any]) -> ServedDataset:
    from wkpipe.server.download.remote import ServedDataset

    return ServedDataset.from_json(values)


__all__ = ["PUBLISH", "LayerPlan", "Plan", "Preparation", "load_plan"]
