"""BoundingBox: a box over x, y, z in mag-1 voxels."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.geometry.nd_bounding_box import SPATIAL_AXES, NDBoundingBox
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike


class BoundingBox(NDBoundingBox):
    """A three-dimensional box: first corner (inclusive) and size, x, y, z, in mag-1 voxels.

    >>> BoundingBox((10, 10, 10), (-5, 5, 5))
    BoundingBox((5, 10, 10), (5, 5, 5))
    """

    __slots__ = ()

    def __init__(self, topleft: Vec3IntLike, size: Vec3IntLike, axes: Sequence[str] = SPATIAL_AXES) -> None:
        if tuple(axes) != SPATIAL_AXES:
            raise ValueError(f"a BoundingBox has the axes x, y, z, not {','.join(axes)}; use NDBoundingBox")
        super().__init__(Vec3Int(topleft), Vec3Int(size), SPATIAL_AXES)

    @classmethod
    def empty(cls) -> BoundingBox:
        """Return a box of size 0 at the origin."""
        return cls((0, 0, 0), (0, 0, 0))

    @classmethod
    def from_str(cls, text: str) -> BoundingBox:
        """Parse ``"x,y,z,width,height,depth"``.

        Raises:
            ValueError: not six integers.
        """
        try:
            values = [int(part) for part in text.split(",")]
            return cls(values[:3], values[3:])
        except ValueError:
            raise ValueError(f"expected a box like 0,0,0,512,512,128 (x,y,z,width,height,depth), found {text!r}") from None

    @property
    def topleft(self) -> Vec3Int:
        return Vec3Int(self._topleft)

    @property
    def size(self) -> Vec3Int:
        return Vec3Int(self._size)

    @property
    def bottomright(self) -> Vec3Int:
        return self.topleft + self.size

    def __repr__(self) -> str:
        return f"BoundingBox({tuple(self.topleft)}, {tuple(self.size)})"

    def __str__(self) -> str:
        return f"{self.topleft},{self.size}"
