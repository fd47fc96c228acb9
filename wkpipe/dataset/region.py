"""Regions: one form for all ways to give a box (absolute or relative, offset and size, or a box)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.errors import WrongType
from wkpipe.errors import WrongGeometry
from wkpipe.geometry import SPATIAL_AXES, BoundingBox, Mag, NDBoundingBox, NormalizedBoundingBox, Vec3IntLike
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.geometry.vec_int import integers


def normalized_box(box: NDBoundingBox) -> NormalizedBoundingBox:
    """Return a box in its normal form, with the channel axis, as the type that users know for it."""
    return NormalizedBoundingBox(box.topleft, box.size, box.axes, box.index)


def public_box(box: NDBoundingBox) -> NDBoundingBox:
    """Return a box in normal form as users see it: only x, y, z if the axes are c, x, y, z."""
    return BoundingBox(box.topleft_xyz, box.size_xyz) if box.axes == CXYZ_AXES else box


@dataclass(frozen=True)
class WantedRegion:
    """The place of a region as the caller gave it, all in mag-1 voxels.

    Offsets and sizes are x, y, z, or one value per axis of the view's box. Along axes that a given
    box lacks, the region spans the whole view. At most one of the four is given; none means the whole view.
    """

    absolute_offset: Vec3IntLike | None = None
    relative_offset: Vec3IntLike | None = None
    absolute_bounding_box: NDBoundingBox | None = None
    relative_bounding_box: NDBoundingBox | None = None

    def __post_init__(self) -> None:
        given = [name for name, value in vars(self).items() if value is not None]
        if len(given) > 1:
            raise WrongGeometry(f"{' and '.join(given)} were given together", fix="give one of them")
        if self.box is not None and not isinstance(self.box, NDBoundingBox):
            raise WrongType(f"{given[0]}={self.box!r} is no bounding box", fix="give a BoundingBox or an NDBoundingBox")

    def size_in_view(self, size: Vec3IntLike | None, view: NDBoundingBox, mag: Mag) -> dict[str, int] | None:
        """Return a size by axis, in mag-1 voxels; None if none is given.

        A size without a place counts voxels of the mag, as it did before there were other ways to name a region.

        Raises:
            WrongGeometry: the number of values does not fit, or the size was given with a box.
        """
        if size is None:
            return None
        if self.box is not None:
            raise WrongGeometry("size was given with a bounding box, which has its own", fix="give size with an offset only")
        found = per_axis("size", size, view)
        if min(found.values()) < 0:
            raise WrongGeometry(f"size {','.join(map(str, found.values()))} is negative")
        if self != WantedRegion():
            return found
        advice = "give relative_offset=(0, 0, 0), and the size in mag-1 voxels"
        warn_caller(f"size without an offset counts voxels of the mag, which is deprecated: {advice}", DeprecationWarning)
        factors = dict(zip(SPATIAL_AXES, mag, strict=True))
        return {axis: length * factors.get(axis, 1) for axis, length in found.items()}

    @property
    def box(self) -> NDBoundingBox | None:
        """The box; None if an offset was given, or nothing."""
        return self.relative_bounding_box if self.absolute_bounding_box is None else self.absolute_bounding_box

    def in_view(self, view: NDBoundingBox, size: Mapping[str, int] | None) -> NDBoundingBox:
        """Return the region in the axes of `view` (the normal form).

        size: along some axes, in mag-1 voxels; without a size the region ends with the view.

        Raises:
            WrongGeometry: the view lacks an axis, the number of values does not fit, or a size was given with a box.
        """
        bounds = {axis: view.bounds(axis) for axis in view.axes}
        relative = self.relative_offset is not None or self.relative_bounding_box is not None or self == WantedRegion()
        if self.box is not None:
            bounds |= _box_bounds(self.box, view, relative)
            return _box(view.axes, bounds)
        offset = per_axis("offset", self.relative_offset if self.absolute_offset is None else self.absolute_offset, view)
        for axis, (first, end) in list(bounds.items()):
            start = offset.get(axis, 0) + first if relative else offset.get(axis, first)
            length = end - start if size is None or axis not in size else size[axis]
            if length < 0:
                raise WrongGeometry(f"the region starts at {axis} = {start}, beyond the view, which ends at {end}", fix="give its size")
            bounds[axis] = (start, start + length)
        return _box(view.axes, bounds)


def _box_bounds(box: NDBoundingBox, view: NDBoundingBox, relative: bool) -> dict[str, tuple[int, int]]:
    unknown = [axis for axis in box.axes if axis not in view.axes]
    if unknown:
        raise WrongGeometry(f"the box {box} has the axis {unknown[0]}, the view has {','.join(view.axes)}")
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
        WrongGeometry: the number of values is wrong, or they are not whole numbers.
    """
    if values is None:
        return {}
    whole = integers(values)
    if whole is None:
        raise WrongGeometry(f"{what} {values!r} is not valid", expected="whole numbers along x, y, z")
    axes = public_box(view).axes
    names = SPATIAL_AXES if len(whole) == 3 else axes
    if len(whole) != len(names):
        others = "" if axes == SPATIAL_AXES else f" or {','.join(axes)}"
        raise WrongGeometry(f"{what} {tuple(whole)} has {len(whole)} values; expected three (x, y, z){others}")
    return dict(zip(names, whole, strict=True))


def in_mag(region: NDBoundingBox, mag: Mag) -> NDBoundingBox:
    """Return a region in voxels of a mag.

    Raises:
        WrongGeometry: the region starts below 0, is empty, or is not aligned with the mag.
    """
    if any(value < 0 for value in region.topleft):
        raise WrongGeometry(f"the region {public_box(region)} starts below 0")
    if region.is_empty():
        raise WrongGeometry(f"the region {public_box(region)} is empty", fix="give a size, or the layer a bounding box")
    try:
        return region.in_mag(mag)
    except ValueError:
        raise WrongGeometry(
            f"the region {public_box(region)} is not aligned with mag {mag}: its corners, in mag-1 voxels, must be multiples of it"
        ) from None
