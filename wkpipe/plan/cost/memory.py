"""The memory model: the peak memory of one task, predicted from shapes, dtypes and threads alone.

The prediction is the sum over a job's process and all processes that it forks; memory that they share counts once. A task works
on one unit at a time (a converted mag: on all units that share the images being read). Each worker process has the stored
chunks of one cube and of the next one, and the larger of what sampling and encoding need. Finished cubes wait, encoded, in
shared slots. The chunk indices of the units that are written and of the source units that are read are added. None of this
grows with the size of a shard or a dataset.

The compression ratio is not known in advance. The prediction is for noise; data that compress well need less, by up to the
stored chunks and the slots.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from wkpipe.engine.budget import HANDOVER_BYTES
from wkpipe.plan.cost.resources import BASE_BYTES
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag import FromMag


def task_bytes(parts: Sequence[tuple[MagPlan, Any]], threads: int) -> int:
    """Predict the peak memory (bytes) of a task that makes units of these mags, one mag after another."""
    handed = [0, *(_handed_over(finer[0], coarser[0]) for finer, coarser in itertools.pairwise(parts)), 0]
    each = [plan.origin.peak_bytes(plan, source, threads) for plan, source in parts]
    return BASE_BYTES + max(before + part + after for before, part, after in zip(handed, each, handed[1:], strict=False))


def _handed_over(finer: MagPlan, coarser: MagPlan) -> int:
    """Return the bytes of a mag's voxels if the mag may be sampled along with the finer one; otherwise 0."""
    if coarser.layer != finer.layer or coarser.source_mag != finer.mag or not isinstance(coarser.origin, FromMag):
        return 0
    voxels = coarser.box.size.prod()
    others = math.prod(n for axis, n in zip(coarser.spec.axes, coarser.spec.shape, strict=True) if axis not in "xyz")
    size = voxels * others * coarser.spec.dtype.itemsize
    return size if size <= HANDOVER_BYTES else 0
