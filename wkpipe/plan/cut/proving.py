"""Tasks that prove doubtful units: they read the units and compare their digests; see `wkpipe.steps.prove`.

Every task that makes units of a layer waits until all doubtful units of that layer are proven. It waits for the layer's
*gate*, which also makes sure that no data of another tool are overwritten. A single proving task is itself the gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wkpipe.engine.budget import index_bytes
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.formats.chunked import READ_BYTES as DECODED_BYTES
from wkpipe.formats.proving import READ_BYTES
from wkpipe.plan.cost.resources import BASE_BYTES, TASK_SECONDS, Sizing
from wkpipe.plan.cut.task import PROVE, Range, Task
from wkpipe.plan.state.found import DoubtfulMag

PROVE_RATE = 200e6
"""Stored bytes per second and thread that are read, digested and, if they differ, decoded; only used to size tasks."""

LOADING = 3
"""The copies of a shard's index in memory while it is read and checked."""


def proving_bytes(spec: ArraySpec) -> int:
    """Return the memory of a thread: a run of stored bytes, decoded voxels of a region with their chunks, and the index."""
    return 2 * (READ_BYTES + spec.chunk_bytes) + 3 * max(DECODED_BYTES, spec.chunk_bytes) + LOADING * index_bytes(spec)


@dataclass
class _ProofDraft:
    """A proving task in the making."""

    ranges: list[Range] = field(default_factory=list)
    seconds: float = 0.0
    thread_bytes: int = 0

    def task(self, name: str, gated: Sequence[str], threads: int) -> Task:
        return Task(
            name=name,
            rule=PROVE,
            ranges=tuple(self.ranges),
            layers=tuple(gated),
            threads=threads,
            mem_mb=math.ceil((BASE_BYTES + threads * self.thread_bytes) / 1e6),
            runtime_s=TASK_SECONDS + self.seconds / threads,
        )


def proving_tasks(doubtful: Iterable[DoubtfulMag], sizing: Sizing) -> tuple[list[Task], dict[str, str]]:
    """Return the tasks that prove units, and the gate of each layer that has doubtful ones."""
    mags = list(doubtful)
    drafts = _drafts(mags, sizing)
    threads = sizing.threads or max(1, sizing.cores // max(1, len(drafts)))
    makers: dict[str, list[int]] = {}
    for index, draft in enumerate(drafts):
        for layer in dict.fromkeys(mag_range.layer for mag_range in draft.ranges):
            makers.setdefault(layer, []).append(index)
    alone = [[layer for layer, indices in makers.items() if indices == [index]] for index in range(len(drafts))]
    names = [f"prove-{index:05d}" for index in range(len(drafts))]
    tasks = [draft.task(name, gated, threads) for draft, name, gated in zip(drafts, names, alone, strict=True)]
    gates = {layer: names[index] for index, gated in enumerate(alone) for layer in gated}
    for layer, indices in makers.items():
        if layer not in gates:
            gates[layer] = f"prove-{len(tasks):05d}"
            needed = tuple(names[index] for index in indices)
            tasks.append(Task(gates[layer], PROVE, inputs=needed, layers=(layer,), mem_mb=math.ceil(BASE_BYTES / 1e6)))
    return tasks, gates


def _drafts(mags: Sequence[DoubtfulMag], sizing: Sizing) -> list[_ProofDraft]:
    """Cut the units into runs of about equal length, across mags and layers."""
    total = sum(sum(mag.units.values()) for mag in mags) / PROVE_RATE
    count = sum(len(mag.units) for mag in mags)
    runs = max(1, min(sizing.ranges_of(total), sizing.most_tasks // 4, count))
    if total < sizing.least_seconds:
        runs = 1
    share = total / runs
    drafts: list[_ProofDraft] = []
    for mag in mags:
        part: list[Position] = []
        for unit, size in mag.units.items():
            if not drafts or (drafts[-1].seconds >= share and len(drafts) < runs):
                _close(drafts, mag, part)
                part = []
                drafts.append(_ProofDraft())
            part.append(unit)
            drafts[-1].seconds += size / PROVE_RATE
        _close(drafts, mag, part)
    return drafts


def _close(drafts: list[_ProofDraft], mag: DoubtfulMag, units: list[Position]) -> None:
    """Add these units of a mag to the last task as a range."""
    if units:
        drafts[-1].ranges.append(Range(mag.layer, mag.mag, tuple(units)))
        drafts[-1].thread_bytes = max(drafts[-1].thread_bytes, proving_bytes(mag.spec))
