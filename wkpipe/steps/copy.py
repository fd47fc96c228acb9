"""Copy a unit from an array of another layout as a stream: stored chunks in, the same voxels cut and encoded again out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wkpipe.engine.budget import SLAB_BYTES
from wkpipe.engine.cubes import Cube, spatial_slices
from wkpipe.formats.base import Fetched, Position, StoredArray, UnitProof, Voxels
from wkpipe.geometry import SPATIAL_AXES
from wkpipe.geometry.box import Box
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.steps.unit_stream import CubeMaker, streamed_unit
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.axes import in_axes


@dataclass(frozen=True)
class CopiedCube:
    """The source of a cube: the box that is copied to it, and its stored chunks unless that is too much to read ahead."""

    box: Box
    fetched: Fetched | None = None

    @property
    def nbytes(self) -> int:
        """The number of stored bytes that were read."""
        return 0 if self.fetched is None else self.fetched.nbytes


def copy_unit(
    plan: MagPlan,
    origin: FromArray,
    source: StoredArray,
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
) -> UnitProof:
    """Make one unit of `target` from the same voxels of `source` and commit it; see `streamed_unit`.

    Raises:
        DamagedShard: a source shard cannot be decoded.
        NotWritable: the disk is full or read-only.
    """
    copier = _UnitCopier(plan, origin, source, target, unit)
    return streamed_unit(copier, target, unit, threads, scratch, on_voxels, fork and source.survives_fork)


class _UnitCopier(CubeMaker[CopiedCube]):
    """Copies the cubes of one unit."""

    def __init__(self, plan: MagPlan, origin: FromArray, source: StoredArray, target: StoredArray, unit: Position) -> None:
        super().__init__(plan, target, unit)
        self._origin, self._source, self._unit = origin, source, unit
        wanted = (*(axis for axis in self.spec.axes if axis not in SPATIAL_AXES), *SPATIAL_AXES)
        self._single = tuple(axis for axis in source.spec.axes if axis not in wanted)
        self._axes = (*self._single, *wanted)

    def fetch(self, cube: Cube) -> CopiedCube | None:
        first, shape = self._grid.region(cube)
        box = Box(first, first + shape).intersected_with(self._origin.box)
        if not box.size.is_positive(strictly_positive=True):
            return None
        region = self._region(box)
        if self._source.spec.fill_value == 0 and self._source.is_fill(*region):
            return None
        is_small = np.prod(region[1]) * self.spec.dtype.itemsize <= SLAB_BYTES
        return CopiedCube(box, self._source.fetch(*region) if is_small else None)

    def voxels(self, cube: Cube, fetched: CopiedCube) -> Voxels:
        first, shape = self._grid.region(cube)
        box = fetched.box
        stored = self._source.read(*self._region(box)) if fetched.fetched is None else fetched.fetched.voxels()
        voxels: Voxels = in_axes(stored, self._source.spec.axes, self._axes)[(0,) * len(self._single)]
        if box.size != shape:
            whole: Voxels = np.zeros((*voxels.shape[:-3], *shape), voxels.dtype, order="F")
            whole[spatial_slices(box.first - first, box.size)] = voxels
            voxels = whole
        return self._grid.whole_chunks(cube, voxels)

    def _region(self, box: Box) -> tuple[Position, Position]:
        return self._origin.region(self._plan, self._unit, self._source.spec, box)
