"""The memory, time and threads that a task will take, and the cores and memory that the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from wkpipe.formats.base import ArraySpec
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.stored.axes import spatial

BASE_BYTES = 43 << 20
"""A job's process before it does anything: interpreter, numpy, codecs, its plan (measured: 25 MB, and 22 MB of mapped
libraries). A Snakemake process around it, as other executors start one in their jobs, is not part of this."""

UNIT_SECONDS = 0.01
"""The fixed cost of a unit: opening, syncing, recording."""

TASK_SECONDS = 0.4
"""The fixed cost of a task: starting a process, loading the plan."""


RANGE_SECONDS = 60.0
"""The least time of a range on a cluster, so that a job is worth its queueing and its start."""

RANGES_PER_JOB = 50
"""At most this many such ranges are one cluster job."""

JOB_WAVES = 3
"""At least this many jobs follow each other in every slot, so that all slots end at about the same time."""

JOB_THREADS = 4
"""The cores of a cluster job if the user gives none."""


@dataclass(frozen=True)
class CoreSlots:
    """Tasks run at once on `cores` of this machine."""

    cores: int


@dataclass(frozen=True)
class JobSlots:
    """Tasks run at once as `jobs` of a cluster.

    Each has `threads`, and `memory_mb` of predicted memory if that is limited. A range is worth a job if it takes `range_seconds`; no
    job is to take more than `job_seconds`.
    """

    jobs: int
    threads: int = JOB_THREADS
    memory_mb: int | None = None
    range_seconds: float = RANGE_SECONDS
    job_seconds: float = math.inf


@dataclass(frozen=True)
class Sizing:
    """How work is cut into tasks for one strategy.

    `cores` is the number of cores to keep busy, with `waves` tasks for each; seconds are those of one thread. The coarse mags
    of a layer that cost up to `least_seconds` together stay in one task. Tasks that are ranges of a mag take `target_seconds`
    at most and `range_seconds` at least. On a cluster `cores` counts jobs. Each has `threads`, or fewer if the predicted memory
    would exceed `memory_mb`; if `threads` is None, tasks share the cores.
    """

    cores: int
    least_seconds: float
    target_seconds: float
    most_tasks: int = 4000
    waves: int = 1
    range_seconds: float = 0.0
    threads: int | None = None
    memory_mb: int | None = None

    @classmethod
    def of(cls, slots: CoreSlots | JobSlots) -> Sizing:
        """Return how work is cut for these slots.

        For a cluster: few and long jobs that keep all slots busy; a range takes its seconds with all threads of a job.
        """
        if isinstance(slots, CoreSlots):
            return cls(cores=slots.cores, least_seconds=1.0, target_seconds=10.0)
        seconds = min(slots.range_seconds, slots.job_seconds) * slots.threads
        return cls(
            cores=slots.jobs,
            least_seconds=seconds,
            target_seconds=min(RANGES_PER_JOB * seconds, slots.job_seconds * slots.threads),
            waves=JOB_WAVES,
            range_seconds=seconds,
            threads=slots.threads,
            memory_mb=slots.memory_mb,
        )

    @classmethod
    def local(cls, cores: int) -> Sizing:
        return cls.of(CoreSlots(cores))

    def ranges_of(self, seconds: float) -> int:
        """Return the number of ranges that work of this length is cut into."""
        count = max(math.ceil(seconds / self.target_seconds), self.cores * self.waves)
        return count if self.range_seconds == 0 else max(1, min(count, int(seconds / self.range_seconds)))


def available_cores() -> int:
    """Return the cores that the machine gives this process: the least of affinity and cgroup quota."""
    counts = [len(os.sched_getaffinity(0))]
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            counts.append(max(1, int(quota) // int(period)))
    return min(counts)


def available_memory_mb() -> int:
    """Return the memory (MB) that running tasks may take together: 80 % of the machine's or the cgroup's."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if text != "max":
            limits.append(int(text))
    return int(min(limits) * 0.8 / 1e6)


def voxel_bytes(spec: ArraySpec) -> int:
    """Return the bytes of all channels of one voxel."""
    return spec.chunk_bytes // spatial(spec, spec.chunk_shape).prod()


def unit_seconds(plan: MagPlan) -> float:
    """Predict how long one thread takes for one whole unit."""
    first, end = plan.box
    voxels = (end - first).pairmin(spatial(plan.spec, plan.spec.unit_shape)).prod()
    return UNIT_SECONDS + voxels * voxel_bytes(plan.spec) * plan.factors.prod() / plan.origin.bytes_per_second
