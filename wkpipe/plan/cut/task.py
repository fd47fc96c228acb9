"""Task: what one Snakemake job does; Range: its share in one mag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wkpipe.formats.base import Position
from wkpipe.geometry import Mag

PROVE = "prove"
PUBLISH = "publish"
UPLOAD = "upload"
VERIFY = "verify"

UPLOAD_MB = 200
"""The memory of the upload job: its process, and a few MB for each request."""


@dataclass(frozen=True)
class Range:
    """Some units of one mag of one layer, worked on one after the other."""

    layer: str
    mag: Mag
    units: tuple[Position, ...]

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "mag": self.mag.to_list(), "units": [list(unit) for unit in self.units]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Range:
        return cls(values["layer"], Mag(values["mag"]), tuple(tuple(unit) for unit in values["units"]))


@dataclass(frozen=True)
class Task:
    """The unit of scheduling: one Snakemake job with one marker file.

    `rule` is the Snakemake rule that runs it (prove, convert, downsample, upsample, copy, download, publish, upload, verify).
    `ranges` are the units that it makes or proves. `inputs` are the names of the tasks that must be done before. `layers` are the
    layers that a publish task makes visible, or that a proving task is the gate of. `mem_mb` is the predicted peak memory of the
    process (MB = 10^6 bytes), `runtime_s` the predicted duration with `threads` threads. `selection` is what a verify task checks.
    """

    name: str
    rule: str
    ranges: tuple[Range, ...] = ()
    inputs: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    threads: int = 1
    mem_mb: int = 100
    runtime_s: float = 1.0
    selection: Mapping[str, Any] | None = None

    @property
    def marker(self) -> str:
        """The task's file target, below the directory of the run."""
        return f"{self.rule}/{self.name}.done"

    @property
    def all_layers(self) -> list[str]:
        """The layers that the task works on or publishes, each once."""
        return list(dict.fromkeys([*(mag_range.layer for mag_range in self.ranges), *self.layers]))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rule": self.rule,
            "ranges": [mag_range.to_json() for mag_range in self.ranges],
            "inputs": list(self.inputs),
            "layers": list(self.layers),
            "threads": self.threads,
            "mem_mb": self.mem_mb,
            "runtime_s": round(self.runtime_s, 3),
            **({} if self.selection is None else {"selection": dict(self.selection)}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Task:
        return cls(
            name=values["name"],
            rule=values["rule"],
            ranges=tuple(Range.from_json(mag_range) for mag_range in values["ranges"]),
            inputs=tuple(values["inputs"]),
            layers=tuple(values["layers"]),
            threads=values["threads"],
            mem_mb=values["mem_mb"],
            runtime_s=values["runtime_s"],
            selection=values.get("selection"),
        )


def upload_task(tasks: Sequence[Task]) -> Task:
    """Return the task that uploads what these tasks have made."""
    needed = {name for task in tasks for name in task.inputs}
    return Task(name="upload", rule=UPLOAD, inputs=tuple(task.name for task in tasks if task.name not in needed), mem_mb=UPLOAD_MB)
