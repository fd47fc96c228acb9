"""Group pending units into tasks: enough to keep all cores busy, few enough to keep the overhead small."""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wkpipe.formats.base import Position
from wkpipe.geometry import Mag
from wkpipe.plan.cost.memory import task_bytes
from wkpipe.plan.cost.resources import BASE_BYTES, TASK_SECONDS, Sizing, unit_seconds
from wkpipe.plan.cut.proving import proving_tasks
from wkpipe.plan.cut.task import PUBLISH, Range, Task
from wkpipe.plan.state.found import DoubtfulMag, PendingMag

UNEVEN = 1.2
"""The longest duration of a task among tasks that share the cores, relative to their average."""

SHARED_PER_CORE = 2
"""The tasks per core that small layers are grouped into: more tasks cost overhead, fewer leave cores idle at the end."""


def _seconds(mag: PendingMag) -> float:
    """Return how long one thread takes to make the pending units of a mag."""
    return len(mag.units) * unit_seconds(mag.plan)


@dataclass
class _TaskDraft:
    """A task in the making."""

    pending: list[PendingMag]
    ranges: list[Range]
    seconds: float = 0.0
    inputs: set[int] = field(default_factory=set)


def group_tasks(
    layers: Mapping[str, Sequence[PendingMag]],
    publish: Iterable[str],
    sizing: Sizing,
    doubtful: Sequence[DoubtfulMag] = (),
    apart: bool = False,
) -> tuple[Task, ...]:
    """Return the tasks of a run, each after those that it needs.

    `layers` maps every layer to its pending mags from fine to coarse. `publish` names the layers to publish, with `apart`
    each by a task of its own. `doubtful` are the units that are proven first. A mag's units are cut into ranges. The cheap
    coarse mags of a layer stay in one task, together with the mags before them that are a single range. The cheap mags of
    many layers share tasks.
    """
    drafts: list[_TaskDraft] = []
    owner: dict[tuple[str, Mag], dict[Position, int]] = defaultdict(dict)
    total = sum(_seconds(mag) for mags in layers.values() for mag in mags)
    tails = {layer: _tail_start(mags, sizing.least_seconds) for layer, mags in layers.items()}
    small = sum(_seconds(mag) for layer, mags in layers.items() if tails[layer] == 0 for mag in mags)
    # Small layers share tasks: these are worth their overhead, and every core gets some.
    shared_seconds = min(max(sizing.least_seconds, small / (SHARED_PER_CORE * sizing.cores)), sizing.target_seconds)
    shared: int | None = None
    for layer, mags in layers.items():
        ranges = [_ranges(mag, sizing, sizing.most_tasks, total) for mag in mags[: tails[layer]]]
        tail = len(ranges)
        while tail and len(ranges[tail - 1]) == 1:  # what must wait for a single task anyway joins it
            tail -= 1
        for mag, runs in zip(mags[:tail], ranges, strict=False):
            for units in runs:
                drafts.append(_TaskDraft([mag], [Range(mag.plan.layer, mag.plan.mag, tuple(units))], len(units) * unit_seconds(mag.plan)))
                _own(owner, drafts, len(drafts) - 1)
        if tail == len(mags):
            continue
        parts = [Range(mag.plan.layer, mag.plan.mag, tuple(mag.units)) for mag in mags[tail:]]
        seconds = sum(_seconds(mag) for mag in mags[tail:])
        if tails[layer] == 0 and shared is not None and drafts[shared].seconds < shared_seconds:
            drafts[shared].pending += mags
            drafts[shared].ranges += parts
            drafts[shared].seconds += seconds
            _own(owner, drafts, shared)
        else:
            drafts.append(_TaskDraft(list(mags[tail:]), parts, seconds))
            _own(owner, drafts, len(drafts) - 1)
            shared = len(drafts) - 1 if tails[layer] == 0 else shared
    proving, gates = proving_tasks(doubtful, sizing) if doubtful else ([], {})
    tasks = [_behind_gates(task, gates) for task in _finished(drafts, owner, sizing)]
    return (*proving, *tasks, *(_behind_gates(task, gates) for task in _publish_tasks(tasks, publish, apart)))


def _behind_gates(task: Task, gates: Mapping[str, str]) -> Task:
    """Return a task that also waits for the gates of its layers."""
    needed = dict.fromkeys(gates[layer] for layer in task.all_layers if layer in gates)
    return replace(task, inputs=(*needed, *task.inputs)) if needed else task


def _tail_start(mags: Sequence[PendingMag], least_seconds: float) -> int:
    """Return the index of the first mag that costs, with all coarser ones, too little for a task of its own."""
    seconds = 0.0
    for index in range(len(mags) - 1, -1, -1):
        seconds += _seconds(mags[index])
        if seconds > least_seconds:
            return index + 1
    return 0


def _ranges(mag: PendingMag, sizing: Sizing, most: int, total_seconds: float) -> list[Sequence[Position]]:
    """Cut a mag's units into runs of about equal length."""
    share = max(1, int(most * _seconds(mag) / max(total_seconds, 1e-9)))
    count = max(1, min(sizing.ranges_of(_seconds(mag)), len(mag.units) // mag.least_units, share))
    cuts = [round(i * len(mag.units) / count) for i in range(count + 1)]
    if (may_part := mag.plan.origin.parting(mag.plan, mag.source)) is not None:
        cuts = [_moved(at, lambda i: may_part(mag.units[i - 1], mag.units[i]), len(mag.units)) for at in cuts]
    return [mag.units[a:b] for a, b in itertools.pairwise(cuts) if b > a]


def _moved(at: int, may_cut: Callable[[int], bool], end: int) -> int:
    """Return the first place from `at` on where a run of units may be cut; its ends always are."""
    return next((i for i in range(at, end) if i == 0 or may_cut(i)), end)


def _own(owner: dict[tuple[str, Mag], dict[Position, int]], drafts: list[_TaskDraft], index: int) -> None:
    for mag_range in drafts[index].ranges:
        owner[mag_range.layer, mag_range.mag].update(dict.fromkeys(mag_range.units, index))


def _finished(drafts: list[_TaskDraft], owner: Mapping[tuple[str, Mag], Mapping[Position, int]], sizing: Sizing) -> list[Task]:
    for index, draft in enumerate(drafts):
        for mag, mag_range in zip(draft.pending, draft.ranges, strict=True):
            if mag.plan.source_mag is None:
                continue
            owners = owner.get((mag_range.layer, mag.plan.source_mag), {})
            for unit in mag_range.units if owners else ():
                draft.inputs.update(owners[u] for u in mag.plan.source_units(unit, mag.source) if u in owners)
        draft.inputs.discard(index)
    names = [f"{index:05d}-{_label(draft.ranges[0].layer)}-{draft.ranges[0].mag}" for index, draft in enumerate(drafts)]
    tasks: list[Task] = []
    wanted = _threads(drafts, sizing.cores) if sizing.threads is None else [sizing.threads] * len(drafts)
    for index, draft in enumerate(drafts):
        threads, mem_mb = _fitted(draft, wanted[index], sizing.memory_mb)
        tasks.append(
            Task(
                name=names[index],
                rule=_rule(draft),
                ranges=tuple(draft.ranges),
                inputs=tuple(names[i] for i in sorted(draft.inputs)),
                threads=threads,
                mem_mb=mem_mb,
                runtime_s=TASK_SECONDS + draft.seconds / threads,
            )
        )
    return tasks


def _rule(draft: _TaskDraft) -> str:
    """Return the rule of a task: that of a mag from outside of the dataset if it makes one, else that of its mags."""
    origins = [mag.plan.origin for mag in draft.pending]
    return next((origin.kind for origin in origins if origin.source_mag is None), origins[0].kind)


def _fitted(draft: _TaskDraft, threads: int, most_mb: int | None) -> tuple[int, int]:
    """Return how many of the threads a task can use within `most_mb`, at least one, and the memory (MB) that it then takes."""
    while True:
        mem_mb = math.ceil(task_bytes([(mag.plan, mag.source) for mag in draft.pending], threads) / 1e6)
        if most_mb is None or mem_mb <= most_mb or threads == 1:
            return threads, mem_mb
        threads -= 1


def _threads(drafts: Sequence[_TaskDraft], cores: int) -> list[int]:
    """Share the cores among tasks of equal depth, which may run side by side, by the work of each.

    If a few tasks cannot share the cores so that they end at about the same time, each gets all cores. They then run one
    after the other and leave no core idle.
    """
    depths: list[int] = []
    groups: dict[int, list[int]] = defaultdict(list)
    for index, draft in enumerate(drafts):  # each comes after those that it needs
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
    """Return a layer's name in a form that is valid in names of tasks, and so of files and Snakemake targets."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", layer)[:60]


def _publish_tasks(tasks: Sequence[Task], layers: Iterable[str], apart: bool) -> list[Task]:
    """Return a publish task for each layer; unless `apart` is True, layers that share a task are published together."""
    makers: dict[str, list[str]] = {layer: [] for layer in layers}
    for task in tasks:
        for layer in dict.fromkeys(mag_range.layer for mag_range in task.ranges):
            if layer in makers:
                makers[layer].append(task.name)
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for layer, names in makers.items():
        together[tuple(names) if len(names) == 1 and not apart else (layer, *names)].append(layer)
    return [
        Task(
            name=f"{index:05d}-{_label(group[0])}",
            rule=PUBLISH,
            inputs=tuple(makers[group[0]]),
            layers=tuple(group),
            mem_mb=math.ceil(BASE_BYTES / 1e6),
        )
        # Numbers continue: a layer `em-1` is labelled like mag 1 of a layer `em`.
        for index, group in enumerate(together.values(), len(tasks))
    ]
