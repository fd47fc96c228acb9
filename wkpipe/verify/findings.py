"""The findings of verify: problems, and notes on things that are not problems."""

from __future__ import annotations

from dataclasses import dataclass, field

from wkpipe.stored.dataset import StoredDataset
from wkpipe.verify.ledger import StateDamage
from wkpipe.verify.mag import MagOnDisk, repair_command
from wkpipe.verify.report import Kind, Problem


@dataclass
class Findings:
    """Collect problems and notes about a dataset, in the order in which they are found."""

    dataset: StoredDataset
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def state_problem(self, damage: StateDamage, mag: MagOnDisk | None = None) -> None:
        layer, level = ("", None) if mag is None else (mag.layer.name, mag.entry.mag)
        lost = damage.kind is Kind.LEDGER and damage.is_lost
        fix = repair_command(self.dataset, layer, level, "--adopt" if lost else "--repair")
        self.problems.append(
            Problem(damage.kind, layer, "" if level is None else str(level), "", damage.what, fix, not lost, path=damage.path)
        )

    def problem(self, mag: MagOnDisk, kind: Kind, what: str, fix: str, is_repairable: bool = False, shard: str = "") -> None:
        self.problems.append(Problem(kind, mag.layer.name, str(mag.entry.mag), shard, what, fix, is_repairable))

    def note(self, mag: MagOnDisk, text: str) -> None:
        self.notes.append(f"layer {mag.layer.name}, mag {mag.entry.mag}: {text}")
