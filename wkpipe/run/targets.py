"""The files that Snakemake sees: the targets that order the tasks of a run, and the published markers, which stay.

The targets of tasks are in the directory of the run. They are new for every run and prove nothing. The target of a publishing
task is the published marker of its layer, which other rules depend on. If nothing is pending, Snakemake must have no
reason to make it again: it also compares the inputs with those that it recorded. So a marker has one input whose name never changes, the
layer's *ready file*, which Snakemake touches after the tasks of the layer. A rule makes it only if there are such tasks.

Snakemake considers missing targets only if something needs them: a marker that exists needs nothing. So the ready file
of a layer that has tasks also depends on a *trigger*, a file that is newer than all others until the run begins.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from wkpipe.plan.cut.task import PUBLISH, Task
from wkpipe.plan.plan import Plan
from wkpipe.storage import disk
from wkpipe.stored.locations import state_key
from wkpipe.stored.published import SUFFIX, marker_object, marker_stem, published_place

NOTES: Final = Path(".snakemake") / "wkpipe"
"""Where ready files are, below Snakemake's working directory: beside its records of the markers, so that both come and go together."""

NOTHING: Final = r"(?!)"
"""A wildcard constraint that no file target fulfils."""


class Targets:
    """The file targets of a run of Snakemake on one dataset; `directory` is the run's, `trigger` exists if anything is pending.

    With `is_here`, `wkpipe` has started Snakemake in the run's directory, so paths may contain any character. It asks for the
    tasks only.
    """

    def __init__(self, plan: Plan, directory: Path, trigger: Path | None = None, is_here: bool = False) -> None:
        self._plan = plan
        self._trigger = trigger
        self._is_here = is_here
        self._prefix = "" if is_here else f"{directory}/"
        key = "here" if is_here else f"{state_key(plan.dataset)}-{hashlib.sha256(bytes(plan.state)).hexdigest()[:8]}"
        self._notes = (NOTES if is_here else Path.cwd() / NOTES) / key
        self.begun = f"{self._notes}/{directory.name}.begun"
        self.begin_log = f"{self._notes}/begin.log"
        self.tasks = {task.name: task for task in plan.tasks}
        self._publishing = {} if is_here else {marker_stem(task.layers[0]): task for task in plan.of_rule(PUBLISH)}

    def publishing(self, wildcard: str) -> Task | None:
        """Return the task that makes a published marker, by its wildcard in Snakemake; None if nothing is pending."""
        return self.tasks[wildcard] if self._is_here else self._publishing.get(wildcard)

    def release(self) -> None:
        """Make the trigger older than all files made from now on, because the run has begun."""
        if self._trigger is not None:
            disk.set_mtime(self._trigger, 0, self._trigger)

    # -- outputs ------------------------------------------------------------------------------------------------

    def pattern(self, rule: str) -> str:
        """Return the file target of a rule's tasks, with the wildcard ``{task}``."""
        if rule == PUBLISH and not self._is_here:
            return f"{published_place(self._plan.locations.store).path()}/{{task}}{SUFFIX}"
        return f"{self._prefix}{rule}/{{task}}.done"

    def log_pattern(self, rule: str) -> str:
        """Return the log of a rule's tasks, with the same wildcard."""
        return f"{self._prefix}logs/{rule}/{{task}}.log"

    @property
    def ready_pattern(self) -> str:
        """The ready file of a layer, with the wildcard ``{task}``."""
        return f"{self._notes}/{{task}}.ready"

    @property
    def ready_constraint(self) -> str:
        """A regular expression for the layers that have pending tasks."""
        return "|".join(map(re.escape, self._publishing)) or NOTHING

    def marker(self, task: Task) -> str:
        """Return the file target of a task."""
        if task.rule == PUBLISH and not self._is_here:
            return self.published(task.layers[0])
        return f"{self._prefix}{task.marker}"

    def published(self, layer: str) -> str:
        """Return the published marker of a layer."""
        return str(marker_object(self._plan.locations.store, layer))

    # -- inputs -------------------------------------------------------------------------------------------------

    def inputs(self, task: Task) -> list[str]:
        """Return the files that must exist before a task: the targets of others, or the note that the run has begun if there are none."""
        needed = [self.marker(self.tasks[name]) for name in task.inputs if name in self.tasks]
        return needed or ([] if self._is_here else [self.begun])

    def inputs_of_marker(self, wildcard: str) -> list[str]:
        """Return the inputs of a published marker."""
        if self._is_here:
            return self.inputs(self.tasks[wildcard])
        ready = self._ready(wildcard)
        return [str(ready)] if wildcard in self._publishing or ready.exists() else []

    def inputs_of_ready(self, wildcard: str, is_touched: bool) -> list[str]:
        """Return the inputs of a layer's ready file; if Snakemake only touches files, the run does not begin."""
        trigger = [] if self._trigger is None or is_touched else [str(self._trigger)]
        return [*trigger, *self.inputs(self._publishing[wildcard])]

    def _ready(self, stem: str) -> Path:
        return self._notes / f"{stem}.ready"

    def ready(self, layer: str) -> Path:
        """Return the ready file of a layer."""
        return self._ready(marker_stem(layer))

    def final(self) -> list[str]:
        """Return the inputs of rule all: the published markers, and the targets of all other tasks.

        A marker that is missing and cannot be written is not asked for.
        """
        tasks = [self.marker(task) for task in self._plan.tasks]
        if self._is_here:
            return tasks
        markers = [path for layer in self._plan.layers if Path(path := self.published(layer.name)).exists()]
        return list(dict.fromkeys([*markers, *tasks]))
