"""Compute units of a coarser mag from a finer one as a stream: cubes of source voxels in, encoded chunks out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wkpipe.engine.budget import HANDOVER_BYTES, SLAB_BYTES
from wkpipe.engine.cubes import Cube, spatial_slices
from wkpipe.engine.fused import Fused
from wkpipe.engine.handover import Handover
from wkpipe.formats.base import EncodedChunks, Fetched, Ints, Position, StoredArray, UnitProof, Voxels
from wkpipe.formats.fetched import FetchedRegion
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.sampling import halo, sample_box
from wkpipe.sampling.borders import Read
from wkpipe.steps.kept import Kept, NotAsRecorded
from wkpipe.steps.unit_stream import CubeMaker, streamed_unit
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.axes import spatial, xyz_last
from wkpipe.stored.channels import region_at


@dataclass(frozen=True)
class FetchedCube:
    """The source of a cube, computed in slabs of `depth` target slices; a single slab is read already, from voxel `first` on."""

    depth: int
    first: Vec3Int
    region: Fetched | None = None

    @property
    def nbytes(self) -> int:
        """The number of stored bytes that were read."""
        return 0 if self.region is None else self.region.nbytes


def downsample_unit(
    plan: MagPlan,
    origin: FromMag,
    source: StoredArray,
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
    sampled: Handover | None = None,
    coarser: Handover | None = None,
    kept: Kept | None = None,
) -> UnitProof:
    """Make one unit of `target` from `source` and commit it; see `streamed_unit`.

    `sampled` has the mag's voxels if they were sampled together with the finer mag; `coarser` takes the voxels that the next mag
    needs. What is `kept` of the unit is copied.

    Raises:
        DamagedShard: a source shard cannot be decoded.
        NotWritable: the disk is full or read-only.
    """
    sampler = _UnitSampler(plan, origin, source, target, unit, sampled, coarser)

    def made(part: Kept | None) -> UnitProof:
        return streamed_unit(sampler, target, unit, threads, scratch, on_voxels, fork and source.survives_fork, part)

    try:
        proof = made(kept)
    except NotAsRecorded:
        proof = made(None)
    if coarser is not None:
        coarser.made(unit)
    return proof


def handover(finer: MagPlan, plan: MagPlan, origin: FromMag) -> Handover | None:
    """Return the handover that samples a mag while the finer one is made.

    `origin` is the origin of the mag. None if the mag is too large, or if a voxel depends on more than one chunk of the finer mag.
    """
    spec, factors = finer.spec, plan.factors
    others = [(n, chunk) for axis, n, chunk in zip(spec.axes, spec.shape, spec.chunk_shape, strict=True) if axis not in SPATIAL_AXES]
    size = plan.box.size.prod() * math.prod(n for n, _ in others) * spec.dtype.itemsize
    is_possible = (
        all(n <= chunk for n, chunk in others)
        and size <= HANDOVER_BYTES
        and origin.box == finer.box
        and plan.spec.axes == spec.axes
        and origin.channels(plan) == finer.channels
        and not any(map(any, halo(origin.interpolation, factors)))
        and not any(spatial(spec, spec.chunk_shape) % factors)
    )
    if not is_possible:
        return None
    return Handover(plan.spec, plan.box, origin.sampling(plan.mag), finer.units())


class _UnitSampler(CubeMaker[FetchedCube]):
    """Compute the cubes of one unit."""

    def __init__(
        self,
        plan: MagPlan,
        origin: FromMag,
        source: StoredArray,
        target: StoredArray,
        unit: Position,
        sampled: Handover | None = None,
        coarser: Handover | None = None,
    ) -> None:
        super().__init__(plan, target, unit)
        self._source, self._origin, self._factors = source, origin, plan.factors
        self._others = origin.others(plan, unit)
        self._sampled, self._coarser = sampled, coarser
        self._fused = Fused.of(source, target, origin.sampling(plan.mag)) if sampled is None else None

    def fetch(self, cube: Cube) -> FetchedCube | None:
        """Read the source of a cube; None if all of it is absent: in every mode, zeros give zeros."""
        first, shape = self._grid.region(cube)
        depth = self._slab_depth(shape)
        if self._sampled is not None:
            return FetchedCube(depth, first)
        if depth < shape.z:  # too much to read at once
            return None if self._is_fill(first, shape) else FetchedCube(depth, first)
        low, high = self._origin.hull(self._plan.mag, first, first + shape)
        fetched = self._source.fetch(*self._source_region(low, high - low))
        return None if fetched is None and self._source.spec.fill_value == 0 else FetchedCube(depth, low, fetched)

    def encoded(self, cube: Cube, fetched: FetchedCube, positions: Ints) -> EncodedChunks | None:
        if self._fused is None or not isinstance(fetched.region, FetchedRegion):
            return None
        return self._fused.encoded(self._grid, cube, fetched.region, positions, self._coarser)

    def voxels(self, cube: Cube, fetched: FetchedCube) -> Voxels:
        first, shape = self._grid.region(cube)
        if self._sampled is not None:
            voxels = self._sampled.get(first, shape)
        elif fetched.depth >= shape.z:
            voxels = self._sample(first, shape, lambda start, size: self._decoded(fetched, start, size))
        else:
            slabs = range(0, shape.z, fetched.depth)
            parts = [(first + Vec3Int(0, 0, z), shape.with_z(min(fetched.depth, shape.z - z))) for z in slabs]
            voxels = np.concatenate([self._sample(start, size, self._read) for start, size in parts], axis=-1)
        if self._coarser is not None:
            self._coarser.put(voxels, first)
        return self._grid.whole_chunks(cube, voxels)

    def _slab_depth(self, shape: Vec3Int) -> int:
        """Return the number of target slices to compute at once: few if a single chunk has more source voxels than a cube may hold."""
        slabs = -(-(shape * self._factors).prod() * self.spec.dtype.itemsize // SLAB_BYTES)
        return max(1, shape.z // max(1, slabs))

    def _sample(self, first: Vec3Int, shape: Vec3Int, read: Read) -> Voxels:
        return sample_box(read, first, shape, self._factors, self._origin.box, self._origin.interpolation)

    def _read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        """Read source voxels (..., x, y, z) at this unit's place on the other axes."""
        return xyz_last(self._source.spec, self._source.read(*self._source_region(start, shape)))

    def _decoded(self, fetched: FetchedCube, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        if fetched.region is None:
            return self._read(start, shape)
        region = xyz_last(self._source.spec, fetched.region.voxels())
        wanted: Voxels = region[spatial_slices(Vec3Int(start) - fetched.first, Vec3Int(shape))]
        return wanted

    def _source_region(self, start: Sequence[int], shape: Sequence[int]) -> tuple[Position, Position]:
        return region_at(self._source.spec, self._others, Vec3Int(start), Vec3Int(shape))

    def _is_fill(self, first: Vec3Int, shape: Vec3Int) -> bool:
        if self._source.spec.fill_value != 0:
            return False
        low, high = self._origin.hull(self._plan.mag, first, first + shape)
        return self._source.is_fill(*self._source_region(low, high - low))
