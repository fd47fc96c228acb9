"""Which part of a stale unit of a coarser mag is still right, because the voxels that it is made from did not change.

A unit may be kept in part if its record proves that it was made as it would be made now: by the same parameters and encoder. What it was
made from is known by the contents that the record names (`wkpipe.storage.change`): of a source unit that has the same content nothing
changed, of one that was written in part only this part, and all of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from wkpipe.engine.budget import CUBE_BYTES, source_bytes
from wkpipe.engine.cubes import Cube, UnitGrid, cubes_of
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.formats.sharded import ShardedArray
from wkpipe.geometry.box import Box
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.steps.kept import Kept
from wkpipe.steps.unit_stream import cubes_of_unit
from wkpipe.steps.work import Work
from wkpipe.storage.change import name_of_token, names_in
from wkpipe.storage.record import MADE, OUTDATED, Record
from wkpipe.stored.axes import spatial

PART_BYTES: Final = CUBE_BYTES // 8
"""Cubes in which something changed are cut into parts of this many source bytes: these take longer, but less of a unit is made again."""

LEAST_SHARE: Final = 0.25
"""Of units that are kept to a smaller part, nothing is kept: to read and digest them costs too much."""


def kept_part(work: Work, origin: FromOtherMag, record: Record, source: ArraySpec, proofs: Mapping[Position, Record]) -> Kept | None:
    """Return what is kept of a recorded unit if it still has the recorded content; None if nothing is. No voxels are read."""
    plan, target, unit = work.mag_plan, work.target, record.unit
    units = plan.source_units(unit, source)
    if not isinstance(target, ShardedArray) or record.params != plan.params or len(names := names_in(record.sources)) != len(units):
        return None
    if (
        record.origin not in (MADE, OUTDATED)
        or record.encoder != target.encoder
        or not record.proof.is_known
        or not record.matches(target.unit_facts(unit))
    ):
        return None
    found = [_changed(source, proofs[each], name) for each, name in zip(units, names, strict=True)]
    changed = [box for box in found if box is not None]
    grid = UnitGrid(plan.spec, unit, *plan.unit_box(unit))

    def made_again(cubes: Sequence[Cube]) -> frozenset[Cube]:
        return frozenset(_made_from(changed, cubes, lambda cube: _hull(plan, origin, grid, cube)))

    whole = list(cubes_of_unit(plan, grid))
    touched = made_again(whole)
    parts = {cube: _split(cube, plan, grid) for cube in touched}
    cubes = [part for cube in whole for part in parts.get(cube, [cube])]
    again = made_again([part for cube in touched for part in parts[cube]])
    kept = Kept(record, target, grid, cubes, again)
    return kept if kept.share >= LEAST_SHARE else None


def _split(cube: Cube, plan: MagPlan, grid: UnitGrid) -> list[Cube]:
    """Cut a cube into smaller ones that overlap the box, in file order."""
    parts = cubes_of(plan.spec, source_bytes(plan.spec, plan.factors), PART_BYTES, cube.first, cube.first + cube.grid)
    return [part for part in parts if grid.region(part)[1].is_positive(strictly_positive=True)]


def _hull(plan: MagPlan, origin: FromOtherMag, grid: UnitGrid, cube: Cube) -> Box:
    """Return the box of source voxels that a cube is made from."""
    first, shape = grid.region(cube)
    return origin.hull(plan.mag, first, first + shape)


def _made_from(changed: Sequence[Box], cubes: Sequence[Cube], hull_of: Callable[[Cube], Box]) -> Iterator[Cube]:
    """Yield the cubes that are made from a voxel of some boxes.

    Along every axis, a hull depends only on the cube's place along this axis: thousands of cubes have few such places.
    """
    ranges: list[dict[int, tuple[int, int]]] = [{}, {}, {}]
    boxes = [list(zip(box.first, box.end, strict=True)) for box in changed]
    for cube in cubes:
        places = list(zip(ranges, cube.first, strict=True))
        if any(place not in known for known, place in places):
            for (known, place), *bounds in zip(places, *hull_of(cube), strict=True):
                known[place] = (bounds[0], bounds[1])
        hull = [known[place] for known, place in places]
        if any(all(low < end and first < high for (low, high), (first, end) in zip(hull, box, strict=True)) for box in boxes):
            yield cube


def _changed(source: ArraySpec, record: Record, since: str) -> Box | None:
    """Return the box of a source unit, in voxels, that differs from an earlier content; None if nothing does."""
    if name_of_token(record.token) == since:
        return None
    shape, chunk = spatial(source, source.unit_shape), spatial(source, source.chunk_shape)
    corner = spatial(source, record.unit) * shape
    for change in record.changes:
        if change.since == since and len(change.first) == len(change.end) == len(source.axes):
            return Box(corner + spatial(source, change.first) * chunk, corner + spatial(source, change.end) * chunk)
    return Box(corner, corner + shape)
