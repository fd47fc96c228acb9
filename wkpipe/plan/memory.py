"""The memory model: what one task holds at its peak, from shapes, dtypes and threads alone.

Predicted is the sum over a job's process and all that it forks, memory that they share counted once. A task works on
one unit at a time (a converted mag: on one layer of units side by side). Each worker process holds one cube's stored
chunks, those of the next one, and the larger of what sampling and encoding take; finished cubes wait, encoded, in shared
slots. On top come the chunk indices of the units that are written and of the source units that are read. None of this
grows with the size of a shard or a dataset.

How well voxels compress is not known: the prediction is that of noise, and data that compress well take less, by up to
the stored chunks and the slots.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from wkpipe.formats.base import ArraySpec, DataFormat
from wkpipe.formats.chunked import READ_BYTES
from wkpipe.formats.fetched import BATCH_BYTES
from wkpipe.formats.zarr3 import WRITE_BYTES
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.grid import morton_bits
from wkpipe.images import ImageStack
from wkpipe.plan.mag_plan import MagPlan, Source
from wkpipe.plan.resources import (
    BASE_BYTES,
    CHUNK_BYTES,
    CUBE_BYTES,
    FILE_CHUNK_BYTES,
    HANDOVER_BYTES,
    INDEX_CACHE_BYTES,
    LEAST_CUBES,
    SLAB_BYTES,
    connections_of,
    in_flight,
    index_bytes,
    most_ahead,
    slot_bytes,
    slots,
    source_bytes_per_chunk,
    stored_bytes_held,
    writer_bytes,
)
from wkpipe.sampling import halo, working_bytes
from wkpipe.stored.axes import spatial

WORKER_BYTES = 8 << 20
"""What a forked worker has of its own before its first cube: pages of the interpreter that it or its parent wrote to."""

SLACK_BYTES = 4 << 20
"""What the allocator can not use again just now, in every process that computes cubes."""

IMAGES_BYTES = 8 << 20
"""The image readers."""

HTTP_BYTES = 24 << 20
"""The client of servers."""

BOXES_PER_REQUEST = 4
"""How often a cube that is being downloaded is in memory: as it comes, as a whole, by chunks, and encoded."""

LOADING = 3
"""How often a shard's index is in memory while it is read and checked."""


def task_bytes(parts: Sequence[tuple[MagPlan, Source]], threads: int) -> int:
    """Predict the peak memory (bytes) of a task that makes units of these mags, one mag after the other."""
    handed = [0, *(_handed_over(finer[0], coarser[0]) for finer, coarser in itertools.pairwise(parts)), 0]
    each = [part_bytes(plan, source, threads) for plan, source in parts]
    return BASE_BYTES + max(before + part + after for before, part, after in zip(handed, each, handed[1:], strict=False))


def _handed_over(finer: MagPlan, coarser: MagPlan) -> int:
    """Return the voxels of a mag that may be sampled along with the finer one."""
    if coarser.layer != finer.layer or coarser.from_mag != finer.mag:
        return 0
    voxels = (coarser.box[1] - coarser.box[0]).prod()
    others = math.prod(n for axis, n in zip(coarser.spec.axes, coarser.spec.shape, strict=True) if axis not in "xyz")
    size = voxels * others * coarser.spec.dtype.itemsize
    return size if size <= HANDOVER_BYTES else 0


def part_bytes(plan: MagPlan, source: Source, threads: int) -> int:
    """Predict the peak memory (bytes) of a task's share in one mag, beyond what every job takes."""
    if isinstance(source, ImageStack):
        return IMAGES_BYTES + convert_bytes(plan, source, threads)
    if isinstance(source, ArraySpec):
        return downsample_bytes(plan, source, threads)
    return HTTP_BYTES + download_bytes(plan, threads)


def download_bytes(plan: MagPlan, threads: int) -> int:
    """Predict the peak of downloading units of one mag: a few cubes for each request, and those that wait to be appended."""
    connections = connections_of(threads)
    grid, cubes = _cubes(plan)
    cube = grid.prod() * plan.spec.chunk_bytes
    collected = WRITE_BYTES if plan.spec.data_format is DataFormat.ZARR3 else 0
    opened = (1 + math.ceil(in_flight(connections) / cubes)) * writer_bytes(plan)
    return connections * BOXES_PER_REQUEST * cube + in_flight(connections) * cube + 2 * (collected + cube) + opened


def downsample_bytes(plan: MagPlan, source: ArraySpec, threads: int) -> int:
    """Predict the peak of downsampling units of one mag."""
    grid, cubes = _cubes(plan)
    target = grid.prod() * plan.spec.chunk_bytes
    workers = min(threads, cubes // LEAST_CUBES)
    each = SLACK_BYTES + _index_cache_bytes(plan, source)
    computing = max(_cube_bytes(plan, source, grid), LOADING * index_bytes(source))
    # What the writer collects, and the same joined to be written.
    collected = min(WRITE_BYTES, cubes * target) if plan.spec.data_format is DataFormat.ZARR3 else 0
    appending = 2 * (collected + target)
    if workers < 2:
        return writer_bytes(plan) + each + target + max(collected + computing, appending)
    ahead = most_ahead(plan)
    waiting = min(cubes, slots(workers, ahead)) * slot_bytes(plan.spec, grid.prod())
    return writer_bytes(plan) + target + appending + waiting + workers * (WORKER_BYTES + each + computing)


def _cubes(plan: MagPlan) -> tuple[Vec3Int, int]:
    """Return how many chunks a cube has along x, y, z, and how many cubes the largest unit has."""
    unit = spatial(plan.spec, plan.spec.chunks_per_unit)
    bits = morton_bits(unit)
    free = int(math.log2(max(1, CUBE_BYTES // source_bytes_per_chunk(plan))))
    inner = bits[:free] if 1 << len(bits) == unit.prod() else []
    grid = Vec3Int([1 << inner.count(axis) for axis in range(3)])
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    chunks = (plan.box[1] - plan.box[0]).ceildiv(chunk).pairmin(unit)
    return grid.pairmin(chunks), chunks.ceildiv(grid).prod()


def _cube_bytes(plan: MagPlan, source: ArraySpec, grid: Vec3Int) -> int:
    """Return what the stored chunks, the voxels and the encoded chunks of one cube take, with those that are read ahead."""
    assert plan.interpolation is not None
    itemsize = plan.spec.dtype.itemsize
    target = grid.prod() * plan.spec.chunk_bytes
    voxels = target // itemsize
    source_bytes = target * plan.factors.prod()
    encoding = (4 if grid.prod() > 1 else 3) * target
    batch = max(BATCH_BYTES, source.chunk_bytes)
    if source_bytes > SLAB_BYTES:
        at_once = max(SLAB_BYTES, source_bytes // spatial(plan.spec, plan.spec.chunk_shape).z)
        sampling = working_bytes(plan.interpolation, plan.factors, at_once // plan.factors.prod() // itemsize, plan.spec.dtype)
        reading = max(min(READ_BYTES, at_once), source.chunk_bytes) + batch + at_once
        return max(target + max(reading, sampling), encoding)
    count = _stored_chunks(plan, source, grid)
    stored = count * (source.chunk_bytes + (CHUNK_BYTES if source.is_sharded else FILE_CHUNK_BYTES))
    sampling = working_bytes(plan.interpolation, plan.factors, voxels, plan.spec.dtype)
    joining = 0 if source.is_sharded or count == 1 else stored  # chunk files are read one by one and put together
    return stored_bytes_held(stored) + joining + max(batch + source_bytes, sampling, encoding)


def _stored_chunks(plan: MagPlan, source: ArraySpec, grid: Vec3Int) -> int:
    """Return how many source chunks a cube is computed from."""
    assert plan.source_box is not None
    assert plan.interpolation is not None
    chunk = spatial(source, source.chunk_shape)
    wanted = grid * spatial(plan.spec, plan.spec.chunk_shape) * plan.factors
    whole = plan.source_box[1] - plan.source_box[0]
    count = 1
    for n, c, margin, length in zip(wanted, chunk, halo(plan.interpolation, plan.factors)[0], whole, strict=True):
        touched = -(-n // c) if n % c == 0 or c % n == 0 else -(-n // c) + 1
        if margin:
            touched += min(2 if n % c == 0 else 1, -(-length // n) - 1)
        count *= min(touched, -(-length // c))
    if "c" not in source.axes:
        return count
    channels, depth = plan.source_channels, source.chunk_shape[source.axes.index("c")]
    return count * (-(-channels.end // depth) - channels.first // depth)


def _index_cache_bytes(plan: MagPlan, source: ArraySpec) -> int:
    """Return the indices of source shards that a process keeps open."""
    unit = spatial(plan.spec, plan.spec.unit_shape)
    wanted = ((plan.box[1] - plan.box[0]).pairmin(unit) * plan.factors).ceildiv(spatial(source, source.unit_shape)).prod()
    one = index_bytes(source)
    return max(one, min(wanted * one, INDEX_CACHE_BYTES))


BAND_BYTES = 8 << 20
"""Voxels of one band of images that a thread encodes."""

PLANE_BUFFER_BYTES = 256 << 20
"""Decoded slices of one chunk layer are kept in memory up to this size, else in a file."""


def band_rows(plan: MagPlan, stack: ImageStack) -> int:
    """Return how many image rows are worked on at once: whole rows of chunks, at least one."""
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    row = chunk.z * stack.sizes.x * stack.sizes.c * stack.dtype.itemsize
    return max(1, BAND_BYTES // (row * chunk.y)) * chunk.y


def band_bytes(plan: MagPlan, stack: ImageStack) -> int:
    """Return the voxels of one band; its encoded chunks take as much at most."""
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    return chunk.z * band_rows(plan, stack) * stack.sizes.x * stack.sizes.c * stack.dtype.itemsize


def reading_bytes(plan: MagPlan, stack: ImageStack) -> int:
    """Return what a thread takes to read: a whole plane, or one band."""
    if stack.whole_planes:
        return stack.bytes_for(1, stack.sizes.y)
    return stack.bytes_for(spatial(plan.spec, plan.spec.chunk_shape).z, band_rows(plan, stack))


def plane_buffer_bytes(plan: MagPlan, stack: ImageStack) -> int:
    """Return the memory that decoded slices of one chunk layer take."""
    if not stack.whole_planes:
        return 0
    depth = min(spatial(plan.spec, plan.spec.chunk_shape).z, stack.sizes.z)
    size = depth * stack.sizes.y * stack.sizes.x * stack.sizes.c * stack.dtype.itemsize
    return size if size <= PLANE_BUFFER_BYTES else 0


def convert_bytes(plan: MagPlan, images: ImageStack, threads: int) -> int:
    """Predict the peak of converting one layer of units side by side."""
    first, end = plan.box
    side_by_side = (end - first).with_z(1).ceildiv(spatial(plan.spec, plan.spec.unit_shape)).prod()
    bands = -(-images.sizes.y // band_rows(plan, images))
    encoding = threads * 2 * plan.spec.chunk_bytes + min(in_flight(threads), bands) * band_bytes(plan, images)
    reading = threads * reading_bytes(plan, images)
    # Whole planes are all decoded before the first band is encoded; else threads do both at once.
    both = max(reading, encoding) if images.whole_planes else reading + encoding
    return both + plane_buffer_bytes(plan, images) + side_by_side * writer_bytes(plan)
