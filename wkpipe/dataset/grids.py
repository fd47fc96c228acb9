"""Grids of chunks: how a box is cut for parallel work, and which boxes of two views belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wkpipe.dataset.errors import WrongShape
from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import SPATIAL_AXES, Mag, NDBoundingBox, Vec3Int
from wkpipe.geometry.vec_int import integers
from wkpipe.stored.axes import spatial

Shape = Iterable[int] | np.ndarray
"""Values along x, y, z as users give them."""


def unit_in_mag1(spec: ArraySpec, mag: Mag) -> Vec3Int:
    """Return the size of what is written at once, in mag-1 voxels: a storage shard, or a block of many small files."""
    return spatial(spec, spec.unit_shape) * mag.to_vec3_int()


def checked_chunk_shape(name: str, shape: Shape, spec: ArraySpec, mag: Mag) -> Vec3Int:
    """Return a chunk shape in mag-1 voxels that consists of whole storage shards, so that no two calls write into one.

    Raises:
        WrongShape: it cuts storage shards, or is not three positive integers.
    """
    shard = spatial(spec, spec.shard_shape) * mag.to_vec3_int()
    found = positive_shape(name, shape, 3)
    if any(value % edge for value, edge in zip(found, shard, strict=True)):
        raise WrongShape(
            f"{name} {','.join(map(str, found))} cuts storage shards of mag {mag}",
            expected=f"a multiple of {','.join(map(str, shard))} (x, y, z in mag-1 voxels)",
        )
    return Vec3Int(found)


def positive_shape(name: str, shape: Shape, *lengths: int) -> tuple[int, ...]:
    """Return a shape as integers.

    Raises:
        WrongShape: it has another number of values, or not only positive integers.
    """
    found = integers(shape)
    if found is None or len(found) not in lengths or min(found) < 1:
        wanted = " or ".join(map(str, sorted(set(lengths))))
        raise WrongShape(f"{name} {shape!r} is not valid", expected=f"{wanted} positive integers in mag-1 voxels")
    return tuple(found)


def check_mag_divides(name: str, shape: Sequence[int], axes: Sequence[str], mag: Mag) -> None:
    """Refuse a shape that no box in voxels of the mag has.

    Raises:
        WrongShape: a value is not a multiple of the mag.
    """
    factors = dict(zip(SPATIAL_AXES, mag, strict=True))
    for axis, value in zip(axes, shape, strict=True):
        if value % factors.get(axis, 1):
            raise WrongShape(f"{name} {','.join(map(str, shape))} is not a multiple of mag {mag} along {axis}")


def paired_boxes(
    source: NDBoundingBox, target: NDBoundingBox, shapes: tuple[Vec3Int, Vec3Int], mags: tuple[Mag, Mag]
) -> list[tuple[NDBoundingBox, NDBoundingBox]]:
    """Cut the target along multiples of its chunk shape, and return each part with the part of the source in the same place.

    Shapes, boxes and the order of parts are those of source, target. Boxes are in their normal form, in mag-1 voxels. Along x, y, z
    the places relative to the first corners count, scaled by the ratio of the chunk shapes. Along c both boxes stay whole.

    Raises:
        WrongShape: the boxes do not have the ratio of the chunk shapes, or other axes.
    """
    _check_ratio(source, target, shapes, mags)
    pairs = []
    for part in target.chunk(shapes[1], shapes[1]):
        first, size = [], []
        for axis in source.axes:
            start, end = source.bounds(axis)
            if axis != "c":
                i = SPATIAL_AXES.index(axis) if axis in SPATIAL_AXES else -1
                many, one = (shapes[0][i], shapes[1][i]) if i >= 0 else (1, 1)
                low, high = (value - target.bounds(axis)[0] for value in part.bounds(axis))
                start, end = start + low * many // one, min(end, start + -(-high * many // one))
            first.append(start)
            size.append(end - start)
        pairs.append((NDBoundingBox(first, size, source.axes), part))
    return pairs


def _check_ratio(source: NDBoundingBox, target: NDBoundingBox, shapes: tuple[Vec3Int, Vec3Int], mags: tuple[Mag, Mag]) -> None:
    if ({*source.axes} ^ {*target.axes}) - {"c"}:
        raise WrongShape(f"the views have the axes {','.join(source.axes)} and {','.join(target.axes)}")
    for axis in target.axes:
        many, one, mag = 1, 1, 1
        if axis == "c":
            continue
        if axis in SPATIAL_AXES:
            i = SPATIAL_AXES.index(axis)
            many, one, mag = shapes[0][i], shapes[1][i], max(tuple(mags[0])[i], tuple(mags[1])[i])
        if abs(source.size_of(axis) * one - target.size_of(axis) * many) >= mag * max(many, one):
            raise WrongShape(
                f"the views have the sizes {source.size_of(axis)} and {target.size_of(axis)} along {axis}",
                expected=f"the ratio of the chunk shapes, {many} to {one}",
            )
