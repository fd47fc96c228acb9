"""Category: a layer has images (color) or ids (segmentation), recognised from its data, or else from its name.

Ids repeat: a small box has few distinct values. And ids are local: a distant box has other ids, while the gray values of an image
are the same everywhere. So boxes of about 4096 voxels are taken at fixed places, spread over three slabs of planes and their whole
area. The same input always gives the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wkpipe.images.layers import COLOR, DTYPES, SEGMENTATION
from wkpipe.images.source import SourceBox, Voxels
from wkpipe.images.stack import ImageStack

SLABS = 3
SLAB_PLANES = 8
BOX_VOXELS = 4096
GRID = 8
BOXES_PER_BAND = 2
BOXES_PER_SLAB = 7
LEAST_VOXELS = 1000
SEGMENTATION_SHARE, COLOR_SHARE = 1 / 300, 1 / 100
ONE_BOX_SHARE = 1 / 200
LOCAL_SHARE = 1 / 2
DENSE_SHARE = 1 / 8
DENSE_DTYPES, LEAST_DENSE_ID = ("uint32", "int32"), 1 << 16
"""32-bit integers that are larger than images have, and that occur in one box only, are ids even if these are small."""

NAME_MARKS = ("segmentation", "labels")


def recognise_category(stack: ImageStack) -> str:
    """Return the category of a stack: ``color`` or ``segmentation``.

    Several channels and floats are color; 64-bit integers are segmentation, because no color layer can have them. Otherwise the data
    decide: at most one distinct value per 300 voxels of a box means segmentation, at least one per 100 means color. In between, it is
    segmentation if most values occur in one box only (with a single box: at most one value per 200 voxels). With fewer than 1000
    voxels that are neither 0 nor the largest value of the dtype, the name decides: ``segmentation`` or ``labels`` in the last two
    parts of the first file's path.

    Raises:
        UnreadableInput: a sampled file cannot be decoded.
    """
    dtype = stack.dtype.name
    if dtype not in DTYPES[COLOR]:
        return SEGMENTATION
    if stack.sizes.c > 1 or dtype not in DTYPES[SEGMENTATION]:
        return COLOR
    distinct = voxels = boxes = 0
    everywhere: set[int] = set()
    for box in _boxes(stack):
        values = np.unique(box)
        distinct += len(values)
        voxels += box.size
        boxes += 1
        everywhere.update(values.tolist())
    if voxels < LEAST_VOXELS:
        return category_from_name(stack.files[0].path)
    share = distinct / voxels
    if boxes == 1:
        return COLOR if share > ONE_BOX_SHARE else SEGMENTATION
    is_local = len(everywhere) > LOCAL_SHARE * distinct
    if SEGMENTATION_SHARE < share < COLOR_SHARE:
        return SEGMENTATION if is_local else COLOR
    if COLOR_SHARE <= share <= DENSE_SHARE and is_local and dtype in DENSE_DTYPES and max(everywhere) > LEAST_DENSE_ID:
        return SEGMENTATION
    return COLOR if share >= COLOR_SHARE else SEGMENTATION


def category_from_name(path: Path) -> str:
    """Return the category that the last two parts of a path suggest; the parents above them say nothing about the images."""
    text = "/".join(path.parts[-2:]).lower()
    return SEGMENTATION if any(mark in text for mark in NAME_MARKS) else COLOR


def _boxes(stack: ImageStack) -> Iterator[Voxels]:
    """Yield the usable voxels (not 0, not the dtype's largest value) of boxes at fixed places; boxes without any are left out."""
    sizes, largest = stack.sizes, np.iinfo(stack.dtype).max
    planes = min(SLAB_PLANES, sizes.z)
    edge = math.isqrt(BOX_VOXELS // planes)
    rows, columns = min(edge, sizes.y), min(edge, sizes.x)
    t = sizes.t // 2
    for z0 in _spread(sizes.z, planes, SLABS):
        found = 0
        for boxes in _bands(stack, t, z0, planes, rows, columns):
            usable = [kept for box in boxes if (kept := box[(box != 0) & (box != largest)]).size]
            # The middle boxes of a band first, and few of each band, so that the boxes come from the whole slab.
            for kept in usable[:BOXES_PER_BAND]:
                found += 1
                yield kept
            if found >= BOXES_PER_SLAB:
                break


def _bands(stack: ImageStack, t: int, z0: int, planes: int, rows: int, columns: int) -> Iterator[list[Voxels]]:
    """Yield the boxes of each band of rows of a slab, axes (z, y, x), in a fixed order from the middle outwards.

    If a band costs whole planes, each plane is decoded once, one at a time, and all boxes are cut from it.
    """
    sizes = stack.sizes
    tops, lefts = _starts(sizes.y, rows), _starts(sizes.x, columns)
    if not stack.whole_planes:
        for top in tops:
            band = stack.read(SourceBox.of((t, 0, z0, top, 0), (t + 1, 1, z0 + planes, top + rows, sizes.x)))[0, 0]
            yield [band[:, :, left : left + columns] for left in lefts]
        return
    cut: list[list[list[Voxels]]] = [[[] for _ in lefts] for _ in tops]
    for z in range(z0, z0 + planes):
        plane = stack.read(SourceBox.of((t, 0, z, 0, 0), (t + 1, 1, z + 1, sizes.y, sizes.x)))[0, 0, 0]
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                cut[i][j].append(plane[top : top + rows, left : left + columns].copy())
    for band_boxes in cut:
        yield [np.stack(pieces) for pieces in band_boxes]


def _starts(size: int, length: int) -> list[int]:
    """Return the starts of up to `GRID` ranges of `length` within `size`, evenly spread, not overlapping, from the middle outwards."""
    places = _spread(size, length, GRID)
    return [places[i] for i in sorted(range(len(places)), key=lambda i: abs(2 * i + 1 - len(places)))]


def _spread(size: int, length: int, most: int) -> list[int]:
    count = max(1, min(most, size // length))
    return [(2 * i + 1) * size // (2 * count) - length // 2 for i in range(count)] if size > length else [0]
