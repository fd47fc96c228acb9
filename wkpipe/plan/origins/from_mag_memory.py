"""The memory model of downsampling: the peak memory of making units of one mag."""

from __future__ import annotations

from wkpipe.engine.budget import SLAB_BYTES, stored_bytes_held
from wkpipe.engine.handover import Sampling
from wkpipe.formats.base import ArraySpec
from wkpipe.formats.chunked import READ_BYTES
from wkpipe.formats.fetched import BATCH_BYTES
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.budget import (
    ahead_in,
    cubes_of_units,
    deep_chunks,
    encoding_bytes,
    joining_bytes,
    stored_bytes,
    streamed_bytes,
    touched_chunks,
)
from wkpipe.sampling import halo, working_bytes
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels


def downsample_bytes(plan: MagPlan, source: ArraySpec, sampling: Sampling, channels: Channels, threads: int) -> int:
    """Predict the peak memory of downsampling units of one mag from the channels `channels` of an array with the layout `source`."""
    grid, _ = cubes_of_units(plan)
    region = plan.box.size.pairmin(spatial(plan.spec, plan.spec.unit_shape)) * sampling.factors
    return streamed_bytes(plan, source, region, _cube_bytes(plan, source, sampling, channels, grid), threads)


def _cube_bytes(plan: MagPlan, source: ArraySpec, sampling: Sampling, channels: Channels, grid: Vec3Int) -> int:
    """Return the bytes of the stored chunks, the voxels and the encoded chunks of one cube, with those that are read ahead."""
    itemsize = plan.spec.dtype.itemsize
    target = grid.prod() * plan.spec.chunk_bytes
    voxels = target // itemsize
    decoded = target * sampling.factors.prod()
    encoding = encoding_bytes(grid, plan.spec)
    batch = max(BATCH_BYTES, source.chunk_bytes)
    if decoded > SLAB_BYTES:
        at_once = max(SLAB_BYTES, decoded // spatial(plan.spec, plan.spec.chunk_shape).z)
        working = working_bytes(sampling.interpolation, sampling.factors, at_once // sampling.factors.prod() // itemsize, plan.spec.dtype)
        reading = max(min(READ_BYTES, at_once), source.chunk_bytes) + batch + at_once
        return max(target + max(reading, working), encoding)
    count = _stored_chunks(plan, source, sampling, channels, grid)
    working = working_bytes(sampling.interpolation, sampling.factors, voxels, plan.spec.dtype)
    return (
        stored_bytes_held(stored_bytes(source, count), ahead_in(plan))
        + joining_bytes(source, count)
        + max(batch + decoded, working, encoding)
    )


def _stored_chunks(plan: MagPlan, source: ArraySpec, sampling: Sampling, channels: Channels, grid: Vec3Int) -> int:
    """Return how many source chunks a cube is computed from."""
    chunk = spatial(source, source.chunk_shape)
    wanted = grid * spatial(plan.spec, plan.spec.chunk_shape) * sampling.factors
    margins = halo(sampling.interpolation, sampling.factors)[0]
    count = deep_chunks(source, channels)
    for touched, n, c, margin, length in zip(touched_chunks(source, wanted), wanted, chunk, margins, sampling.bounds.size, strict=True):
        more = min(2 if n % c == 0 else 1, -(-length // n) - 1) if margin else 0
        count *= min(touched + more, -(-length // c))
    return count
