"""Tell a coarse mag that lost all its files from one that came out empty, as sparse labels do under mode."""

from __future__ import annotations

import itertools
import math

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import StoredArray
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.survey import units_in_box
from wkpipe.stored.axes import spatial, with_spatial, xyz_last
from wkpipe.stored.dataset import box_in_mag

CUBE_EDGE = 128
MAX_CUBE_BYTES = 1 << 28


def shows_loss(finer: StoredArray, layer: LayerProperties, finer_mag: Mag, mag: Mag) -> bool:
    """Tell whether the finer mag has a block without a single fill voxel where one voxel of `mag` is made from it.

    No way of downsampling makes nothing out of such a block. Cubes that can not be read show nothing.
    """
    factors = finer_mag.factors_to(mag)
    edge = Vec3Int([max(CUBE_EDGE, factor) for factor in factors])
    spec = finer.spec
    others = math.prod(size for axis, size in zip(spec.axes, spec.unit_shape, strict=True) if axis not in "xyz")
    if edge.prod() * others * spec.dtype.itemsize > MAX_CUBE_BYTES:
        return False
    box = box_in_mag(layer.bounding_box(), finer_mag)
    shape = spatial(spec, spec.unit_shape)
    stored = set(finer.stored_units())
    for unit in units_in_box(layer, finer_mag, spec):
        if unit not in stored:
            continue
        corner = [u * n for u, n in zip(unit, spec.unit_shape, strict=True)]
        first = (spatial(spec, unit) * shape).pairmax(box.topleft_xyz)
        end = (spatial(spec, unit) * shape + shape).pairmin(box.bottomright_xyz)
        for cell in itertools.product(*(range(a // e, -(-b // e)) for a, b, e in zip(first, end, edge, strict=True))):
            if _has_full_block(finer, with_spatial(spec, corner, Vec3Int(cell) * edge), edge, factors):
                return True
    return False


def _has_full_block(finer: StoredArray, corner: tuple[int, ...], edge: Vec3Int, factors: Vec3Int) -> bool:
    spec = finer.spec
    try:
        voxels = finer.read(corner, with_spatial(spec, spec.unit_shape, edge))
    except WkpipeError:  # reported where that mag itself is looked at
        return False
    filled = np.not_equal(xyz_last(spec, voxels), spec.fill_value)
    x, y, z = (e // f for e, f in zip(edge, factors, strict=True))
    blocks = filled.reshape(*filled.shape[:-3], x, factors.x, y, factors.y, z, factors.z)
    return bool(blocks.all(axis=(-5, -3, -1)).any())
