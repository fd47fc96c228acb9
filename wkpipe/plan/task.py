"""Task: what one Snakemake job does; Part: its share in one mag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wkpipe.formats.base import Position
from wkpipe.geometry import Mag

PROVE = "prove"
PUBLISH = "publish"
UPLOAD = "upload"
VERIFY = "verify"


@dataclass(frozen=True)
class Part:
    """Some units of one mag of one layer, worked on one after the other."""

    layer: str
    mag: Mag
    units: tuple[Position, ...]

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "mag": self.mag.to_list(), "units": [list(unit) for unit in self.units]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Part:
        return cls(values["layer"], Mag(values["mag"]), tuple(tuple(unit) for unit in values["units"]))


@dataclass(frozen=True)
class Task:
    """The unit of scheduling: one Snakemake job with one marker file.

    `rule` is the Snakemake rule that runs it (prove, convert, downsample, download, publish, upload, verify). `parts` are the units
    that it makes, or proves. `inputs` are the names of the tasks that must be done before; `layers` the layers that a publish task
    makes visible, or whose gate a proving task is. `mem_mb` is the predicted peak of the
    process (MB = 10^6 bytes), `runtime_s` the predicted duration with `threads` threads. `selection` is what a verifying task looks at.
    """

    name: str
    rule: str
    parts: tuple[Part, ...] = ()
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
        return list(dict.fromkeys([*(part.layer for part in self.parts), *self.layers]))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rule": self.rule,
            "parts": [part.to_json() for part in self.parts],
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
            parts=tuple(Part.from_json(part) for part in values["parts"]),
            inputs=tuple(values["inputs"]),
            layers=tuple(values["layers"]),
            threads=values["threads"],
            mem_mb=values["mem_mb"],
            runtime_s=values["runtime_s"],
            selection=values.get("selection"),
        )
