"""Work: one range of a task, with everything that a step needs to make its units."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wkpipe.engine.handover import Handover
from wkpipe.formats.base import Position, StoredArray, UnitProof
from wkpipe.geometry import Mag
from wkpipe.plan.cut.task import Range, Task
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token
from wkpipe.storage.commits import Commits
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.record import ADOPTED, MADE, OUTDATED, Record, content_token
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.locations import Locations


@dataclass(frozen=True)
class Server:
    """How a job reads from a server: the user's token, `say` for reports of lasting trouble, and its patience."""

    token: Token
    say: Callable[[str], None]
    policy: Policy | None = None


@dataclass
class Shared:
    """What the ranges of a task share.

    These are the commits that wait for each other, the scratches for files of the state and of the dataset (these are committed
    together with their records), units with certain content, and voxels of the next mag that were sampled already.
    """

    commits: Commits
    scratch: Scratch
    data_scratch: Scratch
    certain: set[tuple[str, Mag, Position]] = field(default_factory=set)
    handover: tuple[MagPlan, Handover] | None = None


@dataclass(frozen=True)
class Work:
    """A range of units of one mag for a step to make, and its context.

    `following` is the next range of the task. `ledger` has the records of these units from when the work began. `on_voxels` is
    called with the number of voxels made since its last call. With `fork`, the task's threads are processes if that is faster.
    `server` is for steps that read from one. `notify` gets notes for the user.
    """

    plan: Plan
    task: Task
    range: Range
    following: Range | None
    layer: LayerPlan
    mag_plan: MagPlan
    target: StoredArray
    ledger: Ledger
    locations: Locations
    epoch: Epoch
    shared: Shared
    on_voxels: Callable[[int], None]
    fork: bool
    server: Server | None
    notify: Callable[[str], None] = lambda _: None

    @property
    def scratch(self) -> Scratch:
        """The scratch for files of the dataset before they get their names; they are committed together with their records."""
        return self.shared.data_scratch

    def records(self, mag: Mag, name: str) -> LedgerWriter:
        """Return a writer for the ledger of a mag of the layer; `name` is a part of the names of its segments."""
        place = self.locations.records(self.range.layer, mag, self.shared.scratch)
        return LedgerWriter(place, self.epoch.number, name, later=self.shared.commits)

    def is_proven(self, unit: Position, inputs: str) -> bool:
        """True if a unit is recorded as made by the plan from `inputs` and its files are as recorded."""
        record = self.ledger.get(unit)
        if record is None or not record.is_made_by(self.mag_plan.params) or record.inputs != inputs:
            return False
        return record.matches(self.target.unit_facts(unit))

    def begin(self, units: Iterable[Position]) -> None:
        """Note durably which recorded units are going to be made again, before the first of them is replaced.

        If the run is killed between the new files and their record, the files are not taken for those of another tool.
        """
        known = [record for unit in units if (record := self.ledger.get(unit)) is not None and record.origin in (MADE, ADOPTED)]
        place = self.locations.records(self.range.layer, self.range.mag, self.shared.scratch)
        with LedgerWriter(place, self.epoch.number, f"{self.task.name}-again") as writer:
            writer.add(*(replace(record, origin=OUTDATED) for record in known))

    def made(self, unit: Position, proof: UnitProof, inputs: str, stats: Mapping[str, int | float] | None = None) -> Record:
        """Return the record of a unit that was committed."""
        return Record(unit, MADE, proof, content_token(proof), self.mag_plan.params, inputs, dict(stats or {}))
