"""Convert between one value per array axis and x, y, z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wkpipe.formats.base import ArraySpec, Position, Voxels
from wkpipe.geometry import SPATIAL_AXES, Vec3Int


def spatial(spec: ArraySpec, values: Sequence[int]) -> Vec3Int:
    """Return the values of x, y, z from one value per array axis."""
    return Vec3Int([values[spec.axes.index(axis)] for axis in SPATIAL_AXES])


def with_spatial(spec: ArraySpec, values: Sequence[int], xyz: Sequence[int]) -> Position:
    """Return one value per array axis with other values for x, y, z."""
    replaced = dict(zip(SPATIAL_AXES, xyz, strict=True))
    return tuple(replaced.get(axis, int(value)) for axis, value in zip(spec.axes, values, strict=True))


def xyz_last(spec: ArraySpec, voxels: Voxels) -> Voxels:
    """Return a view with x, y, z as the last three axes, the others before them in their order."""
    order = [i for i, axis in enumerate(spec.axes) if axis not in SPATIAL_AXES] + [spec.axes.index(axis) for axis in SPATIAL_AXES]
    return voxels if order == list(range(len(order))) else np.transpose(voxels, order)


def xyz_restored(spec: ArraySpec, voxels: Voxels) -> Voxels:
    """Undo `xyz_last`."""
    order = [i for i, axis in enumerate(spec.axes) if axis not in SPATIAL_AXES] + [spec.axes.index(axis) for axis in SPATIAL_AXES]
    return voxels if order == list(range(len(order))) else np.transpose(voxels, np.argsort(order))


def in_axes(voxels: Voxels, given: Sequence[str], wanted: Sequence[str]) -> Voxels:
    """Return a view of voxels with the axes `given` that has the axes `wanted`; new axes have the length 1."""
    ordered = voxels.transpose([given.index(axis) for axis in wanted if axis in given])
    return ordered[tuple(slice(None) if axis in given else np.newaxis for axis in wanted)]
