"""The memory model of upsampling: the peak memory of making units of one mag."""

from __future__ import annotations

from wkpipe.engine.budget import stored_bytes_held
from wkpipe.formats.base import ArraySpec
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
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels


def upsample_bytes(plan: MagPlan, source: ArraySpec, repeats: Vec3Int, channels: Channels, threads: int) -> int:
    """Predict the peak memory of upsampling units of one mag from the channels `channels` of an array with the layout `source`."""
    grid, _ = cubes_of_units(plan)
    target = grid.prod() * plan.spec.chunk_bytes
    wanted = grid * spatial(plan.spec, plan.spec.chunk_shape)
    region = wanted.ceildiv(repeats)
    decoded = target // wanted.prod() * region.prod()
    # The last axis is repeated for whole source voxels; then the part that is wanted is copied.
    excess = max(n * f / size for n, f, size in zip(region, repeats, wanted, strict=True))
    working = decoded + int(target * excess) + target
    count = touched_chunks(source, region).prod() * deep_chunks(source, channels)
    batch = max(BATCH_BYTES, source.chunk_bytes)
    cube = stored_bytes_held(stored_bytes(source, count), ahead_in(plan)) + joining_bytes(source, count)
    cube += max(batch + decoded, working, encoding_bytes(grid, plan.spec))
    unit = plan.box.size.pairmin(spatial(plan.spec, plan.spec.unit_shape)).ceildiv(repeats)
    return streamed_bytes(plan, source, unit, cube, threads)
