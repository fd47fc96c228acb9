"""The voxels of a small mag, sampled from the next finer one while that is in memory.

So one pass over the source feeds several mags: a mag that is handed over need not be read and decoded again. The voxels
do not depend on it, because the coarser mag is a function of the finer one's voxels either way.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from wkpipe.engine.cubes import spatial_slices
from wkpipe.formats.base import ArraySpec, Position, Voxels
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.native.library import CubeJob, int3
from wkpipe.sampling import InterpolationMode, sample_box
from wkpipe.sampling.native_kernels import NUMBERS, has_kernel


@dataclass(frozen=True)
class Sampling:
    """How a mag is sampled from the finer one: `factors` source voxels become one; outside of `bounds` they are mirrored."""

    factors: Vec3Int
    bounds: Box
    interpolation: InterpolationMode


class Handover:
    """All voxels of a coarser mag, in memory that forked workers share; complete once every finer unit is `made`.

    Args:
        spec: the layout of the coarser mag's array.
        box: its region (first, end), in voxels of the coarser mag.
        sampling: how it is sampled.
        finer: the units of the finer mag, all of which must be `made`.
    """

    def __init__(self, spec: ArraySpec, box: Box, sampling: Sampling, finer: Iterable[Position]) -> None:
        self._box, self._sampling = box, sampling
        lead = tuple(n for axis, n in zip(spec.axes, spec.shape, strict=True) if axis not in SPATIAL_AXES)
        shape = (*lead, *(box.size))
        self._missing = set(finer)
        self._voxels: Voxels = np.frombuffer(mmap.mmap(-1, math.prod(shape) * spec.dtype.itemsize), spec.dtype)
        self._voxels = self._voxels.reshape(shape, order="F")

    @property
    def is_complete(self) -> bool:
        return not self._missing

    def made(self, unit: Position) -> None:
        """Note that all voxels of a finer unit are sampled."""
        self._missing.discard(unit)

    def put(self, voxels: Voxels, first: Vec3Int) -> None:
        """Sample from voxels (..., x, y, z) of the finer mag that begin at voxel `first`: whole chunks, or up to its box."""
        factors = self._sampling.factors
        low = (first // factors).pairmax(self._box.first)
        high = (first + Vec3Int(voxels.shape[-3:])).ceildiv(factors).pairmin(self._box.end)

        def read(start: tuple[int, int, int], shape: tuple[int, int, int]) -> Voxels:
            part: Voxels = voxels[spatial_slices(Vec3Int(start) - first, Vec3Int(shape))]
            return part

        sampled = sample_box(read, low, high - low, factors, self._sampling.bounds, self._sampling.interpolation)
        self._voxels[spatial_slices(low - self._box.first, high - low)] = sampled

    def take(self, cube: CubeJob, first: Vec3Int, shape: Vec3Int, chunk: Vec3Int) -> bool:
        """Have the native engine put the voxels of a cube of the finer mag; False if it cannot: blocks would be mirrored or cut.

        `first` and `shape` are the region of the cube, `chunk` the shape of its chunks, in voxels of the finer mag.
        """
        factors, end = self._sampling.factors, first + shape
        is_whole = not (any(first % factors) or any(end % factors) or any(chunk % factors))
        low, high = first // factors, end // factors
        is_inside = all(a <= f and b >= e for a, b, f, e in zip(self._box.first, self._box.end, low, high, strict=True))
        if not (is_whole and is_inside and math.prod(self._voxels.shape[:-3]) == cube.channels and self._is_native(cube)):
            return False
        place = self._voxels[spatial_slices(low - self._box.first, high - low)]
        cube.coarser, cube.coarser_factors = place.ctypes.data, int3(factors)
        cube.coarser_line, cube.coarser_plane = (stride // place.itemsize for stride in place.strides[-2:])
        return True

    def _is_native(self, cube: CubeJob) -> bool:
        return has_kernel(self._sampling.interpolation, self._sampling.factors) and NUMBERS[self._sampling.interpolation] == cube.mode

    def get(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Return a region (..., x, y, z), in voxels of the mag."""
        region: Voxels = self._voxels[spatial_slices(first - self._box.first, shape)]
        return region
