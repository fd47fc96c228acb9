"""What verify has found so far: problems, and notes about what is no problem."""

from __future__ import annotations

from dataclasses import dataclass, field

from wkpipe.steps.verify.ledger import StateDamage
from wkpipe.steps.verify.mag import MagOnDisk, repair_command
from wkpipe.steps.verify.report import Kind, Problem
from wkpipe.stored.dataset import StoredDataset


@dataclass
class Findings:
    """Collects problems and notes about one dataset, in the order in which they are found."""

    dataset: StoredDataset
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def state_problem(self, damage: StateDamage, mag: MagOnDisk | None = None) -> None:
        layer, level = ("", None) if mag is None else (mag.layer.name, mag.entry.mag)
        lost = (damage.kind is Kind.LEDGER and damage.path.is_dir()) or (damage.kind is Kind.LEDGER and not damage.path.exists())
        mend = repair_command(self.dataset, layer, level, "--adopt" if lost else "--repair")
        self.problems.append(
            Problem(damage.kind, layer, "" if level is None else str(level), "", damage.what, mend, not lost, path=damage.path)
        )

    def problem(self, mag: MagOnDisk, kind: Kind, what: str, mend: str, is_repairable: bool = False, shard: str = "") -> None:
        self.problems.append(Problem(kind, mag.layer.name, str(mag.entry.mag), shard, what, mend, is_repairable))

    def note(self, mag: MagOnDisk, text: str) -> None:
        self.notes.append(f"layer {mag.layer.name}, mag {mag.entry.mag}: {text}")
