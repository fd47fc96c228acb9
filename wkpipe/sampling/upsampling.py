"""Upsampling: every voxel of a coarser mag fills the block that it covers in a finer one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wkpipe.errors import InputRefused
from wkpipe.sampling.borders import Read
from wkpipe.sampling.scratch import Voxels


def upsample_box(read: Read, target_start: Sequence[int], target_shape: Sequence[int], factors: Sequence[int]) -> Voxels:
    """Compute one box of a finer mag by repeating the voxels of a coarser one.

    Args:
        read: read(start_xyz, shape_xyz) returns source (coarser) voxels (..., x, y, z); called once, for exactly the
            voxels that the box touches.
        target_start: the box's first corner (x, y, z) in target (finer) voxels; it need not be a multiple of the factors.
        target_shape: its size in target voxels, at least 1 per axis.
        factors: target voxels per source voxel along x, y, z.

    Returns:
        An array (..., x, y, z) of the dtype that `read` returned, Fortran-contiguous.

    Raises:
        InputRefused: the box is empty, or a factor is less than 1.
    """
    if any(size < 1 for size in target_shape) or any(f < 1 for f in factors):
        raise InputRefused(f"there is nothing to upsample: a box of {tuple(target_shape)} voxels by factors {tuple(factors)}")
    first = [int(t) // f for t, f in zip(target_start, factors, strict=True)]
    end = [-(-(t + n) // f) for t, n, f in zip(target_start, target_shape, factors, strict=True)]
    skipped = [int(t) - a * f for t, a, f in zip(target_start, first, factors, strict=True)]
    x, y, z = (int(e) - a for e, a in zip(end, first, strict=True))
    source = read((first[0], first[1], first[2]), (x, y, z))
    out: Voxels = np.empty((*source.shape[:-3], *target_shape), source.dtype, order="F")
    # one axis after the other, x first: its repeated lines are then copied whole
    lines = source.swapaxes(-1, -3)
    for axis, factor, skip, size in zip((-1, -2, -3), factors, skipped, target_shape, strict=True):
        if factor > 1:
            lines = np.repeat(lines, factor, axis=axis)
        index = [slice(None)] * lines.ndim
        index[axis] = slice(skip, skip + size)
        lines = lines[tuple(index)]
    np.copyto(out, lines.swapaxes(-1, -3))
    return out
