"""Distinguish a coarse mag that lost its files from one that rightly has none, as sparse labels under mode may."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import ArraySpec, StoredArray, Voxels
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.stored.axes import spatial, xyz_last
from wkpipe.stored.channels import Channels, Others, others_of, region_at
from wkpipe.stored.dataset import StoredDataset, box_in_mag

CUBE_EDGE = 128
MAX_CUBE_BYTES = 1 << 28


def finer_that_shows_loss(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> Mag | None:
    """Return the finer mag that proves that a registered mag without any file has lost its data; None if there is none.

    Only the coarsest finer mag that has data is checked. A mag that has files, or that cannot be opened, proves nothing.
    """
    try:
        if _has_files(dataset.open_mag(layer, layer.mag(mag)), layer, mag):
            return None
    except WkpipeError:
        return None
    for entry, array in finer_mags(dataset, layer, mag):
        if _has_files(array, layer, entry.mag):
            return entry.mag if shows_loss(array, layer, entry.mag, mag) else None
    return None


def _has_files(array: StoredArray, layer: LayerProperties, mag: Mag) -> bool:
    """Return True if there is a file for any of the layer's channels."""
    channels = Channels.of(layer, layer.mag(mag))
    return next(channels.those_of(array.spec, array.stored_units()), None) is not None


def finer_mags(dataset: StoredDataset, layer: LayerProperties, mag: Mag) -> Iterator[tuple[MagProperties, StoredArray]]:
    """Yield the layer's mags that `mag` may be made from and that can be opened, the coarsest first."""
    for entry in sorted(layer.mags, key=lambda entry: entry.mag.to_tuple(), reverse=True):
        if entry.mag != mag and all(a <= b for a, b in zip(entry.mag, mag, strict=True)):
            try:
                yield entry, dataset.open_mag(layer, entry)
            except WkpipeError:  # reported by the survey of that mag itself
                continue


def shows_loss(
    finer: StoredArray, layer: LayerProperties, finer_mag: Mag, mag: Mag, region: Box | None = None, within: Others | None = None
) -> bool:
    """Return True if the finer mag has a block without any fill voxel from which one voxel of `mag` is made.

    No interpolation mode turns such a block into a fill voxel. `region` (first, end in voxels of the finer mag) bounds the
    search; default: the layer's box. `within` bounds it on the array's other axes; default: the layer's channels, at all
    times. Cubes that cannot be read are skipped.
    """
    factors = finer_mag.factors_to(mag)
    edge = Vec3Int([max(CUBE_EDGE, factor) for factor in factors])
    spec = finer.spec
    others = math.prod(size for axis, size in zip(spec.axes, spec.unit_shape, strict=True) if axis not in "xyz")
    if edge.prod() * others * spec.dtype.itemsize > MAX_CUBE_BYTES:
        return False
    box = box_in_mag(layer.bounding_box(), finer_mag)
    low, high = box.topleft_xyz, box.bottomright_xyz
    if region is not None:
        low, high = low.pairmax(region[0]), high.pairmin(region[1])
    shape = spatial(spec, spec.unit_shape)
    channels = Channels.of(layer, layer.mag(finer_mag))
    for unit in sorted(channels.those_of(spec, finer.stored_units())):
        place = _common(others_of(spec, unit, channels, channels), within or {})
        if not all(size for _, size in place.values()):
            continue
        first = (spatial(spec, unit) * shape).pairmax(low)
        end = (spatial(spec, unit) * shape + shape).pairmin(high)
        for cell in itertools.product(*(range(a // e, -(-b // e)) for a, b, e in zip(first, end, edge, strict=True))):
            start = (Vec3Int(cell) * edge).pairmax(low // factors * factors)
            shape_here = (Vec3Int(cell) * edge + edge).pairmin(high) - start
            if shape_here.is_positive(strictly_positive=True) and _has_full_block(finer, place, start, shape_here, factors):
                return True
    return False


def _common(others: Others, within: Others) -> Others:
    """Return the intersection of two regions on the other axes; an axis that `within` lacks is not bounded."""
    found = {}
    for axis, (start, size) in others.items():
        low, count = within.get(axis, (start, size))
        first = max(start, low)
        found[axis] = first, max(0, min(start + size, low + count) - first)
    return found


def _has_full_block(finer: StoredArray, others: Others, start: Vec3Int, shape: Vec3Int, factors: Vec3Int) -> bool:
    spec = finer.spec
    blocks = shape // factors
    if not blocks.is_positive(strictly_positive=True):
        return False
    try:
        voxels = finer.read(*region_at(spec, others, start, blocks * factors))
    except WkpipeError:  # reported by the survey of that mag itself
        return False
    filled = _never_cancels_out(spec, xyz_last(spec, voxels))
    cut = filled.reshape(*filled.shape[:-3], blocks.x, factors.x, blocks.y, factors.y, blocks.z, factors.z)
    return bool(cut.all(axis=(-5, -3, -1)).any())


def _never_cancels_out(spec: ArraySpec, voxels: Voxels) -> Voxels:
    """Return where voxels are not fill; of signed ones only the positive, because a mean of both signs may be zero."""
    return np.greater(voxels, max(spec.fill_value, 0)) if spec.dtype.kind in "if" else np.not_equal(voxels, spec.fill_value)
