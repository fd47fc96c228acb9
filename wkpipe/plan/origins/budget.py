"""The cubes of a step, and the memory of streaming them: shared by the memory models of the origins."""

from __future__ import annotations

from collections.abc import Iterable

from wkpipe.engine.budget import (
    CHUNK_BYTES,
    FILE_CHUNK_BYTES,
    INDEX_CACHE_BYTES,
    LEAST_CUBES,
    Ahead,
    ahead_of,
    cube_bytes_of,
    index_bytes,
    slot_bytes,
    slots,
    source_bytes,
    writer_bytes,
    writing_slots,
)
from wkpipe.engine.cubes import cube_grid
from wkpipe.formats.base import ArraySpec, DataFormat
from wkpipe.formats.noted_reads import ENTRY_BYTES, is_noted, noted_bytes_of_shards
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.storage.commit import WRITE_BYTES
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels

WORKER_BYTES = 8 << 20
"""The memory of a forked worker before its first cube: pages of the interpreter that it or its parent wrote to."""

SLACK_BYTES = 4 << 20
"""The memory that the allocator cannot reuse at the moment, in every process that computes cubes."""

LOADING = 3
"""The copies of a shard's index in memory while it is read and checked."""


def cubes_of_units(plan: MagPlan) -> tuple[Vec3Int, int]:
    """Return how many chunks a cube has along x, y, z, and how many cubes the largest unit has."""
    grid = cube_grid(plan.spec, source_bytes(plan.spec, plan.factors), bytes_of_cubes(plan))
    chunks = _most_chunks(plan)
    return grid.pairmin(chunks), chunks.ceildiv(grid).prod()


def bytes_of_cubes(plan: MagPlan) -> int:
    """Return how many source bytes a cube of a mag has."""
    return cube_bytes_of(source_bytes(plan.spec, plan.factors), _most_chunks(plan).prod())


def ahead_in(plan: MagPlan) -> Ahead:
    """Return how far a worker may read ahead in a mag."""
    return ahead_of(source_bytes(plan.spec, plan.factors), bytes_of_cubes(plan))


def _most_chunks(plan: MagPlan) -> Vec3Int:
    """Return how many chunks along x, y, z the largest unit has."""
    chunks = plan.box.size.ceildiv(spatial(plan.spec, plan.spec.chunk_shape))
    return chunks.pairmin(spatial(plan.spec, plan.spec.chunks_per_unit))


def streamed_bytes(plan: MagPlan, source: ArraySpec, region: Vec3Int, cube_bytes: int, threads: int) -> int:
    """Predict the peak memory of making units of one mag cube by cube from an array with the layout `source`.

    `region` is the size, in source voxels, of what a unit is made from. Computing a cube takes `cube_bytes`.
    """
    grid, cubes = cubes_of_units(plan)
    target = grid.prod() * plan.spec.chunk_bytes
    workers = min(threads, cubes // LEAST_CUBES)
    each = SLACK_BYTES + _index_cache_bytes(source, region)
    computing = max(cube_bytes, LOADING * index_bytes(source))
    # The parts that the writer collects, and the same joined to be written.
    written = min(WRITE_BYTES, cubes * target)
    collected = written if plan.spec.data_format is DataFormat.ZARR3 else 0
    appending = 2 * (collected + target)
    kept = writer_bytes(plan.spec, plan.box.size) + _noted_bytes(source, region)
    if workers < 2:
        return kept + each + target + max(collected + computing, appending)
    if not plan.spec.is_sharded:  # workers write chunk files themselves, and only their receipts wait
        return kept + workers * (WORKER_BYTES + each + computing)
    is_by_workers = plan.spec.data_format is DataFormat.ZARR3 or plan.spec.compression.is_on
    slot = slot_bytes(plan.spec, grid.prod())
    count = slots(workers, ahead_in(plan)) + (writing_slots(slot) if is_by_workers else 0)
    taken = written if is_by_workers else appending  # workers write shards, but for chunks that are copied as they are
    return kept + target + taken + min(cubes, count) * slot + workers * (WORKER_BYTES + each + computing)


def encoding_bytes(grid: Vec3Int, spec: ArraySpec) -> int:
    """Return the bytes of a cube of `grid` chunks while it is cut and encoded."""
    return (4 if grid.prod() > 1 else 3) * grid.prod() * spec.chunk_bytes


def stored_bytes(source: ArraySpec, count: int) -> int:
    """Return the bytes of some stored chunks that were read, at most."""
    return count * (source.chunk_bytes + (CHUNK_BYTES if source.is_sharded else FILE_CHUNK_BYTES))


def joining_bytes(source: ArraySpec, count: int) -> int:
    """Return the bytes that are taken while some stored chunks are put together: chunk files are read one by one."""
    return 0 if source.is_sharded or count == 1 else stored_bytes(source, count)


def touched_chunks(source: ArraySpec, sizes: Iterable[int]) -> Vec3Int:
    """Return how many chunks a box of source voxels of these sizes touches along x, y, z, if it is aligned as cubes are."""
    chunk = spatial(source, source.chunk_shape)
    return Vec3Int([-(-n // c) if n % c == 0 or c % n == 0 else -(-n // c) + 1 for n, c in zip(sizes, chunk, strict=True)])


def deep_chunks(source: ArraySpec, channels: Channels) -> int:
    """Return how many chunks the channels of a layer touch along the axis c."""
    if "c" not in source.axes:
        return 1
    depth = source.chunk_shape[source.axes.index("c")]
    return -(-channels.end // depth) - channels.first // depth


def _noted_bytes(source: ArraySpec, region: Vec3Int) -> int:
    """Return the bytes in which the reads of a unit's source are noted: of chunk files, or of shards that begin in it."""
    if source.is_sharded:
        return noted_bytes_of_shards(source, region.ceildiv(spatial(source, source.unit_shape)).prod())
    return (region.ceildiv(spatial(source, source.chunk_shape)) + 1).prod() * ENTRY_BYTES if is_noted(source) else 0


def _index_cache_bytes(source: ArraySpec, region: Vec3Int) -> int:
    """Return the bytes of the indices of source shards that a process keeps open."""
    wanted = region.ceildiv(spatial(source, source.unit_shape)).prod()
    one = index_bytes(source)
    return max(one, min(wanted * one, INDEX_CACHE_BYTES))
