"""The step of `FromCoarser`: upsample units of a finer mag from a coarser one, after its units were found sound."""

from __future__ import annotations

from collections.abc import Iterator

from wkpipe.formats.base import Position, UnitProof
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.steps.kept import Kept
from wkpipe.steps.source_mag import SourceMag
from wkpipe.steps.upsample import upsample_unit
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record


def make_units(work: Work, origin: FromCoarser) -> Iterator[Record]:
    """Upsample units, and yield the record of each when it is committed.

    Raises:
        MissingShard, DamagedShard: see `SourceMag.records`.
    """
    source = SourceMag(work, origin)

    def make(unit: Position, _: Kept | None) -> UnitProof:
        return upsample_unit(
            work.mag_plan, origin, source.array, work.target, unit, work.task.threads, work.scratch, work.on_voxels, work.fork
        )

    yield from source.records(make)
