"""Box: a region along x, y, z; the only type of box below the public API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wkpipe.geometry.nd_bounding_box import NDBoundingBox
from wkpipe.geometry.vec3_int import Vec3Int


class Box(NamedTuple):
    """The voxels (x, y, z) from `first` to `end`, which is exclusive.

    >>> Box(Vec3Int(1, 2, 3), Vec3Int(4, 4, 4)).size
    Vec3Int(3, 2, 1)
    """

    first: Vec3Int
    end: Vec3Int

    @classmethod
    def of(cls, box: NDBoundingBox) -> Box:
        """Return a bounding box along x, y, z only."""
        return cls(box.topleft_xyz, box.bottomright_xyz)

    @property
    def size(self) -> Vec3Int:
        """How many voxels it has along x, y, z; negative if `end` is before `first`."""
        return self.end - self.first

    def intersected_with(self, other: Box) -> Box:
        """Return the region that is in both boxes; its size may be negative."""
        return Box(self.first.pairmax(other.first), self.end.pairmin(other.end))

    def to_json(self) -> list[list[int]]:
        """Return first and end as lists."""
        return [list(self.first), list(self.end)]

    @classmethod
    def from_json(cls, values: Sequence[Sequence[int]]) -> Box:
        """Return the box that `to_json` describes."""
        return cls(Vec3Int(values[0]), Vec3Int(values[1]))
