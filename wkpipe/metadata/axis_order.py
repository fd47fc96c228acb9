"""AxisOrder: the indices of the axes c, x, y, z in an array; and the additional axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.errors import MetadataError
from wkpipe.metadata.json_node import MAX_COORDINATE, JsonNode, merged

_MAX_AXES: Final = 32
_NAMES: Final = ("c", "x", "y", "z")


@dataclass(frozen=True)
class AxisOrder:
    """The indices of x, y, z and, if the arrays have it, c; `extra` keeps unknown keys.

    >>> AxisOrder.from_axes(("t", "c", "x", "y", "z"))
    AxisOrder(x=2, y=3, z=4, c=1)
    """

    x: int = 1
    y: int = 2
    z: int = 3
    c: int | None = 0
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_axes(cls, axes: Sequence[str]) -> AxisOrder:
        """Return the order of arrays with these axes, which must include x, y and z.

        Raises:
            ValueError: x, y or z is missing.
        """
        names = list(axes)
        return cls(names.index("x"), names.index("y"), names.index("z"), names.index("c") if "c" in names else None)

    @classmethod
    def from_json(cls, node: JsonNode) -> AxisOrder:
        """Read ``{"c": 0, "x": 1, "y": 2, "z": 3}``; c may be missing.

        Raises:
            MetadataError: an index is missing, invalid, or given twice.
        """
        x, y, z = (node.child(name).integer(0, _MAX_AXES - 1) for name in "xyz")
        channel = node.get("c")
        c = None if channel is None else channel.integer(0, _MAX_AXES - 1)
        if len({x, y, z, c}) != 4:
            raise node.error("a different index for every axis")
        return cls(x, y, z, c, node.unknown(_NAMES))

    def to_json(self) -> dict[str, Any]:
        known = {} if self.c is None else {"c": self.c}
        return merged(known | {"x": self.x, "y": self.y, "z": self.z}, self.extra)

    def indices(self) -> dict[int, str]:
        """Return the name of the axis at every index."""
        named = {self.x: "x", self.y: "y", self.z: "z"}
        return named if self.c is None else named | {self.c: "c"}


@dataclass(frozen=True)
class AdditionalAxis:
    """An axis other than c, x, y, z: its name, bounds (first, past-the-last) and index in the array."""

    name: str
    bounds: tuple[int, int]
    index: int
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_json(cls, node: JsonNode) -> AdditionalAxis:
        """Read ``{"name": "t", "bounds": [0, 3], "index": 0}``.

        Raises:
            MetadataError: a key is missing, or its value is invalid.
        """
        name = node.child("name").text()
        if not name or name in _NAMES:
            raise node.child("name").error("a name other than c, x, y, z")
        bounds = node.child("bounds")
        first, end = (item.integer(-MAX_COORDINATE) for item in bounds.items(2))
        if end < first:
            raise bounds.error("[first, past-the-last] in this order")
        return cls(name, (first, end), node.child("index").integer(0, _MAX_AXES - 1), node.unknown(("name", "bounds", "index")))

    def to_json(self) -> dict[str, Any]:
        return merged({"name": self.name, "bounds": list(self.bounds), "index": self.index}, self.extra)


def additional_axes_from_json(node: JsonNode | None) -> tuple[AdditionalAxis, ...]:
    """Read the list of additional axes; a missing one is empty.

    Raises:
        MetadataError: see `AdditionalAxis.from_json`; or a name is given twice.
    """
    axes: list[AdditionalAxis] = []
    for item in node.items() if node is not None else []:
        axis = AdditionalAxis.from_json(item)
        if any(axis.name == other.name for other in axes):
            raise item.child("name").error("a name that no other axis has")
        axes.append(axis)
    return tuple(axes)


def complete_axis_order(given: AxisOrder | None, additional: Sequence[AdditionalAxis], num_channels: int) -> AxisOrder:
    """Return the axis order of a layer's arrays; old files give none or only a part of it.

    If none is given, c, x, y, z take the indices that the additional axes leave; c gets one only if it is needed or there
    are no additional axes. ``{"x": 1, "y": 2, "z": 3}`` without additional axes means c, x, y, z.
    """
    if given is None:
        taken = {axis.index for axis in additional}
        free = [i for i in range(len(taken) + 4) if i not in taken]
        has_channels = not additional or num_channels > 1
        c = free.pop(0) if has_channels else None
        return AxisOrder(free[0], free[1], free[2], c)
    if given.c is None and not additional and 0 not in (given.x, given.y, given.z):
        return AxisOrder(given.x, given.y, given.z, 0, given.extra)
    return given


def array_axes(order: AxisOrder, additional: Sequence[AdditionalAxis]) -> tuple[str, ...]:
    """Return the names of an array's axes in array order.

    Raises:
        MetadataError: two axes have the same index, or an index has no axis.
    """
    by_index = order.indices()
    for axis in additional:
        if axis.index in by_index:
            both = f"{by_index[axis.index]} and {axis.name}"
            raise MetadataError(where="additionalAxes", found=f"axes {both} at the same index {axis.index}", expected="different ones")
        by_index[axis.index] = axis.name
    for index in range(len(by_index)):
        if index not in by_index:
            raise MetadataError(
                where="additionalAxes", found=f"axes at the indices {sorted(by_index)}", expected=f"one at index {index} too"
            )
    return tuple(by_index[index] for index in range(len(by_index)))
