"""Interpolation at a block's corner or centre: nearest, bilinear, bicubic.

A target voxel with factors (fx, fy, fz) covers a block of fx·fy·fz source voxels. It is computed only from voxels in or
next to that block, so the result does not depend on how the work is cut:

* **nearest**: the voxel at the block's lower corner (the one that shares the block's first x, y, z).
* **bilinear**: linear interpolation at the block's centre. An axis of factor f >= 2 has the centre half way between its
  voxels f/2 - 1 and f/2 and weighs them (1, 1) / 2; an axis of factor 1 takes the voxel itself. With k axes of factor
  >= 2 this is the mean of the 2^k voxels around the centre.
* **bicubic**: cubic convolution with a = -1/2 (R. Keys, Cubic convolution interpolation for digital image processing,
  1981) at the block's centre. Half way between two voxels its kernel gives (-1, 9, 9, -1) / 16 on the four voxels
  around: f/2 - 2 … f/2 + 1 of the block. With f = 2 the outer ones belong to the neighbouring blocks: a halo of one.

Integers of every width are summed exactly over all axes, rounded once, half away from zero, and clipped to the range of
the type. Floats are computed in float64, z first, then y, then x, and cast back. NaN spreads (infinity minus infinity
is NaN too). Equal finite voxels keep their value, except that -0.0 becomes 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from wkpipe.errors import InputRefused
from wkpipe.sampling.interpolation_mode import InterpolationMode
from wkpipe.sampling.kernels import checked_factors, constant_value
from wkpipe.sampling.median import canonical_floats
from wkpipe.sampling.scratch import Voxels, thread_scratch

PIECE_ELEMENTS = 1 << 17
"""Intermediate values of one piece."""

_HALF_BITS = 32
_LOW = (1 << _HALF_BITS) - 1

Taps: TypeAlias = tuple[tuple[int, int], ...]
"""(position in the block with its halo, weight) of each source voxel that counts."""


def halo(mode: InterpolationMode, factors: Sequence[int]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return how many source voxels are needed before and after a block along x, y, z."""
    before = tuple(1 if mode is InterpolationMode.BICUBIC and f == 2 else 0 for f in factors)
    return (before[0], before[1], before[2]), (before[0], before[1], before[2])


def interpolate_block(block: Voxels, factors: Sequence[int], mode: InterpolationMode) -> Voxels:
    """Sample `block` at the corners (nearest) or centres (bilinear, bicubic) of its blocks of factors.

    Args:
        block: axes (..., x, y, z); spatial sizes are multiples of the factors, plus the `halo` on both sides. Leading
            axes are independent of each other.
        factors: (fx, fy, fz), powers of two.
        mode: nearest, bilinear or bicubic.

    Returns:
        An array (..., X, Y, Z) of the same dtype, Fortran-contiguous, never a view of `block`.

    Raises:
        InputRefused: the mode is another one, sizes do not fit, or the dtype is not supported.
    """
    mode = InterpolationMode(mode)
    if mode not in (InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
        raise InputRefused(f"interpolation {mode} does not sample at a point", expected="nearest, bilinear or bicubic")
    margins = [2 * before for before in halo(mode, factors)[0]]
    fx, fy, fz = checked_factors(block, factors, margins)
    spatial = [(size - margin) // f for size, margin, f in zip(block.shape[-3:], margins, (fx, fy, fz), strict=True)]
    shape = (*block.shape[:-3], *spatial)
    out: Voxels = np.empty(shape, block.dtype.newbyteorder("="), order="F")
    if mode is InterpolationMode.NEAREST or fx * fy * fz == 1:
        np.copyto(out, block[..., ::fx, ::fy, ::fz])
        return out
    if not out.size:
        return out
    with np.errstate(all="ignore"):
        for lead in np.ndindex(*shape[:-3]):
            constant = constant_value(block[lead], thread_scratch())
            if constant is not None and np.isfinite(constant):
                out[lead] = constant + block.dtype.type(0)
            else:
                _sample_one(block[lead].T, (fz, fy, fx), mode, out[lead].T)
    return out


def _sample_one(source: Voxels, factors: tuple[int, int, int], mode: InterpolationMode, out: Voxels) -> None:
    """Sample one array (z, y, x) into `out`, some lines at a time, so that intermediate values stay small."""
    fz, fy, _ = factors
    taps = [_taps(mode, f) for f in factors]
    shift = sum(_shift(mode, f) for f in factors)
    margin_z, margin_y = (2 if mode is InterpolationMode.BICUBIC and f == 2 else 0 for f in (fz, fy))
    step_y = max(min(PIECE_ELEMENTS // (source.shape[2] * fz * fy), out.shape[1]), 1)
    step_z = max(PIECE_ELEMENTS // (source.shape[2] * fz * fy * step_y), 1)
    for z in range(0, out.shape[0], step_z):
        for y in range(0, out.shape[1], step_y):
            target = out[z : z + step_z, y : y + step_y]
            ends = (z + target.shape[0]) * fz + margin_z, (y + target.shape[1]) * fy + margin_y
            piece = source[z * fz : ends[0], y * fy : ends[1]]
            if piece.dtype.kind == "f":
                np.copyto(target, _weighted_floats(piece.astype(np.float64), taps, factors, target.shape), casting="unsafe")
                canonical_floats(target)
            elif piece.dtype.itemsize == 8:
                _sample_wide(piece, taps, factors, shift, target)
            else:
                accumulator = np.dtype(np.int32 if piece.dtype.itemsize <= 2 else np.int64)
                total = _weighted(piece.astype(accumulator), taps, factors, target.shape)
                total += (1 << shift >> 1) - (total < 0).astype(accumulator)
                total >>= shift
                info = np.iinfo(piece.dtype)
                np.clip(total, info.min, info.max, out=total)
                np.copyto(target, total, casting="unsafe")


def _taps(mode: InterpolationMode, factor: int) -> Taps:
    if factor == 1:
        return ((0, 1),)
    middle = factor // 2
    if mode is InterpolationMode.BILINEAR:
        return ((middle - 1, 1), (middle, 1))
    first = middle - 2 + (1 if factor == 2 else 0)
    return ((first, -1), (first + 1, 9), (first + 2, 9), (first + 3, -1))


def _shift(mode: InterpolationMode, factor: int) -> int:
    """Return the binary logarithm of the weights' sum."""
    return 0 if factor == 1 else 1 if mode is InterpolationMode.BILINEAR else 4


def _weighted(piece: Voxels, taps: Sequence[Taps], factors: tuple[int, int, int], shape: tuple[int, ...]) -> Voxels:
    """Return the weighted sum of integers over the taps of all three axes, z first.

    The greatest sum of absolute weights is 20³ = 8000 < 2^13, so 16-bit voxels fit into int32 and 32-bit ones into int64.
    """
    current = piece
    for axis in range(3):
        if len(taps[axis]) == 1:
            continue
        total: Voxels | None = None
        for position, weight in taps[axis]:
            factor: Any = current.dtype.type(weight)
            term = _tap(current, axis, position, factors, shape) * factor
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None
        current = total
    return current


def _weighted_floats(piece: Voxels, taps: Sequence[Taps], factors: tuple[int, int, int], shape: tuple[int, ...]) -> Voxels:
    """Return the weighted mean of float64 over the taps of all three axes, z first.

    With m the mean of the inner two voxels and o that of the outer two, the cubic weights give m + (m - o) / 8, which
    keeps equal voxels to the last bit. Voxels are halved before the sum, so that it does not overflow.
    """
    current = piece
    for axis in range(3):
        if len(taps[axis]) == 1:
            continue
        voxels = [_tap(current, axis, position, factors, shape) for position, _ in taps[axis]]
        mean = voxels[len(voxels) // 2 - 1] * 0.5
        mean += voxels[len(voxels) // 2] * 0.5
        if len(voxels) == 4:
            outer = voxels[0] * 0.5
            outer += voxels[3] * 0.5
            np.subtract(mean, outer, out=outer)
            outer *= 0.125
            mean += outer
        current = mean
    return current


def _tap(array: Voxels, axis: int, position: int, factors: tuple[int, int, int], shape: tuple[int, ...]) -> Voxels:
    """Return a view of the voxels at one position of every block along an axis."""
    index = [slice(None)] * 3
    index[axis] = slice(position, position + factors[axis] * (shape[axis] - 1) + 1, factors[axis])
    return array[tuple(index)]


def _sample_wide(piece: Voxels, taps: Sequence[Taps], factors: tuple[int, int, int], shift: int, target: Voxels) -> None:
    """Sample 64-bit integers exactly: sum the upper and lower 32 bits apart; the value is high·2^32 + low."""
    high = _weighted((piece >> piece.dtype.type(_HALF_BITS)).astype(np.int64), taps, factors, target.shape)
    low = _weighted((piece & piece.dtype.type(_LOW)).astype(np.int64), taps, factors, target.shape)
    high += low >> _HALF_BITS
    low &= _LOW
    # floor((total + half - (1 if total < 0)) / 2^shift) rounds half away from zero; the sign of the total is that of high
    low += (1 << shift >> 1) - (high < 0).astype(np.int64)
    high += low >> _HALF_BITS
    low &= _LOW
    low = ((high & ((1 << shift) - 1)) << _HALF_BITS | low) >> shift
    high >>= shift
    info = np.iinfo(piece.dtype)
    least, greatest = info.min >> _HALF_BITS, info.max >> _HALF_BITS
    low[high > greatest] = _LOW
    low[high < least] = 0
    np.clip(high, least, greatest, out=high)
    # the upper half's bits are the same in either type
    np.copyto(target.view(np.int64), high << _HALF_BITS | low)


def interpolation_bytes(mode: InterpolationMode, factors: Sequence[int], dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `interpolate_block` besides its argument and result."""
    wide = 4 if dtype.kind in "ui" and dtype.itemsize <= 2 else 8
    # a piece in the wide type; at the first axis the sum, the next term, and the rest of the sum's halves
    eighths = 26 if mode is InterpolationMode.BICUBIC else 21
    return eighths * wide * max(PIECE_ELEMENTS, math.prod(int(f) for f in factors)) // 8
