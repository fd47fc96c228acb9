"""The voxels of a small mag, sampled while the next finer mag is made, out of its voxels in memory.

So one pass over the source feeds several mags: what is handed over need not be read and decoded again. Which voxels
come out does not depend on it, as the coarser mag is a function of the finer one's voxels either way.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np

from wkpipe.formats.base import Position, Voxels
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.resources import HANDOVER_BYTES
from wkpipe.sampling import halo, sample_box
from wkpipe.stored.axes import spatial


class Handover:
    """All voxels of the mag that `plan` makes, in memory that forked workers share; complete once every finer unit was handed on."""

    def __init__(self, finer: MagPlan, plan: MagPlan) -> None:
        self.plan = plan
        self._lead = tuple(n for axis, n in zip(plan.spec.axes, plan.spec.shape, strict=True) if axis not in SPATIAL_AXES)
        self._size = plan.box[1] - plan.box[0]
        self._missing = set(finer.units())
        count = math.prod((*self._lead, *self._size))
        self._voxels: Voxels = np.frombuffer(mmap.mmap(-1, count * plan.spec.dtype.itemsize), plan.spec.dtype)
        self._voxels = self._voxels.reshape((*self._lead, *self._size), order="F")

    @staticmethod
    def is_possible(finer: MagPlan, plan: MagPlan) -> bool:
        """Whether a mag is small enough, and each of its voxels depends on one chunk of the finer mag only."""
        assert plan.interpolation is not None
        spec = finer.spec
        has_one_cell = all(
            shape <= chunk for axis, shape, chunk in zip(spec.axes, spec.shape, spec.chunk_shape, strict=True) if axis not in SPATIAL_AXES
        )
        others = math.prod(n for axis, n in zip(spec.axes, spec.shape, strict=True) if axis not in SPATIAL_AXES)
        return (
            has_one_cell
            and (plan.box[1] - plan.box[0]).prod() * others * spec.dtype.itemsize <= HANDOVER_BYTES
            and plan.source_box == finer.box
            and plan.spec.axes == spec.axes
            and plan.source_channels == finer.channels
            and not any(map(any, halo(plan.interpolation, plan.factors)))
            and not any(spatial(spec, spec.chunk_shape) % plan.factors)
        )

    @property
    def is_complete(self) -> bool:
        return not self._missing

    def made(self, unit: Position) -> None:
        """Note that all voxels of a finer unit were put in."""
        self._missing.discard(unit)

    def put(self, voxels: Voxels, first: Vec3Int) -> None:
        """Sample from voxels (..., x, y, z) of whole chunks of the finer mag (as far as its box reaches), from voxel `first` on."""
        assert self.plan.source_box is not None
        assert self.plan.interpolation is not None
        factors = self.plan.factors
        low = (first // factors).pairmax(self.plan.box[0])
        high = (first + Vec3Int(voxels.shape[-3:])).ceildiv(factors).pairmin(self.plan.box[1])

        def read(start: tuple[int, int, int], shape: tuple[int, int, int]) -> Voxels:
            part: Voxels = voxels[_box(Vec3Int(start) - first, Vec3Int(shape))]
            return part

        sampled = sample_box(read, low, high - low, factors, self.plan.source_box, self.plan.interpolation)
        self._voxels[_box(low - self.plan.box[0], high - low)] = sampled

    def get(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Return a region (..., x, y, z), in voxels of the mag."""
        region: Voxels = self._voxels[_box(first - self.plan.box[0], shape)]
        return region


def _box(first: Vec3Int, shape: Vec3Int) -> Any:
    """Return the index of a box on the last three axes."""
    return (..., *(slice(a, a + n) for a, n in zip(first, shape, strict=True)))
