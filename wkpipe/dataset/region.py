"""Regions: what the many ways to name a box (absolute or relative, offset and size, or a box) come down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wkpipe.errors import InputRefused
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, Mag, NDBoundingBox, Vec3IntLike

_PLAIN_AXES = ("c", *SPATIAL_AXES)


def public_box(box: NDBoundingBox) -> NDBoundingBox:
    """Return a box in the normal form as users see it: x, y, z alone where the axes are c, x, y, z."""
    return BoundingBox(box.topleft_xyz, box.size_xyz) if box.axes == _PLAIN_AXES else box


@dataclass(frozen=True)
class Place:
    """Where a region lies, as the caller said it; everything in mag-1 voxels.

    Offsets and sizes are x, y, z, or one value per axis of the view's box. Boxes may lack axes of the view's box: they
    then take all of it. Only one of the four is given, or none for the whole view.
    """

    absolute_offset: Vec3IntLike | None = None
    relative_offset: Vec3IntLike | None = None
    absolute_bounding_box: NDBoundingBox | None = None
    relative_bounding_box: NDBoundingBox | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            raise InputRefused(f"{' and '.join(given)} were given together; a region has one place: give one of them")

    @property
    def box(self) -> NDBoundingBox | None:
        """The box, where one was given."""
        return self.relative_bounding_box if self.absolute_bounding_box is None else self.absolute_bounding_box

    def region(self, view: NDBoundingBox, size: Mapping[str, int] | None) -> NDBoundingBox:
        """Return the region in the axes of `view` (the normal form).

        size: along some axes, in mag-1 voxels; where there is no size the region ends with the view.

        Raises:
            InputRefused: an axis that the view does not have, a number of values that does not fit, a size next to a box.
        """
        bounds = {axis: view.bounds(axis) for axis in view.axes}
        relative = self.relative_offset is not None or self.relative_bounding_box is not None or self == Place()
        if self.box is not None:
            bounds |= _box_bounds(self.box, view, relative)
            return _box(view.axes, bounds)
        offset = per_axis("offset", self.relative_offset if self.absolute_offset is None else self.absolute_offset, view)
        for axis, (first, end) in list(bounds.items()):
            start = offset.get(axis, 0) + first if relative else offset.get(axis, first)
            length = end - start if size is None or axis not in size else size[axis]
            if length < 0:
                raise InputRefused(f"the region starts at {axis} = {start}, behind the view, which ends at {end}; give its size")
            bounds[axis] = (start, start + length)
        return _box(view.axes, bounds)


def _box_bounds(box: NDBoundingBox, view: NDBoundingBox, relative: bool) -> dict[str, tuple[int, int]]:
    unknown = [axis for axis in box.axes if axis not in view.axes]
    if unknown:
        raise InputRefused(f"the box {box} has the axis {unknown[0]}, the view has {','.join(view.axes)}")
    bounds = {}
    for axis in box.axes:
        first, end = box.bounds(axis)
        origin = view.bounds(axis)[0] if relative else 0
        bounds[axis] = (first + origin, end + origin)
    return bounds


def _box(axes: Sequence[str], bounds: Mapping[str, tuple[int, int]]) -> NDBoundingBox:
    return NDBoundingBox([bounds[axis][0] for axis in axes], [bounds[axis][1] - bounds[axis][0] for axis in axes], axes)


def per_axis(what: str, values: Vec3IntLike | None, view: NDBoundingBox) -> dict[str, int]:
    """Spread an offset or a size over axes: x, y, z, or one value per axis of the view's box as users see it.

    Raises:
        InputRefused: another number of values.
    """
    if values is None:
        return {}
    axes = public_box(view).axes
    names = SPATIAL_AXES if len(values) == 3 else axes
    if len(values) != len(names):
        raise InputRefused(
            f"{what} {tuple(values)} has {len(values)} values; expected three (x, y, z)"
            + (f" or {','.join(axes)}" if axes != SPATIAL_AXES else "")
        )
    return dict(zip(names, map(int, values), strict=True))


def in_mag(region: NDBoundingBox, mag: Mag) -> NDBoundingBox:
    """Return a region in voxels of a mag.

    Raises:
        InputRefused: negative, empty, or not on multiples of the mag.
    """
    if any(value < 0 for value in region.topleft):
        raise InputRefused(f"the region {public_box(region)} starts below 0")
    if region.is_empty():
        raise InputRefused(f"the region {public_box(region)} is empty; give a size, or the layer a bounding box")
    try:
        return region.in_mag(mag)
    except ValueError:
        raise InputRefused(
            f"the region {public_box(region)} is not aligned with mag {mag}: its corners, in mag-1 voxels, must be multiples of it"
        ) from None
