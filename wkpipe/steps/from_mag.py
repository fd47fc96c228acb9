"""The step of `FromMag`: downsample units of a coarser mag from a finer one, after its units were found sound."""

from __future__ import annotations

from collections.abc import Iterator

from wkpipe.engine.handover import Handover
from wkpipe.formats.base import Position, UnitProof
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.steps.downsample import downsample_unit, handover
from wkpipe.steps.kept import Kept
from wkpipe.steps.source_mag import SourceMag
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record


def make_units(work: Work, origin: FromMag) -> Iterator[Record]:
    """Downsample units, and yield the record of each when it is committed.

    Raises:
        MissingShard, DamagedShard: see `SourceMag.records`.
    """
    plan, shared = work.mag_plan, work.shared
    source = SourceMag(work, origin)
    sampled, shared.handover = shared.handover, None
    voxels = sampled[1] if sampled is not None and sampled[0] == plan and sampled[1].is_complete else None
    if voxels is not None or not source.find_kept():  # voxels that are kept are not decoded, so they cannot be handed over
        shared.handover = _handover_to_next(work)
    coarser = None if shared.handover is None else shared.handover[1]

    def make(unit: Position, kept: Kept | None) -> UnitProof:
        return downsample_unit(
            plan, origin, source.array, work.target, unit, work.task.threads, work.scratch, work.on_voxels, work.fork, voxels, coarser, kept
        )

    yield from source.records(make, is_read=voxels is None)


def _handover_to_next(work: Work) -> tuple[MagPlan, Handover] | None:
    """Return the mag of the next range with its handover, if it is made from this one and a handover is possible."""
    plan, mag_range = work.mag_plan, work.range
    following = work.following
    if following is None or following.layer != mag_range.layer:
        return None
    coarser = work.plan.mag_plan(following.layer, following.mag)
    if not isinstance(coarser.origin, FromMag) or coarser.origin.mag != plan.mag or set(mag_range.units) != set(plan.units()):
        return None
    taken = handover(plan, coarser, coarser.origin)
    return None if taken is None else (coarser, taken)
