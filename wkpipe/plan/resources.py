"""What a task will take: memory, time, threads; and what the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from wkpipe.formats.base import ArraySpec
from wkpipe.plan.mag_plan import DOWNLOAD, MagPlan
from wkpipe.storage.digest import DIGEST_BYTES
from wkpipe.stored.axes import spatial

CUBE_BYTES = 4 << 20
"""Source bytes of the cube that a thread works on: small enough for the CPU's cache, large enough to hide overheads."""

BASE_BYTES = 40 << 20
"""A job's process before it does anything: interpreter, numpy, codecs, its plan (measured: 22 MB, and 19 MB of mapped
libraries). The Snakemake process around it, in jobs of Slurm and Kubernetes, is not part of this."""

SLAB_BYTES = 4 * CUBE_BYTES
"""Cubes of a single chunk with more source bytes than this are computed in slabs of this size."""

INDEX_BYTES_PER_CHUNK = 16

INDEX_CACHE_BYTES = 32 << 20
"""Indices of source shards that are kept open."""

WRITER_BYTES_PER_CHUNK = 88
"""What a writer of a storage shard keeps of a chunk: its entry and digest, and their copies while the index is encoded."""

CHUNK_BYTES = 32
"""The bookkeeping for one chunk of a source shard that was read: its place and size."""

FILE_CHUNK_BYTES = 350
"""The bookkeeping for one chunk file that was read."""

FILE_BYTES = 1100
"""What a chunk file takes until its unit is committed: its names, size and checksum (measured: 900 to 1000)."""

READ_RATE = 250e6
"""Bytes of decoded source per second and thread (decode, kernel, encode together); only used to size tasks."""

DOWNLOAD_RATE = 30e6
"""Bytes of voxels per second that a download job gets from a server; only used to size tasks."""

CONNECTIONS = 4
"""Requests at once of a download job: they wait for the server most of the time."""

UNIT_SECONDS = 0.01
"""The fixed cost of a unit: opening, syncing, recording."""

TASK_SECONDS = 0.4
"""The fixed cost of a task: starting a process, loading the plan."""


RANGE_SECONDS = 60.0
"""What a range takes on a cluster at least, so that a job is worth its queueing and its start."""

RANGES_PER_JOB = 50
"""How many such ranges one cluster job does at most."""

JOB_WAVES = 3
"""How many jobs follow each other in every slot at least, so that slots end at about the same time."""

JOB_THREADS = 4
"""Cores of a cluster job where the user gives none."""


@dataclass(frozen=True)
class Sizing:
    """How work is cut into tasks for one strategy.

    `cores` is the parallelism that is to be kept busy, with `waves` tasks for each; seconds are those of one thread. A layer's
    cheap end, of up to `least_seconds`, stays in one task; tasks that ranges of a mag make take `target_seconds` at most, and
    `range_seconds` at least. On a cluster `cores` counts jobs, each has `threads`, or as many of them as the predicted memory
    stays below `memory_mb` with; None: tasks share the cores.
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
    def local(cls, cores: int) -> Sizing:
        return cls(cores=cores, least_seconds=1.0, target_seconds=10.0)

    @classmethod
    def cluster(
        cls,
        jobs: int,
        threads: int = JOB_THREADS,
        memory_mb: int | None = None,
        range_seconds: float = RANGE_SECONDS,
        job_seconds: float = math.inf,
    ) -> Sizing:
        """Few and long jobs, as long as all `jobs` slots stay busy; a range takes `range_seconds` of `threads` at least.

        No job is to take more than `job_seconds`.
        """
        seconds = min(range_seconds, job_seconds) * threads
        return cls(
            cores=jobs,
            least_seconds=seconds,
            target_seconds=min(RANGES_PER_JOB * seconds, job_seconds * threads),
            waves=JOB_WAVES,
            range_seconds=seconds,
            threads=threads,
            memory_mb=memory_mb,
        )

    def ranges_of(self, seconds: float) -> int:
        """Return into how many ranges so much work is cut."""
        count = max(math.ceil(seconds / self.target_seconds), self.cores * self.waves)
        return count if self.range_seconds == 0 else max(1, min(count, int(seconds / self.range_seconds)))


def available_cores() -> int:
    """Return the cores this process may use: the least of affinity, cgroup quota and SLURM_CPUS_PER_TASK."""
    counts = [len(os.sched_getaffinity(0))]
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            counts.append(max(1, int(quota) // int(period)))
    with contextlib.suppress(ValueError):
        counts.append(max(1, int(os.environ.get("SLURM_CPUS_PER_TASK", ""))))
    return min(counts)


def available_memory_mb() -> int:
    """Return the memory (MB) that running tasks may take together: 80 % of the machine's or the cgroup's."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if text != "max":
            limits.append(int(text))
    return int(min(limits) * 0.8 / 1e6)


def connections_of(threads: int) -> int:
    """Return how many requests at once a download job with so many cores has."""
    return max(CONNECTIONS, threads)


def in_flight(threads: int) -> int:
    """Return how many cubes may be in work or waiting to be appended at once."""
    return 1 if threads == 1 else 2 * threads


MOST_AHEAD = 3
"""How many cubes a worker may read ahead where reading is slow."""

AHEAD_BYTES = 6 << 20
"""Stored bytes that a worker may read ahead: one cube that does not compress, or more that do."""


def stored_bytes_held(stored: int) -> int:
    """Return what a worker holds at most that reads cubes of up to so many stored bytes: one cube, and those ahead."""
    if stored > AHEAD_BYTES:
        return max(stored, 2 * AHEAD_BYTES)  # smaller ones are read ahead
    return stored * (1 + min(MOST_AHEAD, AHEAD_BYTES // stored))


def most_ahead(plan: MagPlan) -> int:
    """Return how many cubes of a mag a worker may read ahead: none of those that are read in parts."""
    return MOST_AHEAD if source_bytes_per_chunk(plan) <= SLAB_BYTES else 0


def slots(workers: int, ahead: int) -> int:
    """Return how many results may exist at once: for each worker two finished ones, one in work, and those read ahead."""
    return workers * (3 + ahead)


HANDOVER_BYTES = 32 << 20
"""Voxels of a mag that is sampled along with the finer one, and kept until it is its turn to be written."""

LEAST_CUBES = 2
"""Cubes for each worker that make it worth to start one."""


def slot_bytes(spec: ArraySpec, chunks: int) -> int:
    """Return the most that some encoded chunks can take, with their sizes and digests."""
    return chunks * (8 + DIGEST_BYTES + spec.chunk_bytes + spec.chunk_bytes // 128 + 1024)


def source_bytes_per_chunk(plan: MagPlan) -> int:
    """Return how many bytes of decoded source one chunk of the mag is computed from."""
    return plan.spec.chunk_bytes * plan.factors.prod()


def voxel_bytes(spec: ArraySpec) -> int:
    """Return the bytes of all channels of one voxel."""
    return spec.chunk_bytes // spatial(spec, spec.chunk_shape).prod()


def unit_seconds(plan: MagPlan) -> float:
    """Predict how long one thread takes for one whole unit."""
    first, end = plan.box
    voxels = (end - first).pairmin(spatial(plan.spec, plan.spec.unit_shape)).prod()
    rate = DOWNLOAD_RATE if plan.kind == DOWNLOAD else READ_RATE
    return UNIT_SECONDS + voxels * voxel_bytes(plan.spec) * plan.factors.prod() / rate


def index_bytes(spec: ArraySpec) -> int:
    """Return the memory of one storage shard's index of chunks; chunk files have none."""
    return math.prod(spec.chunks_per_unit) * INDEX_BYTES_PER_CHUNK if spec.is_sharded else 0


def writer_bytes(plan: MagPlan) -> int:
    """Return what the writer of one unit keeps in mind of its chunks."""
    if plan.spec.is_sharded:
        return math.prod(plan.spec.chunks_per_unit) * WRITER_BYTES_PER_CHUNK
    chunk, unit = spatial(plan.spec, plan.spec.chunk_shape), spatial(plan.spec, plan.spec.unit_shape)
    # One chunk more for boxes that begin or end within one.
    return ((plan.box[1] - plan.box[0]).ceildiv(chunk) + 1).pairmin(unit // chunk).prod() * FILE_BYTES
