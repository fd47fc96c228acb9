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
from wkpipe.plan.resources import (
    CHUNK_BYTES,
    CUBE_BYTES,
    INDEX_CACHE_BYTES,
    SLAB_BYTES,
    in_flight,
    index_bytes,
    source_bytes_per_chunk,
    writer_bytes,
)
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
    target = cube_chunks(plan) * plan.spec.chunk_bytes
    source_bytes = target * plan.factors.prod()
    at_once = min(source_bytes, max(SLAB_BYTES, source_bytes // spatial(plan.spec, plan.spec.chunk_shape).z))
    voxels = -(-at_once // plan.factors.prod()) // plan.spec.dtype.itemsize
    reading = 2 * source.chunk_bytes + at_once // source.chunk_bytes * CHUNK_BYTES
    per_thread = working_bytes(plan.interpolation, plan.factors, voxels, plan.spec.dtype) + reading + 3 * target
    first, end = plan.box
    unit = spatial(plan.spec, plan.spec.unit_shape)
    sources_per_unit = ((end - first).pairmin(unit) * plan.factors).ceildiv(spatial(source, source.unit_shape)).prod()
    indices = max(index_bytes(source), min(sources_per_unit * index_bytes(source), INDEX_CACHE_BYTES))
    return threads * per_thread + in_flight(threads) * target + writer_bytes(plan) + 2 * indices


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
    encoding = threads * 2 * plan.spec.chunk_bytes + in_flight(threads) * band_bytes(plan, images)
    reading = threads * reading_bytes(plan, images)
    # Whole planes are all decoded before the first band is encoded; else threads do both at once.
    both = max(reading, encoding) if images.whole_planes else reading + encoding
    return both + plane_buffer_bytes(plan, images) + side_by_side * writer_bytes(plan)
