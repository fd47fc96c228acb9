"""Run one task of a stored plan: make its units, one after the other, and record each as it is committed."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from wkpipe.errors import DamagedShard, MissingShard
from wkpipe.formats import open_array
from wkpipe.formats.base import Position, StoredArray, UnitProof
from wkpipe.formats.converted import as_dtype
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, MagPlan, download_identity, image_identity, planned_array
from wkpipe.plan.pending import source_identity
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.plan.task import PROVE, PUBLISH, Part, Task
from wkpipe.server.policy import Policy
from wkpipe.server.token import Token
from wkpipe.steps.convert import convert_units
from wkpipe.steps.downsample import downsample_unit
from wkpipe.steps.handover import Handover
from wkpipe.steps.prove import SourceDigests, prove_task
from wkpipe.steps.publish import publish_layers
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import UNKNOWN_CRC, is_other_content
from wkpipe.storage.record import MADE, Record, content_token
from wkpipe.stored.identity import recorded_identity
from wkpipe.stored.locations import Locations


def run_task(
    plan: Plan,
    task: Task,
    epoch: Epoch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
    server: Server | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Do a task and return how many units it made; what is proven already is left as it is.

    `on_voxels` is told how many voxels were made since its last call.

    With `fork`, the task's threads are processes where that is faster: for processes that exist for the task alone. `server` is
    what a download needs, `tell` says what the user is to know.

    Raises:
        TryAgain: another run has taken the dataset over since.
        WkpipeError: see the steps.
    """
    _allow_many_files()
    locations = plan.locations
    if task.rule == PUBLISH:
        publish_layers(plan, task.layers, locations, epoch)
        return 0
    if task.rule == PROVE:
        prove_task(plan, task, epoch, tell)
        return 0
    shared = _Shared()
    return sum(_PartRunner(plan, part, task, locations, epoch, on_voxels, fork, shared, server).run() for part in task.parts)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True)
class Server:
    """How a job reads from a server: with the token of its user, who is told of trouble that lasts by `say`; how patiently."""

    token: Token
    say: Callable[[str], None]
    policy: Policy | None = None


@dataclass
class _Shared:
    """What the parts of a task know of each other: units whose content is certain, and voxels that were sampled along."""

    certain: set[tuple[str, Mag, Position]] = field(default_factory=set)
    handover: Handover | None = None


@dataclass
class _PartRunner:
    """Makes the units of one part."""

    plan: Plan
    part: Part
    task: Task
    locations: Locations
    epoch: Epoch
    on_voxels: Callable[[int], None]
    fork: bool
    shared: _Shared
    server: Server | None

    def run(self) -> int:
        made = 0
        layer = self.plan.layer(self.part.layer)
        mag_plan = self.plan.mag_plan(self.part.layer, self.part.mag)
        directory = self.locations.ledger(self.part.layer, self.part.mag)
        target = planned_array(mag_plan, self.locations)
        identity = recorded_identity(self.locations, self.part.layer, self.part.mag)
        mag_id = "" if identity is None else identity.mag
        with LedgerWriter(directory, self.epoch.number, self.task.name) as writer:
            work = {CONVERT: self._convert, DOWNLOAD: self._download}.get(mag_plan.kind, self._downsample)
            for record in work(layer, mag_plan, target, Ledger.load(directory, only=self.part.units)):
                self.epoch.check()
                writer.add(replace(record, encoder=target.encoder, mag=mag_id))
                made += 1
        return made

    def _convert(self, layer: LayerPlan, plan: MagPlan, target: StoredArray, ledger: Ledger) -> Iterator[Record]:
        assert layer.stack is not None
        stack = ImageStack.from_json(layer.stack)
        inputs = {unit: image_identity(plan, stack, unit) for unit in self.part.units}
        pending = [unit for unit in self.part.units if not _is_proven(plan, target, ledger, unit, inputs[unit])]
        scratch = self.locations.data_scratch(self.epoch)
        for done in convert_units(plan, stack, target, pending, self.task.threads, scratch, self.on_voxels):
            stats = {} if done.lowest is None or done.highest is None else {"lowest": done.lowest, "highest": done.highest}
            yield _made(plan, done.unit, done.proof, inputs[done.unit], stats)

    def _download(self, _: LayerPlan, plan: MagPlan, target: StoredArray, ledger: Ledger) -> Iterator[Record]:
        from wkpipe.steps.download import downloader  # other jobs need none of what this loads

        assert self.plan.download is not None
        assert self.server is not None
        inputs, scratch = download_identity(plan), self.locations.data_scratch(self.epoch)
        with downloader(self.plan.download, plan, self.task.threads, self.server.token, self.server.say, self.server.policy) as download:
            pending = [unit for unit in self.part.units if not _is_proven(plan, target, ledger, unit, inputs)]
            with contextlib.closing(download.download(target, pending, scratch, self.on_voxels)) as units:
                for unit, proof in units:
                    yield _made(plan, unit, proof, inputs, {})

    def _downsample(self, layer: LayerPlan, plan: MagPlan, target: StoredArray, ledger: Ledger) -> Iterator[Record]:
        assert plan.from_mag is not None
        source = self._source(layer, plan)
        needed = {source_unit for unit in self.part.units for source_unit in plan.source_units(unit, source.spec)}
        ledger_of_source = self.locations.ledger(plan.layer, plan.from_mag)
        proofs = Ledger.load(ledger_of_source, only=needed)
        tokens = {unit: record.token for unit, record in proofs.records.items()}
        scratch = self.locations.data_scratch(self.epoch)
        sampled, self.shared.handover = self.shared.handover, None
        if sampled is not None and not (sampled.plan == plan and sampled.is_complete):
            sampled = None
        coarser = self.shared.handover = self._handover_to_next(plan)
        with SourceDigests(plan, source, ledger_of_source, proofs, self.epoch, self.task) as digests:
            for unit in self.part.units:
                inputs = source_identity(plan, unit, source.spec, tokens)
                if inputs is None:
                    raise MissingShard(
                        f"layer {plan.layer}, mag {plan.from_mag}: a storage shard that mag {plan.mag} needs has no proof; "
                        "run the same command again"
                    )
                if _is_proven(plan, target, ledger, unit, inputs):
                    continue
                if sampled is None:
                    self._check_sources(plan, unit, source, proofs)
                proof = downsample_unit(plan, source, target, unit, self.task.threads, scratch, self.on_voxels, self.fork, sampled, coarser)
                digests.record(unit)
                self.shared.certain.add((plan.layer, plan.mag, unit))
                yield _made(plan, unit, proof, inputs, {})

    def _handover_to_next(self, plan: MagPlan) -> Handover | None:
        """Return what takes the voxels of the next part's mag, if that is to be made of this one and it is possible."""
        after = self.task.parts[self.task.parts.index(self.part) + 1 :][:1]
        if not after or after[0].layer != self.part.layer:
            return None
        coarser = self.plan.mag_plan(after[0].layer, after[0].mag)
        if coarser.from_mag != plan.mag or set(self.part.units) != set(plan.units()) or not Handover.is_possible(plan, coarser):
            return None
        return Handover(plan, coarser)

    def _source(self, layer: LayerPlan, plan: MagPlan) -> StoredArray:
        for found in layer.found:
            if found.mag == plan.from_mag:
                array = open_array(found.path, found.spec.data_format, found.spec.axes, shape=found.spec.shape)
                return as_dtype(array, found.spec.dtype)
        assert plan.from_mag is not None
        return planned_array(self.plan.mag_plan(plan.layer, plan.from_mag), self.locations)

    def _check_sources(self, plan: MagPlan, unit: Position, source: StoredArray, proofs: Ledger) -> None:
        """Refuse to compute from a shard that is gone: absent files would read as zeros."""
        for source_unit in plan.source_units(unit, source.spec):
            record = proofs.records[source_unit]
            facts = source.unit_facts(source_unit)
            where = f"layer {plan.layer}, mag {plan.from_mag}: storage shard {'.'.join(map(str, source_unit))}"
            if facts is None and not record.proof.is_fill:
                raise MissingShard(
                    f"{where} is gone, the ledger recorded {record.proof.size} bytes; restore the file or make the mag again"
                )
            if facts is None:
                continue
            is_recorded = record.matches(facts)
            if not is_recorded and not record.proof.is_known:
                raise MissingShard(f"{where} changed since this run began; run the same command again")
            if not is_recorded or (not source.notices_damage and (record.proof.is_known or record.proof.crc32c != UNKNOWN_CRC)):
                self._check_content(plan, source, record, where)

    def _check_content(self, plan: MagPlan, source: StoredArray, record: Record, where: str) -> None:
        """Compare a source unit with its digest: its stamp is another one, or the format would not notice damage when it decodes."""
        assert plan.from_mag is not None
        key = (plan.layer, plan.from_mag, record.unit)
        if key in self.shared.certain:
            return
        found = source.prove_unit(record.unit)
        if found is None or is_other_content(record.proof, found):
            raise DamagedShard(f"{where} is damaged: its content is not the recorded one; restore it, or run `wkpipe verify --repair`")
        self.shared.certain.add(key)


def _is_proven(plan: MagPlan, target: StoredArray, ledger: Ledger, unit: Position, inputs: str) -> bool:
    record = ledger.get(unit)
    return record is not None and record.is_made_by(plan.params) and record.inputs == inputs and record.matches(target.unit_facts(unit))


def _made(plan: MagPlan, unit: Position, proof: UnitProof, inputs: str, stats: dict[str, int | float]) -> Record:
    return Record(unit, MADE, proof, content_token(proof), plan.params, inputs, stats)
