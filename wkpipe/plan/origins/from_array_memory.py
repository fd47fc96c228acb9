"""The memory model of copies: that of downsampling by 1, and what reading takes if wkpipe does not decode the source itself."""

from __future__ import annotations

from wkpipe.engine.handover import Sampling
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.array_content import ArrayContent
from wkpipe.plan.origins.budget import cubes_of_units
from wkpipe.plan.origins.from_mag_memory import downsample_bytes
from wkpipe.sampling import InterpolationMode
from wkpipe.stored.channels import Channels

TENSORSTORE_BYTES = 40 << 20
"""The code of tensorstore, and its threads and caches (measured: 32 MB)."""

CUBES_PER_THREAD = 4
"""The copies of a cube that a thread beside the first holds: as read, cut into chunks, encoded, and waiting."""


def copy_bytes(plan: MagPlan, source: ArrayContent, box: Box, channels: Channels, threads: int) -> int:
    """Predict the peak memory of copying units of one mag."""
    as_they_are = Sampling(Vec3Int.ones(), box, InterpolationMode.NEAREST)
    is_wider = source.stored_itemsize > plan.spec.dtype.itemsize
    if source.is_native and not is_wider:
        return downsample_bytes(plan, source.spec, as_they_are, channels, threads)
    # Such arrays are read by threads of one process.
    grid, _ = cubes_of_units(plan)
    cube = grid.prod() * plan.spec.chunk_bytes
    wide = 2 * cube * source.stored_itemsize // plan.spec.dtype.itemsize if is_wider else 0
    reading = (0 if source.is_native else TENSORSTORE_BYTES) + threads * wide
    return downsample_bytes(plan, source.spec, as_they_are, channels, 1) + (threads - 1) * CUBES_PER_THREAD * cube + reading
