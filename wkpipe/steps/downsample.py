"""Compute units of a coarser mag from a finer one, streaming: cubes of source voxels in, encoded chunks out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from wkpipe.formats.base import Position, StoredArray, UnitProof, Voxels
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.resources import CUBE_BYTES, SLAB_BYTES, source_bytes_per_chunk
from wkpipe.sampling import sample_box
from wkpipe.steps.cubes import Cube, cubes_of
from wkpipe.steps.ordered import ordered_map
from wkpipe.storage.commit import Scratch
from wkpipe.stored.axes import spatial, with_spatial, xyz_last, xyz_restored

Encoded = list[tuple[Position, bytes | None]]


def downsample_unit(
    plan: MagPlan,
    source: StoredArray,
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
) -> UnitProof:
    """Make one unit of `target` from `source` and commit it; chunks lie in the file in Morton order.

    `on_voxels` is told how many voxels of the unit were made since the last call.

    Raises:
        DamagedShard: a source shard can not be decoded.
        NotWritable: the disk is full or read-only.
    """
    sampler = _UnitSampler(plan, source, target, unit)
    with target.unit_writer(unit, scratch) as writer:

        def work(cube: Cube) -> Encoded:
            return [(position, None if chunk is None else writer.encode(chunk)) for position, chunk in sampler.chunks(cube)]

        for encoded in ordered_map(work, sampler.cubes(), threads):
            for position, data in encoded:
                writer.append(position, data)
            on_voxels(len(encoded) * sampler.chunk_voxels)
        return writer.commit()


class _UnitSampler:
    """Computes the chunks of one unit."""

    def __init__(self, plan: MagPlan, source: StoredArray, target: StoredArray, unit: Position) -> None:
        assert plan.source_box is not None
        assert plan.interpolation is not None
        self._plan, self._source, self._spec, self._unit = plan, source, target.spec, unit
        self._mode, self._bounds = plan.interpolation, plan.source_box
        self._chunk = spatial(self._spec, self._spec.chunk_shape)
        self._origin = spatial(self._spec, unit) * spatial(self._spec, self._spec.unit_shape)
        self._first, self._end = plan.unit_box(unit)

    @property
    def chunk_voxels(self) -> int:
        return self._chunk.prod()

    def cubes(self) -> Iterator[Cube]:
        """Yield the unit's cubes that hold some of the box, in file order."""
        first, end = (self._first - self._origin) // self._chunk, (self._end - self._origin).ceildiv(self._chunk)
        return cubes_of(self._spec, source_bytes_per_chunk(self._plan), CUBE_BYTES, first, end)

    def _region(self, cube: Cube) -> tuple[Vec3Int, Vec3Int]:
        """Return first corner and shape of the part of a cube that lies in the box, in target voxels."""
        start = self._origin + cube.first * self._chunk
        first = start.pairmax(self._first)
        return first, (start + cube.grid * self._chunk).pairmin(self._end) - first

    def chunks(self, cube: Cube) -> list[tuple[Position, Voxels | None]]:
        """Compute a cube; return its chunks with their positions in the unit, None for those without a voxel."""
        first, shape = self._region(cube)
        inside = list(cube.chunks)
        positions = [with_spatial(self._spec, [0] * len(self._spec.axes), chunk) for chunk in inside]
        if self._is_fill(first, shape):
            return [(position, None) for position in positions]
        voxels = self._sample(first, shape)
        start = self._origin + cube.first * self._chunk
        whole = cube.grid * self._chunk
        if shape != whole:
            padded = np.zeros((*voxels.shape[:-3], *whole), dtype=voxels.dtype, order="F")
            low = first - start
            padded[_spatial_slices(low, shape)] = voxels
            voxels = padded
        voxels = voxels.astype(self._spec.dtype, copy=False)
        cut: list[tuple[Position, Voxels | None]] = []
        for position, chunk in zip(positions, inside, strict=True):
            corner = (chunk - cube.first) * self._chunk
            block = voxels[_spatial_slices(corner, self._chunk)]
            cut.append((position, xyz_restored(self._spec, block)))
        return cut

    def _sample(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Compute a region; in slabs where a single chunk has more source voxels than a cube may hold."""
        slabs = -(-(shape * self._plan.factors).prod() * self._spec.dtype.itemsize // SLAB_BYTES)
        depth = max(1, shape.z // max(1, slabs))
        if depth >= shape.z:
            return self._sample_at_once(first, shape)
        pieces = [self._sample_at_once(first + Vec3Int(0, 0, z), shape.with_z(min(depth, shape.z - z))) for z in range(0, shape.z, depth)]
        return np.concatenate(pieces, axis=-1)

    def _sample_at_once(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        return sample_box(self._read, first, shape, self._plan.factors, self._bounds, self._mode)

    def _read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        """Read source voxels (..., x, y, z) of this unit's position on the other axes."""
        return xyz_last(self._source.spec, self._source.read(*self._source_region(start, shape)))

    def _source_region(self, start: Sequence[int], shape: Sequence[int]) -> tuple[Position, Position]:
        spec = self._source.spec
        position = dict(zip(self._spec.axes, self._unit, strict=True))
        starts = [0 if axis == "c" else position[axis] for axis in spec.axes]
        shapes = [spec.shape[i] if axis == "c" else 1 for i, axis in enumerate(spec.axes)]
        return with_spatial(spec, starts, start), with_spatial(spec, shapes, shape)

    def _is_fill(self, first: Vec3Int, shape: Vec3Int) -> bool:
        """Whether everything that a region is computed from is absent: zero in, zero out, in every mode."""
        if self._source.spec.fill_value != 0:
            return False
        low, high = self._plan.hull(first, first + shape)
        return self._source.is_fill(*self._source_region(low, high - low))


def _spatial_slices(first: Vec3Int, shape: Vec3Int) -> Any:
    """Return the index of a box on the last three axes."""
    return (..., *(slice(a, a + n) for a, n in zip(first, shape, strict=True)))
