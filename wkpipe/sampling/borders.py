"""Borders: voxels outside a layer are its mirror image.

Only the voxels of the trusted box (the layer's box, grown to whole voxels of the source mag) count as data, whatever
the files hold around it. Positions outside are reflected at the box's faces, and the voxel at the face is repeated
(… c b a | a b c …): period 2·length, the ``symmetric`` padding of numpy. The reflection is that of the whole layer, so
it does not depend on how the work is cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from wkpipe.errors import InputRefused
from wkpipe.sampling.scratch import Voxels

Read: TypeAlias = Callable[[tuple[int, int, int], tuple[int, int, int]], Voxels]
"""read(start, shape) -> voxels (..., x, y, z) of a box given in source voxels."""

Run: TypeAlias = tuple[int, int, int]
"""(first position, length, step): step +1 runs upwards, -1 downwards."""


def read_reflected(read: Read, start: Sequence[int], shape: Sequence[int], bounds: tuple[Sequence[int], Sequence[int]]) -> Voxels:
    """Read a box of source voxels (x, y, z) that may reach beyond the trusted box.

    Args:
        read: called exactly once, for a box inside `bounds`.
        start: the box's first corner.
        shape: its size, at least 1 per axis.
        bounds: first and past-the-last corner of the trusted box.

    Returns:
        The array that `read` returned if the box is inside, else a Fortran-contiguous copy (..., x, y, z).

    Raises:
        InputRefused: the box or the trusted box is empty.
    """
    first, end = bounds
    if any(f >= e for f, e in zip(first, end, strict=True)) or any(size < 1 for size in shape):
        raise InputRefused(f"there is nothing to sample: box of {tuple(shape)} voxels in a layer from {tuple(first)} to {tuple(end)}")
    if all(f <= s and s + n <= e for s, n, f, e in zip(start, shape, first, end, strict=True)):
        return read(_triple(start), _triple(shape))
    runs = [reflected_runs(s, n, f, e) for s, n, f, e in zip(start, shape, first, end, strict=True)]
    low = [min(min(a, a + (n - 1) * step) for a, n, step in axis) for axis in runs]
    high = [max(max(a, a + (n - 1) * step) for a, n, step in axis) + 1 for axis in runs]
    inside = read(_triple(low), _triple([h - lo for h, lo in zip(high, low, strict=True)]))
    out: Voxels = np.empty((*inside.shape[:-3], *shape), inside.dtype, order="F")
    for parts in itertools.product(*(_copies(axis, lo) for axis, lo in zip(runs, low, strict=True))):
        (to_x, of_x), (to_y, of_y), (to_z, of_z) = parts
        out[..., to_x, to_y, to_z] = inside[..., of_x, of_y, of_z]
    return out


def reflected_runs(start: int, length: int, first: int, end: int) -> list[Run]:
    """Return the runs that positions start … start + length - 1 become when reflected into first … end - 1."""
    period = 2 * (end - first)
    runs = []
    position, stop = start, start + length
    while position < stop:
        phase = (position - first) % period
        if phase < end - first:
            count = min(end - first - phase, stop - position)
            runs.append((first + phase, count, 1))
        else:
            count = min(period - phase, stop - position)
            runs.append((first + period - 1 - phase, count, -1))
        position += count
    return runs


def _copies(runs: Sequence[Run], low: int) -> list[tuple[slice, slice]]:
    """Turn the runs of an axis into pairs of slices: of the result, and of the voxels that were read from `low` on."""
    copies, position = [], 0
    for first, count, step in runs:
        begin = first - low
        stop = begin + count * step
        copies.append((slice(position, position + count), slice(begin, stop if stop >= 0 else None, step)))
        position += count
    return copies


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = values
    return int(x), int(y), int(z)
