"""The step of `FromImages`: convert units of the finest mag from images.

Images that cannot be read stop only the units that need them. The others are made; then the task fails with the list of these images,
so that nothing that is made of them is begun, and no mag with a hole is published. After a repair, the same command makes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wkpipe.engine.blocks import BlockCut
from wkpipe.engine.ordered import ordered_map
from wkpipe.errors import UnreadableImages, UnreadableInput
from wkpipe.formats.base import Position
from wkpipe.images import ImageStack
from wkpipe.images.cached import read_columns
from wkpipe.images.source import SourceBox
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.steps.convert import ConvertedUnit, convert_units
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record

MOST_LISTED = 30


def make_units(work: Work, origin: FromImages) -> Iterator[Record]:
    """Convert units from the images in the layer's plan, and yield the record of each when it is committed.

    Raises:
        UnreadableImages: images could not be read; all units that do not need them are made.
    """
    plan, units = work.mag_plan, work.range.units
    stack = ImageStack.from_json(work.layer.stack or {})
    inputs = {unit: origin.inputs(plan, unit, stack, {}) for unit in units}
    pending = [unit for unit in units if not work.is_proven(unit, inputs[unit])]
    work.begin(pending)
    unreadable: dict[str, UnreadableInput] = {}
    for done in _all_but_unreadable(work, stack, pending, unreadable):
        stats = {} if done.lowest is None or done.highest is None else {"lowest": done.lowest, "highest": done.highest}
        yield work.made(done.unit, done.proof, inputs[done.unit], stats)
    if unreadable:
        raise _error(unreadable)


def _error(unreadable: Mapping[str, UnreadableInput]) -> UnreadableImages:
    """Return the error that lists images, with the reason of the first."""
    first, *others = unreadable.values()
    if others:
        names = [Path(where).name for where in [*unreadable][1:MOST_LISTED]]
        more = ["…"] if len(unreadable) > MOST_LISTED else []
        first = first.but(what=f"{first.what} ({len(unreadable)} images cannot be read, also {', '.join(names + more)})")
    fix = f"replace {'them' if others else 'it'}, and run the same command again: what is whole is kept"
    return UnreadableImages.of(first.but(fix=fix))


def _all_but_unreadable(
    work: Work, stack: ImageStack, pending: Sequence[Position], unreadable: dict[str, UnreadableInput]
) -> Iterator[ConvertedUnit]:
    """Convert all units whose images can be read; note the images that cannot."""
    plan, threads = work.mag_plan, work.task.threads
    cut = BlockCut(plan.spec, plan.box, stack)
    groups = cut.groups(pending)
    while groups:
        made: set[Position] = set()
        try:
            for done in convert_units(
                plan, stack, work.target, [unit for group in groups for unit in group.units], threads, work.scratch, work.on_voxels
            ):
                made.add(done.unit)
                yield done
            return
        except UnreadableInput as error:
            # Groups are made one after the other: the first one that is not whole has the image.
            stopped = next(i for i, group in enumerate(groups) if not made.issuperset(group.units))
            found = {error.where: error}
            box = cut.in_source(groups[stopped].first, groups[stopped].end, groups[stopped].time)
            found |= {each.where: each for each in unreadable_planes(stack, box, threads)}
            for where, each in found.items():
                if where not in unreadable:
                    work.notify(str(each))
            unreadable |= found
            groups = groups[stopped + 1 :]


def unreadable_planes(stack: ImageStack, box: SourceBox, threads: int) -> Iterator[UnreadableInput]:
    """Decode each plane of a box, and yield the error of each that cannot be decoded."""

    def check(z: int) -> UnreadableInput | None:
        first, end = box.first._replace(z=z), box.end._replace(z=z + 1)
        try:
            for y in range(first.y, end.y, stack.blocks.y):
                y_end = min(y + stack.blocks.y, end.y)
                for x, x_end in read_columns(stack, first.x, end.x, y_end - y):
                    stack.read(SourceBox(first._replace(y=y, x=x), end._replace(y=y_end, x=x_end)))
        except UnreadableInput as error:
            return error
        return None

    yield from (error for error in ordered_map(check, range(box.first.z, box.end.z), threads) if error is not None)
