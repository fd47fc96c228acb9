"""Group pending units into tasks: enough to keep all cores busy, few enough to keep overheads small."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, DOWNSAMPLE, MagPlan, Source
from wkpipe.plan.memory import task_bytes
from wkpipe.plan.proving import DoubtfulMag, proving_tasks
from wkpipe.plan.resources import BASE_BYTES, TASK_SECONDS, Sizing, unit_seconds
from wkpipe.plan.task import PUBLISH, Part, Task
from wkpipe.stored.axes import spatial

UNEVEN = 1.2
"""How much longer than on average a task may take, of some that share the cores."""

SHARED_PER_CORE = 2
"""Into how many tasks per core small layers are put: more would pay for their overhead, fewer leave cores idle at the end."""


@dataclass(frozen=True)
class PendingMag:
    """A mag with what is still to be made of it, and what it is made from."""

    plan: MagPlan
    units: Sequence[Position]
    source: Source
    least_slices: int = 1

    @property
    def least_units(self) -> int:
        """How many units a range has at least, so that a job converts no fewer slices than the user wants."""
        first, end = self.plan.box
        shape = spatial(self.plan.spec, self.plan.spec.unit_shape)
        per_layer = (end - first).with_z(1).ceildiv(shape).prod()
        return 1 if self.least_slices <= 1 else per_layer * -(-self.least_slices // shape.z)

    @property
    def seconds(self) -> float:
        return len(self.units) * unit_seconds(self.plan)


@dataclass
class _Draft:
    """A task in the making."""

    pending: list[PendingMag]
    parts: list[Part]
    seconds: float = 0.0
    inputs: set[int] = field(default_factory=set)


def group_tasks(
    layers: Mapping[str, Sequence[PendingMag]], publish: Iterable[str], sizing: Sizing, doubtful: Sequence[DoubtfulMag] = ()
) -> tuple[Task, ...]:
    """Return the tasks of a run, each after those that it needs.

    `layers` gives for every layer its pending mags from fine to coarse; `publish` names the layers that have mags to
    be made visible; `doubtful` are the units that are proven first. A mag's units are cut into
    ranges; the cheap end of a layer's ladder stays in one task, with the mags before it that are a single range, and the cheap
    ladders of many layers share tasks.
    """
    drafts: list[_Draft] = []
    owner: dict[tuple[str, Mag], dict[Position, int]] = defaultdict(dict)
    total = sum(mag.seconds for mags in layers.values() for mag in mags)
    tails = {layer: _tail_start(mags, sizing.least_seconds) for layer, mags in layers.items()}
    small = sum(mag.seconds for layer, mags in layers.items() if tails[layer] == 0 for mag in mags)
    # Small layers share tasks that are worth their overhead, and of which every core gets some.
    shared_seconds = min(max(sizing.least_seconds, small / (SHARED_PER_CORE * sizing.cores)), sizing.target_seconds)
    shared: int | None = None
    for layer, mags in layers.items():
        ranges = [_ranges(mag, sizing, sizing.most_tasks, total) for mag in mags[: tails[layer]]]
        tail = len(ranges)
        while tail and len(ranges[tail - 1]) == 1:  # what must wait for a single task anyway goes along with it
            tail -= 1
        for mag, runs in zip(mags[:tail], ranges, strict=False):
            for units in runs:
                drafts.append(_Draft([mag], [Part(mag.plan.layer, mag.plan.mag, tuple(units))], len(units) * unit_seconds(mag.plan)))
                _own(owner, drafts, len(drafts) - 1)
        if tail == len(mags):
            continue
        parts = [Part(mag.plan.layer, mag.plan.mag, tuple(mag.units)) for mag in mags[tail:]]
        seconds = sum(mag.seconds for mag in mags[tail:])
        if tails[layer] == 0 and shared is not None and drafts[shared].seconds < shared_seconds:
            drafts[shared].pending += mags
            drafts[shared].parts += parts
            drafts[shared].seconds += seconds
            _own(owner, drafts, shared)
        else:
            drafts.append(_Draft(list(mags[tail:]), parts, seconds))
            _own(owner, drafts, len(drafts) - 1)
            shared = len(drafts) - 1 if tails[layer] == 0 else shared
    proving, gates = proving_tasks(doubtful, sizing) if doubtful else ([], {})
    tasks = [_behind_gates(task, gates) for task in _finished(drafts, owner, sizing)]
    return (*proving, *tasks, *(_behind_gates(task, gates) for task in _publish_tasks(tasks, publish)))


def _behind_gates(task: Task, gates: Mapping[str, str]) -> Task:
    """Have a task wait for the gates of its layers."""
    needed = dict.fromkeys(gates[layer] for layer in task.all_layers if layer in gates)
    return replace(task, inputs=(*needed, *task.inputs)) if needed else task


def _tail_start(mags: Sequence[PendingMag], least_seconds: float) -> int:
    """Return the index from which on all coarser mags together cost less than a task is worth."""
    seconds = 0.0
    for index in range(len(mags) - 1, -1, -1):
        seconds += mags[index].seconds
        if seconds > least_seconds:
            return index + 1
    return 0


def _ranges(mag: PendingMag, sizing: Sizing, most: int, total_seconds: float) -> list[Sequence[Position]]:
    """Cut a mag's units into runs of about equal length."""
    share = max(1, int(most * mag.seconds / max(total_seconds, 1e-9)))
    count = max(1, min(sizing.ranges_of(mag.seconds), len(mag.units) // mag.least_units, share))
    cuts = [round(i * len(mag.units) / count) for i in range(count + 1)]
    return [mag.units[a:b] for a, b in itertools.pairwise(cuts) if b > a]


def _own(owner: dict[tuple[str, Mag], dict[Position, int]], drafts: list[_Draft], index: int) -> None:
    for part in drafts[index].parts:
        owner[part.layer, part.mag].update(dict.fromkeys(part.units, index))


def _finished(drafts: list[_Draft], owner: Mapping[tuple[str, Mag], Mapping[Position, int]], sizing: Sizing) -> list[Task]:
    for index, draft in enumerate(drafts):
        for mag, part in zip(draft.pending, draft.parts, strict=True):
            if not isinstance(mag.source, ArraySpec) or mag.plan.from_mag is None:
                continue
            owners = owner.get((part.layer, mag.plan.from_mag), {})
            for unit in part.units if owners else ():
                draft.inputs.update(owners[u] for u in mag.plan.source_units(unit, mag.source) if u in owners)
        draft.inputs.discard(index)
    names = [f"{index:05d}-{_label(draft.parts[0].layer)}-{draft.parts[0].mag}" for index, draft in enumerate(drafts)]
    tasks: list[Task] = []
    wanted = _threads(drafts, sizing.cores) if sizing.threads is None else [sizing.threads] * len(drafts)
    for index, draft in enumerate(drafts):
        threads, mem_mb = _fitted(draft, wanted[index], sizing.memory_mb)
        kinds = {mag.plan.kind for mag in draft.pending}
        rule = next(kind for kind in (CONVERT, DOWNLOAD, DOWNSAMPLE) if kind in kinds)
        tasks.append(
            Task(
                name=names[index],
                rule=rule,
                parts=tuple(draft.parts),
                inputs=tuple(names[i] for i in sorted(draft.inputs)),
                threads=threads,
                mem_mb=mem_mb,
                runtime_s=TASK_SECONDS + draft.seconds / threads,
            )
        )
    return tasks


def _fitted(draft: _Draft, threads: int, most_mb: int | None) -> tuple[int, int]:
    """Return how many of the threads a task may have in so much memory, at least one, and the memory (MB) that it takes then."""
    while True:
        mem_mb = math.ceil(task_bytes([(mag.plan, mag.source) for mag in draft.pending], threads) / 1e6)
        if most_mb is None or mem_mb <= most_mb or threads == 1:
            return threads, mem_mb
        threads -= 1


def _threads(drafts: Sequence[_Draft], cores: int) -> list[int]:
    """Share the cores among tasks that may run side by side, those of equal depth, by the work that each has.

    Where a few tasks can not be given their parts of the cores, as they would not end at about the same time, each gets all
    cores, so that they run one after the other and leave none idle.
    """
    depths: list[int] = []
    groups: dict[int, list[int]] = defaultdict(list)
    for index, draft in enumerate(drafts):  # each stands after those that it needs
        depths.append(1 + max((depths[needed] for needed in draft.inputs), default=-1))
        groups[depths[-1]].append(index)
    threads = [1] * len(drafts)
    for group in groups.values():
        total = sum(drafts[index].seconds for index in group)
        for index in group:
            threads[index] = max(1, int(cores * drafts[index].seconds / total + 1e-6))
        longest = max(drafts[index].seconds / threads[index] for index in group)
        if len(group) <= cores and longest > UNEVEN * total / cores:
            for index in group:
                threads[index] = cores
    return threads


def _label(layer: str) -> str:
    """Return a layer's name as it may stand in the name of a task, and so of files and Snakemake targets."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", layer)[:60]


def _publish_tasks(tasks: Sequence[Task], layers: Iterable[str]) -> list[Task]:
    """One publish task per layer; layers that share a task are published together."""
    makers: dict[str, list[str]] = {layer: [] for layer in layers}
    for task in tasks:
        for layer in dict.fromkeys(part.layer for part in task.parts):
            if layer in makers:
                makers[layer].append(task.name)
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for layer, names in makers.items():
        together[tuple(names) if len(names) == 1 else (layer, *names)].append(layer)
    return [
        Task(
            name=f"{index:05d}-{_label(group[0])}",
            rule=PUBLISH,
            inputs=tuple(makers[group[0]]),
            layers=tuple(group),
            mem_mb=math.ceil(BASE_BYTES / 1e6),
        )
        # Numbers go on: a layer `em-1` is labelled like mag 1 of a layer `em`.
        for index, group in enumerate(together.values(), len(tasks))
    ]
