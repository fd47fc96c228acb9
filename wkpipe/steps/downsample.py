"""Compute units of a coarser mag from a finer one, streaming: cubes of source voxels in, encoded chunks out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wkpipe.formats.base import EncodedChunks, Fetched, Ints, Position, StoredArray, UnitProof, Voxels
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.resources import CUBE_BYTES, LEAST_CUBES, SLAB_BYTES, most_ahead, slot_bytes, source_bytes_per_chunk
from wkpipe.sampling import sample_box
from wkpipe.sampling.borders import Read
from wkpipe.steps.cubes import Cube, UnitGrid, spatial_slices
from wkpipe.steps.handover import Handover
from wkpipe.steps.ordered import ordered_map
from wkpipe.steps.read_ahead import ReadAhead
from wkpipe.steps.workers import forked_map
from wkpipe.storage.commit import Scratch
from wkpipe.storage.digest import DIGEST_BYTES
from wkpipe.stored.axes import xyz_last
from wkpipe.stored.channels import region_at


@dataclass(frozen=True)
class FetchedCube:
    """What a cube is computed from: slabs of `depth` target slices at once; one that is all is read already, from voxel `first` on."""

    depth: int
    first: Vec3Int
    region: Fetched | None = None

    @property
    def nbytes(self) -> int:
        """The stored bytes that were read."""
        return 0 if self.region is None else self.region.nbytes


def downsample_unit(
    plan: MagPlan,
    source: StoredArray,
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
    sampled: Handover | None = None,
    coarser: Handover | None = None,
) -> UnitProof:
    """Make one unit of `target` from `source` and commit it; chunks lie in the file in Morton order.

    `on_voxels` is told how many voxels of the unit were made since the last call. With `fork`, the work is done by
    `threads` processes, which keeps more cores busy; only for processes that have no threads of their own. `sampled`
    has the mag's voxels already, where they were sampled with the finer mag; `coarser` is given what the next mag needs.

    Raises:
        DamagedShard: a source shard can not be decoded.
        NotWritable: the disk is full or read-only.
    """
    sampler = _UnitSampler(plan, source, target, unit, sampled, coarser)
    with target.unit_writer(unit, scratch) as writer:

        def compute(cube: Cube, fetched: FetchedCube | None) -> EncodedChunks:
            positions = sampler.positions(cube)
            if fetched is None:
                return EncodedChunks.fill(positions)
            return writer.encode_grid(sampler.voxels(cube, fetched), positions - positions[0], positions)

        # Closed at once where the disk is full, so that no worker goes on.
        with contextlib.closing(_computed(sampler, compute, threads, fork and source.survives_fork)) as computed:
            for encoded in computed:
                writer.append_all(encoded)
                on_voxels(len(encoded.sizes) * sampler.chunk_voxels)
        proof = writer.commit()
    if coarser is not None:
        coarser.made(unit)
    return proof


Compute = Callable[[Cube, FetchedCube | None], EncodedChunks]


def _computed(sampler: _UnitSampler, compute: Compute, threads: int, fork: bool) -> Generator[EncodedChunks, None, None]:
    """Yield the encoded cubes of a unit in file order."""
    cubes = list(sampler.cubes())
    workers = min(threads, len(cubes) // LEAST_CUBES)
    if workers < 2:
        left = iter(cubes)
        for _, encoded in ReadAhead(lambda _: next(left, None), sampler.fetch, compute, sampler.most_ahead):
            yield encoded
    elif not fork:
        yield from ordered_map(lambda cube: compute(cube, sampler.fetch(cube)), cubes, workers)
    else:

        def packed(cube: Cube, fetched: FetchedCube | None) -> tuple[bytes, bytes, bytes]:
            encoded = compute(cube, fetched)
            return encoded.sizes.tobytes(), encoded.digests, encoded.data

        chunks = max(cube.grid.prod() for cube in cubes)
        results = forked_map(sampler.fetch, packed, lambda: cubes, workers, slot_bytes(sampler.spec, chunks), sampler.most_ahead)
        for cube, result in results:
            positions = sampler.positions(cube)
            end = positions.shape[0] * np.dtype(np.int64).itemsize
            sizes = np.frombuffer(result[:end], np.int64).copy()
            data = end + DIGEST_BYTES * int(np.count_nonzero(sizes))
            yield EncodedChunks(positions, sizes, bytes(result[data:]), bytes(result[end:data]))


class _UnitSampler:
    """Computes the cubes of one unit."""

    def __init__(
        self,
        plan: MagPlan,
        source: StoredArray,
        target: StoredArray,
        unit: Position,
        sampled: Handover | None = None,
        coarser: Handover | None = None,
    ) -> None:
        assert plan.source_box is not None
        assert plan.interpolation is not None
        self._plan, self._source, self.spec = plan, source, target.spec
        self._others = plan.source_others(unit)
        self._sampled, self._coarser = sampled, coarser
        self._mode, self._bounds = plan.interpolation, plan.source_box
        self._grid = UnitGrid(plan, self.spec, unit)

    @property
    def most_ahead(self) -> int:
        return most_ahead(self._plan)

    @property
    def chunk_voxels(self) -> int:
        return self._grid.chunk.prod()

    def cubes(self) -> Iterator[Cube]:
        """Yield the unit's cubes that hold some of the box, in file order."""
        return self._grid.cubes(source_bytes_per_chunk(self._plan), CUBE_BYTES)

    def positions(self, cube: Cube) -> Ints:
        """Return the positions (chunks, axes) of a cube's chunks within the unit, in file order."""
        return self._grid.positions(cube)

    def fetch(self, cube: Cube) -> FetchedCube | None:
        """Read what a cube is computed from; None where all of it is absent: zero in, zero out, in every mode."""
        first, shape = self._grid.region(cube)
        depth = self._slab_depth(shape)
        if self._sampled is not None:
            return FetchedCube(depth, first)
        if depth < shape.z:  # too much to be read at once
            return None if self._is_fill(first, shape) else FetchedCube(depth, first)
        low, high = self._plan.hull(first, first + shape)
        fetched = self._source.fetch(*self._source_region(low, high - low))
        return None if fetched is None and self._source.spec.fill_value == 0 else FetchedCube(depth, low, fetched)

    def voxels(self, cube: Cube, fetched: FetchedCube) -> Voxels:
        """Compute a cube: whole chunks in the array's axis order, Fortran-contiguous, zero outside of the box."""
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
        """Return how many target slices are computed at once: fewer where a single chunk has more source voxels than a cube may hold."""
        slabs = -(-(shape * self._plan.factors).prod() * self.spec.dtype.itemsize // SLAB_BYTES)
        return max(1, shape.z // max(1, slabs))

    def _sample(self, first: Vec3Int, shape: Vec3Int, read: Read) -> Voxels:
        return sample_box(read, first, shape, self._plan.factors, self._bounds, self._mode)

    def _read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        """Read source voxels (..., x, y, z) of this unit's position on the other axes."""
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
        low, high = self._plan.hull(first, first + shape)
        return self._source.is_fill(*self._source_region(low, high - low))
