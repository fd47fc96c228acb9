"""Coordinate transformations: how WEBKNOSSOS places a layer among the others. wkpipe keeps them and applies none."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wkpipe.dataset.errors import WrongType
from wkpipe.errors import InputRefused
from wkpipe.geometry import SPATIAL_AXES, Vec3Float, Vec3FloatLike

Numbers = npt.NDArray[np.float64]


class CoordinateTransformation:
    """A transformation of a layer, as its JSON object in datasource-properties.json; those of known types have classes of their own.

    Examples
    --------
    >>> from wkpipe import CoordinateTransformation
    >>> CoordinateTransformation.from_json({"type": "affine", "matrix": [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]})
    AffineCoordinateTransformation([[1.0, 0.0, 0.0, 5.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    """

    __hash__ = None  # type: ignore[assignment]  # they hold numbers that may be equal without being the same

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = copy.deepcopy(dict(values))

    def to_json(self) -> dict[str, Any]:
        """Return the object of datasource-properties.json."""
        return copy.deepcopy(self._values)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CoordinateTransformation:
        """Return the transformation of an object of datasource-properties.json.

        Raises
        ------
        InputRefused
            the object is not possible.
        """
        try:
            found = _of_type(values)
        except (KeyError, TypeError) as error:
            raise InputRefused(f"the coordinate transformation {dict(values)} is not valid: {error}") from None
        found._values = copy.deepcopy(dict(values))  # with the keys that wkpipe does not know
        return found

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, CoordinateTransformation) else NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values})"


class AffineCoordinateTransformation(CoordinateTransformation):
    """An affine transformation: a matrix of 4 × 4 numbers, whose last column moves the layer.

    Transformations are changed by methods that return new ones; each takes effect after those before.

    Parameters
    ----------
    matrix
        rows of numbers; a point p becomes ``matrix[:3, :3] @ p + matrix[:3, 3]``.

    Raises
    ------
    InputRefused
        the matrix is not 4 × 4 numbers (also a ValueError).

    Examples
    --------
    >>> from wkpipe import AffineCoordinateTransformation, Dataset
    >>> moved = AffineCoordinateTransformation.from_scale((2, 2, 1)).translate((100, 0, 0))
    >>> moved.matrix.tolist()
    [[2.0, 0.0, 0.0, 100.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
    >>> layer.coordinate_transformations = [moved]
    >>> layer.coordinate_transformations == (moved,)
    True
    """

    def __init__(self, matrix: npt.ArrayLike) -> None:
        self.matrix = _numbers("matrix", matrix, (4, 4))
        super().__init__({"type": "affine", "matrix": self.matrix.tolist()})

    @classmethod
    def identity(cls) -> Self:
        """Return the transformation that leaves the layer where it is."""
        return cls(np.eye(4))

    @classmethod
    def from_translation(cls, translation: Vec3FloatLike) -> Self:
        """Return the transformation that moves the layer by x, y, z."""
        matrix = np.eye(4)
        matrix[:3, 3] = Vec3Float(translation).to_np()
        return cls(matrix)

    @classmethod
    def from_scale(cls, scale: Vec3FloatLike) -> Self:
        """Return the transformation that stretches the layer from the origin, by a factor for each of x, y, z."""
        return cls(np.diag([*Vec3Float(scale), 1.0]))

    @classmethod
    def from_rotation(cls, axis: str, angle: float) -> Self:
        """Return the transformation that turns the layer around an axis through the origin.

        Parameters
        ----------
        axis
            x, y or z.
        angle
            in degrees; around z, 90 turns the x axis to the y axis, and so on in the order x, y, z, x.

        Raises
        ------
        InputRefused
            there is no such axis (also a ValueError).

        Examples
        --------
        >>> from wkpipe import AffineCoordinateTransformation
        >>> AffineCoordinateTransformation.from_rotation("z", 90).matrix[:3, 0].round(6).tolist()  # where (1, 0, 0) goes
        [0.0, 1.0, 0.0]
        """
        first, second = ((_place(axis) + step) % 3 for step in (1, 2))
        matrix, radians = np.eye(4), math.radians(angle)
        matrix[first, first] = matrix[second, second] = math.cos(radians)
        matrix[second, first] = math.sin(radians)
        matrix[first, second] = -math.sin(radians)
        return cls(matrix)

    def translate(self, translation: Vec3FloatLike) -> Self:
        """Return this transformation followed by a move; see `from_translation`."""
        return self.chain(self.from_translation(translation))

    def scale(self, scale: Vec3FloatLike) -> Self:
        """Return this transformation followed by a stretch; see `from_scale`."""
        return self.chain(self.from_scale(scale))

    def rotate(self, axis: str, angle: float) -> Self:
        """Return this transformation followed by a turn; see `from_rotation`."""
        return self.chain(self.from_rotation(axis, angle))

    def flip(self, axis: str) -> Self:
        """Return this transformation followed by a reflection that turns an axis (x, y or z) around.

        Raises
        ------
        InputRefused
            there is no such axis (also a ValueError).

        Examples
        --------
        >>> from wkpipe import AffineCoordinateTransformation
        >>> AffineCoordinateTransformation.identity().flip("y").matrix.diagonal().tolist()
        [1.0, -1.0, 1.0, 1.0]
        """
        factors = np.ones(3)
        factors[_place(axis)] = -1
        return self.scale(factors.tolist())

    def chain(self, other: AffineCoordinateTransformation) -> Self:
        """Return this transformation followed by another one.

        Examples
        --------
        >>> from wkpipe import AffineCoordinateTransformation as Affine
        >>> Affine.from_translation((1, 0, 0)).chain(Affine.from_scale((2, 2, 2))) == Affine.from_scale((2, 2, 2)).translate((2, 0, 0))
        True
        """
        return type(self)(other.matrix @ self.matrix)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.matrix.tolist()})"


class ThinPlateSplineCoordinateTransformation(CoordinateTransformation):
    """A transformation that moves landmarks to given places, and warps the layer smoothly in between.

    Parameters
    ----------
    source
        the landmarks, x, y, z each.
    target
        where each of them goes.

    Raises
    ------
    InputRefused
        there are no landmarks, or not as many targets as sources (also a ValueError).

    Examples
    --------
    >>> from wkpipe import ThinPlateSplineCoordinateTransformation
    >>> warp = ThinPlateSplineCoordinateTransformation(source=[(0, 0, 0), (9, 0, 0)], target=[(0, 0, 0), (9, 1, 0)])
    >>> warp.pairs[1]
    (Vec3Float(9.0,0.0,0.0), Vec3Float(9.0,1.0,0.0))
    """

    def __init__(self, source: npt.ArrayLike, target: npt.ArrayLike) -> None:
        self.source = _numbers("source", source, (None, 3))
        self.target = _numbers("target", target, (None, 3))
        if len(self.source) != len(self.target) or not len(self.source):
            raise InputRefused(f"{len(self.source)} landmarks have {len(self.target)} targets", expected="one or more, and as many targets")
        places = {"source": self.source.tolist(), "target": self.target.tolist()}
        super().__init__({"type": "thin_plate_spline", "correspondences": places})

    @classmethod
    def from_pairs(cls, pairs: Iterable[Sequence[Vec3FloatLike]]) -> Self:
        """Return the transformation of pairs of a landmark and its target; see `pairs`."""
        known = [tuple(Vec3Float(place) for place in pair) for pair in pairs]
        if any(len(pair) != 2 for pair in known):
            raise InputRefused("a pair is a landmark and its target", found=f"{max(map(len, known))} places")
        return cls([list(pair[0]) for pair in known], [list(pair[1]) for pair in known])

    @property
    def pairs(self) -> tuple[tuple[Vec3Float, Vec3Float], ...]:
        """Each landmark and its target."""
        return tuple((Vec3Float(a.tolist()), Vec3Float(b.tolist())) for a, b in zip(self.source, self.target, strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source.tolist()}, {self.target.tolist()})"


def transformation_json(transformation: object) -> Mapping[str, Any]:
    """Return the JSON object of a transformation, which may be given as one.

    Raises:
        WrongType: it is something else.
    """
    if isinstance(transformation, CoordinateTransformation):
        return transformation.to_json()
    if isinstance(transformation, dict):
        return CoordinateTransformation.from_json(transformation).to_json()
    raise WrongType(f"{transformation!r} is no coordinate transformation", fix="give an AffineCoordinateTransformation, or a JSON object")


def _of_type(values: Mapping[str, Any]) -> CoordinateTransformation:
    if values.get("type") == "affine":
        return AffineCoordinateTransformation(values["matrix"])
    if values.get("type") == "thin_plate_spline":
        places = values["correspondences"]
        return ThinPlateSplineCoordinateTransformation(places["source"], places["target"])
    return CoordinateTransformation(values)


def _numbers(name: str, values: npt.ArrayLike, shape: tuple[int | None, int]) -> Numbers:
    expected = "×".join("n" if length is None else str(length) for length in shape) + " finite numbers"
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise InputRefused(f"{name} {values!r} is not valid", expected=expected) from None
    if found.size == 0:
        found = found.reshape(0, shape[1])
    if found.ndim != 2 or found.shape[1] != shape[1] or shape[0] not in (None, len(found)) or not np.isfinite(found).all():
        raise InputRefused(f"{name} of shape {found.shape} is not valid", expected=expected)
    found.flags.writeable = False
    return found


def _place(axis: str) -> int:
    if axis not in SPATIAL_AXES:
        raise InputRefused(f"axis {axis!r} is not valid", expected="x, y or z")
    return SPATIAL_AXES.index(axis)
