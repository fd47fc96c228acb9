"""Compute units of a finer mag from a coarser one as a stream: every source voxel fills its block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wkpipe.engine.cubes import Cube
from wkpipe.formats.base import Fetched, Position, StoredArray, UnitProof, Voxels
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.sampling import upsample_box
from wkpipe.steps.unit_stream import CubeMaker, streamed_unit
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.axes import xyz_last
from wkpipe.stored.channels import region_at


@dataclass(frozen=True)
class FetchedSource:
    """The source voxels of a cube; None if they are fill values."""

    region: Fetched | None

    @property
    def nbytes(self) -> int:
        """The number of stored bytes that were read."""
        return 0 if self.region is None else self.region.nbytes


def upsample_unit(
    plan: MagPlan,
    origin: FromCoarser,
    source: StoredArray,
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
) -> UnitProof:
    """Make one unit of `target` from `source` and commit it; see `streamed_unit`.

    Raises:
        DamagedShard: a source shard cannot be decoded.
        NotWritable: the disk is full or read-only.
    """
    maker = _UnitRepeater(plan, origin, source, target, unit)
    return streamed_unit(maker, target, unit, threads, scratch, on_voxels, fork and source.survives_fork)


class _UnitRepeater(CubeMaker[FetchedSource]):
    """Compute the cubes of one unit."""

    def __init__(self, plan: MagPlan, origin: FromCoarser, source: StoredArray, target: StoredArray, unit: Position) -> None:
        super().__init__(plan, target, unit)
        self._source, self._origin = source, origin
        self._others = origin.others(plan, unit)
        self._repeats = origin.repeats(plan.mag)

    def fetch(self, cube: Cube) -> FetchedSource | None:
        first, shape = self._grid.region(cube)
        low, high = self._origin.hull(self._plan.mag, first, first + shape)
        fetched = self._source.fetch(*self._source_region(low, high - low))
        return None if fetched is None and self._source.spec.fill_value == 0 else FetchedSource(fetched)

    def voxels(self, cube: Cube, fetched: FetchedSource) -> Voxels:
        first, shape = self._grid.region(cube)

        def read(start: Sequence[int], size: Sequence[int]) -> Voxels:
            spec = self._source.spec
            if fetched.region is not None:  # exactly this box was fetched
                return xyz_last(spec, fetched.region.voxels())
            return xyz_last(spec, self._source.read(*self._source_region(start, size)))

        return self._grid.whole_chunks(cube, upsample_box(read, first, shape, self._repeats))

    def _source_region(self, start: Sequence[int], shape: Sequence[int]) -> tuple[Position, Position]:
        return region_at(self._source.spec, self._others, Vec3Int(start), Vec3Int(shape))
