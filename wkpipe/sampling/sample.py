"""Sample one box of a coarser mag from a finer one: borders, halo and kernel together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from wkpipe.errors import InputRefused
from wkpipe.sampling.borders import Read, read_reflected
from wkpipe.sampling.interpolation import halo, interpolate_block, interpolation_bytes
from wkpipe.sampling.interpolation_mode import InterpolationMode
from wkpipe.sampling.kernels import kernel_bytes, reduce_block
from wkpipe.sampling.scratch import Voxels

_SMALL_THINGS = 64 << 10
"""Indices, views and Python objects."""
_POINT_MODES = (InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)


def sample_box(
    read: Read,
    target_start: Sequence[int],
    target_shape: Sequence[int],
    factors: Sequence[int],
    source_bounds: tuple[Sequence[int], Sequence[int]],
    mode: InterpolationMode,
) -> Voxels:
    """Compute one box of a coarser mag; the voxels do not depend on how the mag is cut into boxes.

    Args:
        read: read(start_xyz, shape_xyz) returns source voxels (..., x, y, z); called once, inside `source_bounds` only.
        target_start: the box's first corner (x, y, z) in target voxels.
        target_shape: its size in target voxels, at least 1 per axis.
        factors: source voxels per target voxel along x, y, z; powers of two.
        source_bounds: first and past-the-last corner (x, y, z) of the trusted box in source voxels; voxels outside are
            its mirror image, see `borders`.
        mode: the interpolation mode.

    Returns:
        An array (..., x, y, z) of the dtype that `read` returned, Fortran-contiguous.

    Raises:
        InputRefused: a box is empty, or the factors or the dtype are not supported.
    """
    mode = InterpolationMode(mode)
    if any(size < 1 for size in target_shape):
        raise InputRefused(f"there is nothing to sample: a box of {tuple(target_shape)} target voxels")
    before, after = halo(mode, factors)
    start = [t * f - b for t, f, b in zip(target_start, factors, before, strict=True)]
    shape = [n * f + b + a for n, f, b, a in zip(target_shape, factors, before, after, strict=True)]
    block = read_reflected(read, start, shape, source_bounds)
    if mode in _POINT_MODES:
        return interpolate_block(block, factors, mode)
    return reduce_block(block, factors, mode)


def working_bytes(mode: InterpolationMode, factors: Sequence[int], target_voxels: int, dtype: DTypeLike) -> int:
    """Return an upper estimate of the memory of one `sample_box` call at its peak.

    It counts the source voxels that `read` returns, their reflected copy (only at the layer's border), the result, and
    the temporary arrays of the kernel, part of which the thread keeps for its next call.

    Args:
        mode: the interpolation mode.
        factors: source voxels per target voxel along x, y, z.
        target_voxels: size of the box in target voxels, leading axes (channels, time) included. With a halo, the box is
            taken to be a cube.
        dtype: of one voxel.
    """
    mode = InterpolationMode(mode)
    kind: np.dtype[Any] = np.dtype(dtype)
    edge = max(round(math.cbrt(target_voxels)), 1)
    before, after = halo(mode, factors)
    growth = math.prod((edge * f + b + a) / (edge * f) for f, b, a in zip(factors, before, after, strict=True))
    source: int = math.ceil(target_voxels * math.prod(int(f) for f in factors) * growth) * kind.itemsize
    if mode is InterpolationMode.NEAREST:
        temporary = 0
    elif mode in _POINT_MODES:
        temporary = interpolation_bytes(mode, factors, kind)
    else:
        temporary = kernel_bytes(mode, factors, source, kind)
    peak = max(2 * source, source + target_voxels * kind.itemsize + temporary)
    return peak + peak // 64 + _SMALL_THINGS
