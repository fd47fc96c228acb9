"""The memory model: what one task holds at its peak, from shapes, dtypes and threads alone.

A task works on one unit at a time (a converted mag: on one layer of units side by side). Every thread holds the source
voxels of one cube and the kernel's temporaries; finished cubes wait, encoded, until it is their turn to be appended.
On top come the chunk indices of the units that are written and of the source units that are read. None of this grows
with the size of a shard or a dataset.
"""

from __future__ import annotations

import math

from wkpipe.formats.base import ArraySpec
from wkpipe.images import ImageStack
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.resources import CUBE_BYTES, in_flight, index_bytes, source_bytes_per_chunk, writer_bytes
from wkpipe.sampling import working_bytes
from wkpipe.stored.axes import spatial


def part_bytes(plan: MagPlan, source: ArraySpec | ImageStack, threads: int) -> int:
    """Predict the peak memory (bytes) of a task's share in one mag, beyond what every worker process takes."""
    if isinstance(source, ImageStack):
        return convert_bytes(plan, source, threads)
    return downsample_bytes(plan, source, threads)


def cube_chunks(plan: MagPlan) -> int:
    """Return how many chunks the cubes of a downsampled mag have: a power of two."""
    return 1 << max(0, int(math.log2(max(1, CUBE_BYTES // source_bytes_per_chunk(plan)))))


def downsample_bytes(plan: MagPlan, source: ArraySpec, threads: int) -> int:
    """Predict the peak of downsampling units of one mag."""
    assert plan.interpolation is not None
    chunks = cube_chunks(plan)
    target = chunks * plan.spec.chunk_bytes
    voxels = target // plan.spec.dtype.itemsize
    source_bytes = target * plan.factors.prod()
    per_thread = source_bytes + working_bytes(plan.interpolation, plan.factors, voxels, plan.spec.dtype) + 2 * target
    first, end = plan.box
    unit = spatial(plan.spec, plan.spec.unit_shape)
    sources_per_unit = ((end - first).pairmin(unit) * plan.factors).ceildiv(spatial(source, source.unit_shape)).prod()
    indices = writer_bytes(plan) + 2 * min(sources_per_unit, INDEX_CACHE) * index_bytes(source)
    return threads * per_thread + in_flight(threads) * target + indices


INDEX_CACHE = 16
"""How many indices of source shards an array keeps at most."""


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
    """Return the memory of one band: its voxels, what reading them takes, and their encoded chunks."""
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    voxels = chunk.z * band_rows(plan, stack) * stack.sizes.x * stack.sizes.c * stack.dtype.itemsize
    read = stack.bytes_for(1, stack.sizes.y) if stack.whole_planes else stack.bytes_for(chunk.z, band_rows(plan, stack))
    return read + voxels + 2 * plan.spec.chunk_bytes


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
    return in_flight(threads) * band_bytes(plan, images) + plane_buffer_bytes(plan, images) + side_by_side * writer_bytes(plan)
