"""BoundingBox: a box over x, y, z in mag-1 voxels."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np

from wkpipe.errors import WrongGeometry
from wkpipe.geometry.box_base import UNNAMED, Color
from wkpipe.geometry.nd_bounding_box import SPATIAL_AXES, NDBoundingBox
from wkpipe.geometry.vec3_int import Vec3Int, Vec3IntLike

_INDEX: Final = (1, 2, 3)
_SIX: Final = re.compile(r"(?<![\d-])-?\d+(?:_-?\d+){5}(?!\d)")


class BoundingBox(NDBoundingBox):
    """A three-dimensional box: first corner (inclusive) and size, x, y, z, in mag-1 voxels.

    A negative size flips the box, so sizes are never negative.

    Raises
    ------
    WrongGeometry
        corner or size are not three integers (also a ValueError and an AssertionError).

    Examples
    --------
    >>> from wkpipe import BoundingBox
    >>> box = BoundingBox((10, 10, 10), (64, 64, 16))
    >>> box.bottomright, str(box)
    (Vec3Int(74, 74, 26), '10,10,10,64,64,16')
    >>> BoundingBox.from_str("10,10,10,64,64,16") == box
    True
    >>> BoundingBox((10, 10, 10), (-5, 5, 5))
    BoundingBox((5, 10, 10), (5, 5, 5))
    """

    __slots__ = ()
    _implies_channels: ClassVar[bool] = True

    def __init__(
        self,
        topleft: Vec3IntLike,
        size: Vec3IntLike,
        axes: Sequence[str] = SPATIAL_AXES,
        index: Vec3IntLike | None = None,
        name: str | None = UNNAMED,
        is_visible: bool = True,
        color: Color | None = None,
    ) -> None:
        if tuple(axes) != SPATIAL_AXES:
            raise WrongGeometry(f"a BoundingBox has the axes x, y, z, not {','.join(axes)}; use NDBoundingBox")
        super().__init__(Vec3Int(topleft), Vec3Int(size), SPATIAL_AXES, None, name, is_visible, color)
        self._index = _INDEX if index is None else Vec3Int(index).to_tuple()

    @classmethod
    def empty(cls) -> Self:
        """Return a box of size 0 at the origin."""
        return cls((0, 0, 0), (0, 0, 0))

    # -- from other forms ---------------------------------------------------------------------------------------

    @classmethod
    def from_str(cls, text: str) -> Self:
        """Parse ``"x,y,z,width,height,depth"``.

        Raises
        ------
        WrongGeometry
            these are not six integers.
        """
        try:
            values = [int(part) for part in text.split(",")]
            return cls(values[:3], values[3:])
        except ValueError:
            raise WrongGeometry(f"expected a box like 0,0,0,512,512,128 (x,y,z,width,height,depth), found {text!r}") from None

    @classmethod
    def from_csv(cls, csv_bbox: str) -> Self:
        """Parse ``"x,y,z,width,height,depth"``; the same as `from_str`.

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> BoundingBox.from_csv("0,0,8,64,64,16")
        BoundingBox((0, 0, 8), (64, 64, 16))
        """
        return cls.from_str(csv_bbox)

    @classmethod
    def from_tuple6(cls, tuple6: Sequence[int]) -> Self:
        """Return a box from x, y, z, width, height, depth.

        Raises
        ------
        WrongGeometry
            these are not six integers.
        """
        values = tuple(tuple6)
        return cls(values[:3], values[3:])

    @classmethod
    def from_tuple2(cls, tuple2: Sequence[Vec3IntLike]) -> Self:
        """Return a box from its corner and its size."""
        topleft, size = tuple2
        return cls(topleft, size)

    @classmethod
    def from_points(cls, points: Iterable[Vec3IntLike]) -> Self:
        """Return the smallest box around points.

        Raises
        ------
        WrongGeometry
            there are no points, or they are not three integers each.

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> BoundingBox.from_points([(1, 5, 2), (4, 3, 2)])
        BoundingBox((1, 3, 2), (4, 3, 1))
        """
        found = [Vec3Int(point) for point in points]
        if not found:
            raise WrongGeometry("a box around no points has no place", fix="give at least one point")
        topleft = Vec3Int(np.min(found, axis=0))
        return cls(topleft, Vec3Int(np.max(found, axis=0)) - topleft + 1)

    @classmethod
    def from_ndbbox(cls, bbox: NDBoundingBox) -> Self:
        """Return the x, y, z of a box with more axes."""
        return cls(bbox.topleft_xyz, bbox.size_xyz, SPATIAL_AXES, None, bbox.name, bbox.is_visible, bbox.color)

    @classmethod
    def from_config_dict(cls, bbox: Mapping[str, Any]) -> Self:
        """Return a box from a dictionary with `topleft` and `size`; see `to_config_dict`.

        Raises
        ------
        WrongGeometry
            one of them is missing or wrong.
        """
        if missing := [key for key in ("topleft", "size") if key not in bbox]:
            raise WrongGeometry(found=f"a box without {missing[0]}: {dict(bbox)}", expected="topleft and size")
        return cls(bbox["topleft"], bbox["size"])

    @classmethod
    def from_checkpoint_name(cls, checkpoint_name: str) -> Self:
        """Return the box that a file's name contains; see `to_checkpoint_name`.

        Raises
        ------
        WrongGeometry
            it contains none.
        """
        found = _SIX.search(checkpoint_name)
        if found is None:
            raise WrongGeometry(found=f"name {checkpoint_name!r}", expected="six numbers like 0_0_0_512_512_64 in it")
        return cls.from_tuple6([int(part) for part in found[0].split("_")])

    @classmethod
    def from_auto(cls, obj: BoundingBox | str | Mapping[str, Any] | Sequence[Any]) -> Self:
        """Return a box from any of these forms: a box, six integers, corner and size, ``"x,y,z,width,height,depth"``, or a dictionary.

        A dictionary, which may also be given as JSON, has `topleft` and `size`, or `topLeft`, `width`, `height` and `depth`.

        Raises
        ------
        WrongGeometry
            it is none of them.
        """
        if isinstance(obj, cls):
            return obj
        if isinstance(obj, str):
            return cls.from_auto(_json(obj)) if obj.lstrip().startswith("{") else cls.from_csv(obj)
        if isinstance(obj, Mapping):
            if {"topLeft", "width", "height", "depth"} <= obj.keys():
                return cls(obj["topLeft"], (obj["width"], obj["height"], obj["depth"]))
            return cls.from_config_dict(obj)
        if isinstance(obj, list | tuple) and len(obj) in (2, 6):
            return cls.from_tuple2(obj) if len(obj) == 2 else cls.from_tuple6(obj)
        raise WrongGeometry(found=f"{obj!r} as a box", expected="six integers, a corner and a size, or a text like 0,0,0,512,512,64")

    # -- contents -----------------------------------------------------------------------------------------------

    @property
    def topleft(self) -> Vec3Int:
        """The first corner x, y, z, inclusive."""
        return Vec3Int(self._topleft)

    @property
    def size(self) -> Vec3Int:
        """The size along x, y, z."""
        return Vec3Int(self._size)

    @property
    def bottomright(self) -> Vec3Int:
        """The last corner x, y, z, exclusive."""
        return self.topleft + self.size

    @property
    def index(self) -> Vec3Int:
        """The places of x, y, z in arrays; 0 is for channels."""
        return Vec3Int(self._index)

    def with_bounds_x(self, new_topleft_x: int | None = None, new_size_x: int | None = None) -> Self:
        """Return the box with another first position, another size or both along x."""
        return self.with_bounds("x", new_topleft_x, new_size_x)

    def with_bounds_y(self, new_topleft_y: int | None = None, new_size_y: int | None = None) -> Self:
        """Return the box with another first position, another size or both along y."""
        return self.with_bounds("y", new_topleft_y, new_size_y)

    def with_bounds_z(self, new_topleft_z: int | None = None, new_size_z: int | None = None) -> Self:
        """Return the box with another first position, another size or both along z."""
        return self.with_bounds("z", new_topleft_z, new_size_z)

    def iter_chunk_toplefts(
        self, chunk_shape: Vec3IntLike, chunk_border_alignments: Vec3IntLike | None = None, clip_to: BoundingBox | None = None
    ) -> Iterator[tuple[int, int, int]]:
        """Yield the first corners of the chunks that `chunk` cuts, before it clips them to the box.

        Parameters
        ----------
        clip_to
            yield only the chunks of this grid that share a voxel with another box.

        Examples
        --------
        >>> from wkpipe import BoundingBox
        >>> [tuple(corner) for corner in BoundingBox((0, 0, 0), (40, 20, 8)).iter_chunk_toplefts((32, 32, 32))]
        [(0, 0, 0), (32, 0, 0)]
        """
        steps = Vec3Int(chunk_shape)
        origin = self._grid_origin(steps, chunk_border_alignments)
        clip = self if clip_to is None else clip_to
        first, end = self.topleft.pairmax(clip.topleft), self.bottomright.pairmin(clip.bottomright)
        x, y, z = (
            range(start + max((low - start) // step, 0) * step, high if low < high else start, step)
            for start, step, low, high in zip(origin, steps, first, end, strict=True)
        )
        yield from itertools.product(x, y, z)

    # -- other forms --------------------------------------------------------------------------------------------

    def to_tuple6(self) -> tuple[int, int, int, int, int, int]:
        """Return x, y, z, width, height, depth."""
        return (*self.topleft.to_tuple(), *self.size.to_tuple())

    def to_csv(self) -> str:
        """Return ``"x,y,z,width,height,depth"``; the same as `str`."""
        return str(self)

    def to_config_dict(self) -> dict[str, Any]:
        """Return corner and size as a dictionary."""
        return {"topleft": self.topleft.to_list(), "size": self.size.to_list()}

    def __repr__(self) -> str:
        return f"BoundingBox({self.topleft.to_tuple()}, {self.size.to_tuple()})"

    def __str__(self) -> str:
        return ",".join(map(str, self.to_tuple6()))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongGeometry(f"the box {text!r} is not valid JSON: {error}") from None
