"""The report of a verification: problems, each with its fix, and notes on things that are not problems but good to know."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.formats.base import Position


class Kind(enum.StrEnum):
    """The kind of a problem, which decides how it is repaired."""

    UNIT = "storage shard"
    STALE = "stale"
    LOST_MAG = "lost mag"
    PROPERTIES = "properties"
    ARRAY = "array metadata"
    GROUP = "group file"
    RECIPE = "recipe"
    CONVERSION = "conversion"
    LEDGER = "ledger"
    EPOCH = "epoch"
    STRAY = "unexpected file"
    LEFTOVER = "leftover"


@dataclass(frozen=True)
class Problem:
    """A problem that verify found.

    `shard` names a unit as in all messages (its position, as ``0.0.1.2``), or a file that belongs to no unit. It is empty for
    a problem of the whole mag, `mag` is empty for one of the whole layer or dataset, `layer` for one of the dataset. `what`
    is one line with what was found and expected; `fix` is the command that repairs it, or what to do if no command does.
    `is_repairable` is True if ``wkpipe verify --repair`` may repair it; `unit` is the unit, `path` the file.
    """

    kind: Kind
    layer: str
    mag: str
    shard: str
    what: str
    fix: str
    is_repairable: bool = False
    unit: Position | None = None
    path: Path | None = None

    def __str__(self) -> str:
        names = (("layer", self.layer), ("mag", self.mag), ("storage shard", self.shard))
        where = ", ".join(f"{name} {value}" for name, value in names if value) or "dataset"
        return f"{where}: {self.what}; {self.fix}"

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "layer": self.layer,
            "mag": self.mag,
            "shard": self.shard,
            "what": self.what,
            "mend": self.fix,
            "repairable": self.is_repairable,
        }


@dataclass(frozen=True)
class VerifyReport:
    """The result of `verify_dataset`: how much was checked, and what was found.

    `units` of `all_units` were checked; `deep_units` of them were computed again from a finer mag. `only_decoded` counts
    the units without a recorded checksum: it is known only that they decode.
    """

    dataset: Path
    mags: int = 0
    units: int = 0
    all_units: int = 0
    deep_units: int = 0
    bytes_read: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())
    only_decoded: int = 0

    @property
    def is_sound(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in one line."""
        of_all = f" of {self.all_units}" if self.units != self.all_units else ""
        shards = f"{self.units}{of_all} storage shard{'' if self.all_units == 1 else 's'}"
        looked_at = f"{_counted(self.mags, 'mag')}, {shards}, {self.bytes_read / 1e6:.1f} MB"
        if self.deep_units:
            looked_at += f", {self.deep_units} of them computed again from a finer mag"
        if self.is_sound:
            if not self.mags:
                return f"{self.dataset}: there is nothing to verify"
            bound = f", but {_counted(self.only_decoded, 'storage shard')} had no checksum to compare with" if self.only_decoded else ""
            return f"{self.dataset}: verified {looked_at}; nothing is wrong{bound}"
        return f"{self.dataset}: found {_counted(len(self.problems), 'problem')} in {looked_at}"

    def to_json(self) -> Mapping[str, Any]:
        return {
            "dataset": str(self.dataset),
            "sound": self.is_sound,
            "mags": self.mags,
            "units": self.units,
            "all_units": self.all_units,
            "deep_units": self.deep_units,
            "only_decoded": self.only_decoded,
            "bytes_read": self.bytes_read,
            "problems": [problem.to_json() for problem in self.problems],
            "notes": list(self.notes),
        }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
