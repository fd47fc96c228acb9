"""NormalizedBoundingBox: a layer's box with all axes that its arrays have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.bounding_box import BoundingBox
from wkpipe.geometry.constants import CXYZ_AXES, SPATIAL_AXES
from wkpipe.geometry.nd_bounding_box import NDBoundingBox

_DEFAULT_AXIS_ORDER: Final = {axis: place for place, axis in enumerate(CXYZ_AXES)}


class NormalizedBoundingBox(NDBoundingBox):
    """A box with the axes of stored arrays, so also c; it equals a box of x, y, z with the same bounds.

    Raises
    ------
    WrongGeometry
        corner, size and axes differ in length, or an axis is named twice (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import BoundingBox
    >>> box = BoundingBox((1, 2, 3), (4, 5, 6)).normalize_axes(num_channels=3)
    >>> box
    NormalizedBoundingBox((0, 1, 2, 3), (3, 4, 5, 6), ('c', 'x', 'y', 'z'))
    >>> box.denormalize()
    BoundingBox((1, 2, 3), (4, 5, 6))
    >>> box.to_wkw_dict()["numChannels"]
    3
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # it equals boxes of x, y, z, whatever its channels are
    _is_normalized: ClassVar[bool] = True

    def denormalize(self) -> NDBoundingBox:
        """Return the box as users see it: only x, y, z if the axes are c, x, y, z."""
        parts = (self._name, self._is_visible, self._color)
        if self._axes == CXYZ_AXES:
            return BoundingBox(self.topleft_xyz, self.size_xyz, SPATIAL_AXES, None, *parts)
        return NDBoundingBox(self._topleft, self._size, self._axes, self._index, *parts)

    def to_wkw_dict(self) -> dict[str, Any]:
        """Return the box in the form of datasource-properties.json."""
        width, height, depth = self.size_xyz
        others = [axis for axis in self._axes if axis not in CXYZ_AXES]
        form: dict[str, Any] = {"topLeft": self.topleft_xyz.to_list(), "width": width, "height": height, "depth": depth}
        if others:
            form["additionalAxes"] = [
                {"name": axis, "bounds": list(self.get_bounds(axis)), "index": self.index.get(axis)} for axis in others
            ]
        form["axisOrder"] = {axis: self.index.get(axis) for axis in CXYZ_AXES if axis in self._axes}
        if "c" in self._axes:
            first, end = self.get_bounds("c")
            form |= {"numChannels": end - first} | ({"channelIndex": first} if first else {})
        return form

    @classmethod
    def from_wkw_dict(cls, bbox: Mapping[str, Any]) -> NDBoundingBox:
        """Return the box that a layer has in datasource-properties.json.

        Raises
        ------
        WrongGeometry
            a part is missing, or the axes have no order.
        """
        try:
            bounds = {
                axis: (bbox["topLeft"][i], bbox[key]) for i, (axis, key) in enumerate(zip("xyz", ("width", "height", "depth"), strict=True))
            }
            extra = {axis["name"]: axis for axis in bbox.get("additionalAxes") or ()}
            order = dict(bbox["axisOrder"] if extra or "axisOrder" in bbox else _DEFAULT_AXIS_ORDER)
        except (KeyError, IndexError, TypeError) as error:
            raise WrongGeometry(
                f"the box {dict(bbox)} lacks {error}", expected="topLeft, width, height, depth, and axisOrder for more axes"
            ) from None
        for name, axis in extra.items():
            bounds[name] = (axis["bounds"][0], axis["bounds"][1] - axis["bounds"][0])
            order[name] = axis["index"]
        if 0 not in order.values():
            order["c"] = 0
        if "c" in order:
            bounds["c"] = (bbox.get("channelIndex", 0), bbox.get("numChannels", 1))
        names = sorted(order, key=order.__getitem__)
        return cls([bounds[name][0] for name in names], [bounds[name][1] for name in names], names, [order[name] for name in names])
