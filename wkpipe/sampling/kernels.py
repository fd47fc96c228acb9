"""Kernels: reduce whole arrays by integer factors, with the same voxels as the reference (version 4.3.3).

The work is cut into pieces that fit a core's second-level cache together with their temporary arrays. The result
does not depend on the cut.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wkpipe.errors import InputRefused
from wkpipe.sampling.interpolation_mode import InterpolationMode
from wkpipe.sampling.median import extreme_bytes, extreme_piece, median_bytes, median_piece
from wkpipe.sampling.mode import mode_bytes, mode_piece
from wkpipe.sampling.scratch import Buffers, Voxels, thread_scratch

PIECE_BYTES = 1 << 20
"""Source bytes of one piece. Measured: in smaller ones the calls dominate, larger ones leave the cache."""
_MODE_PIECE_VOXELS = 1 << 19
"""The same for mode, whose temporary arrays are mostly one flag a voxel; half of it for blocks of four voxels."""

_COMPARED_BYTES = 1 << 18
"""Source bytes that are compared at once to find out if a block is constant."""

_MODES = (InterpolationMode.MEDIAN, InterpolationMode.MODE, InterpolationMode.MAX, InterpolationMode.MIN)


def reduce_block(block: Voxels, factors: Sequence[int], mode: InterpolationMode) -> Voxels:
    """Reduce every fx·fy·fz voxels of `block` to one.

    Args:
        block: axes (..., x, y, z); spatial sizes are multiples of the factors. Leading axes (c, t, …) are independent
            of each other. Any memory layout serves; Fortran-contiguous without leading axes longer than 1 is fastest.
        factors: (fx, fy, fz), powers of two.
        mode: median, mode, max or min.

    Returns:
        An array (..., x / fx, y / fy, z / fz) of the same dtype, Fortran-contiguous, never a view of `block`.

    Raises:
        InputRefused: the mode is another one, factors are not powers of two, sizes are not multiples of them, or the
            dtype is not an integer of 8 to 64 bits, float32 or float64.
    """
    mode = InterpolationMode(mode)
    if mode not in _MODES:
        raise InputRefused(f"interpolation {mode} does not reduce whole blocks", expected=f"one of: {', '.join(_MODES)}")
    fx, fy, fz = checked_factors(block, factors, (0, 0, 0))
    n = fx * fy * fz
    shape = (*block.shape[:-3], *(size // factor for size, factor in zip(block.shape[-3:], (fx, fy, fz), strict=True)))
    out: Voxels = np.empty(shape, block.dtype.newbyteorder("="), order="F")
    if n == 1:
        np.copyto(out, block)
        return out
    if not out.size:
        return out
    scratch = thread_scratch()
    with np.errstate(all="ignore"):
        for lead in np.ndindex(*shape[:-3]):
            _reduce_one(block[lead], (fx, fy, fz), mode, out[lead], scratch)
    return out


def checked_factors(block: Voxels, factors: Sequence[int], margins: Sequence[int]) -> tuple[int, int, int]:
    """Return the factors as integers (fx, fy, fz), for a block that has `margins` (x, y, z) more voxels than its factors tile.

    Raises:
        InputRefused: see `reduce_block`.
    """
    if len(factors) != 3 or any(f < 1 or int(f) & (int(f) - 1) for f in factors):
        raise InputRefused(f"factors {tuple(factors)} are not valid", expected="three powers of two")
    inner = [size - margin for size, margin in zip(block.shape[-3:], margins, strict=False)]
    if len(inner) < 3 or any(size < 0 or size % f for size, f in zip(inner, factors, strict=True)):
        more = "" if not any(margins) else f" and {tuple(margins)} more"
        raise InputRefused(
            f"a block of shape {block.shape} cannot be reduced by {tuple(factors)}", expected=f"multiples of the factors{more}"
        )
    if not (block.dtype.kind in "ui" or (block.dtype.kind == "f" and block.dtype.itemsize in (4, 8))):
        raise InputRefused(f"voxels of type {block.dtype} cannot be sampled", expected="integers of 8 to 64 bits, float32 or float64")
    return int(factors[0]), int(factors[1]), int(factors[2])


def _reduce_one(block: Voxels, factors: tuple[int, int, int], mode: InterpolationMode, out: Voxels, scratch: Buffers) -> None:
    """Reduce one array (x, y, z) into `out`, of any memory layout."""
    constant = constant_value(block, scratch)
    if constant is not None:
        # adding 0 turns -0.0 into 0.0, as all modes that compute a value return it
        out[...] = constant if mode is InterpolationMode.MODE else constant + block.dtype.type(0)
        return
    fzyx = (factors[2], factors[1], factors[0])
    lines, target = block.T, out.T
    piece_bytes = _piece_bytes(mode, math.prod(factors), block.dtype)
    is_direct = lines.strides[2] == lines.itemsize and lines.dtype.isnative and lines.flags.aligned
    if mode is InterpolationMode.MODE:  # needs pieces without gaps: no lines that are apart or longer than a piece
        is_direct = is_direct and lines.flags.c_contiguous and lines[: fzyx[0], : fzyx[1]].nbytes <= piece_bytes
    # a piece that must be copied first is smaller, so that it takes no more memory in all
    piece_bytes = piece_bytes if is_direct else piece_bytes // 2
    for source_box, target_box in _pieces(lines.shape, fzyx, block.dtype.itemsize, piece_bytes):
        source = lines[source_box]
        if not is_direct:
            buffer = scratch.array("source", source.shape, out.dtype)
            np.copyto(buffer, source)
            source = buffer
        piece = target[target_box]
        result = piece if piece.flags.c_contiguous else scratch.array("result", piece.shape, out.dtype)
        if mode is InterpolationMode.MEDIAN:
            median_piece(source, fzyx, result, scratch)
        elif mode is InterpolationMode.MODE:
            mode_piece(source, fzyx, result, scratch)
        else:
            extreme_piece(source, fzyx, np.maximum if mode is InterpolationMode.MAX else np.minimum, result, scratch)
        if result is not piece:
            np.copyto(piece, result)


def constant_value(block: Voxels, scratch: Buffers) -> Any | None:
    """Return the value of all voxels of `block` (x, y, z), or None if they differ or are NaN.

    A few voxels spread over the block nearly always show that it is not constant, so the full comparison is rare.
    """
    first = block[0, 0, 0]
    if block[-1, -1, -1] != first:
        return None
    probe = block[tuple(slice(size // 8, None, max(size // 4, 1)) for size in block.shape)]
    if (probe != first).any():
        return None
    lines = block.T
    for source_box, _ in _pieces(lines.shape, (1, 1, 1), block.dtype.itemsize, _COMPARED_BYTES):
        piece = lines[source_box]
        differs = scratch.array("constant", piece.shape, np.dtype(np.bool_))
        if np.not_equal(piece, first, out=differs).any():
            return None
    if block.dtype.kind == "f" and first == 0 and len({bool(sign) for sign in np.unique(np.signbit(block))}) > 1:
        return None
    return first


def _pieces(
    shape: Sequence[int], factors: tuple[int, int, int], itemsize: int, piece_bytes: int
) -> Iterator[tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]]:
    """Cut (z, y, x) into boxes of whole blocks and about `piece_bytes`; yield each in source and in target voxels.

    z is cut first, because slabs of Fortran-ordered voxels are contiguous in memory. x is cut only if a single line of
    blocks is longer than a piece.
    """
    budget = max(piece_bytes // itemsize, math.prod(factors))
    steps = [0, 0, 0]
    rest = budget
    for axis in (2, 1, 0):
        blocks = max(rest // math.prod(factors[:axis]) // factors[axis], 1)
        steps[axis] = min(blocks * factors[axis], shape[axis])
        rest = max(rest // steps[axis], 1)
    ranges = [range(0, size, step) for size, step in zip(shape, steps, strict=True)]
    for corner in itertools.product(*ranges):
        ends = [min(c + step, size) for c, step, size in zip(corner, steps, shape, strict=True)]
        source = [slice(c, e) for c, e in zip(corner, ends, strict=True)]
        target = [slice(c // f, e // f) for c, e, f in zip(corner, ends, factors, strict=True)]
        yield (source[0], source[1], source[2]), (target[0], target[1], target[2])


def _piece_bytes(mode: InterpolationMode, n: int, dtype: np.dtype[Any]) -> int:
    if mode is not InterpolationMode.MODE:
        return PIECE_BYTES
    return min(2 * PIECE_BYTES, dtype.itemsize * (_MODE_PIECE_VOXELS // 2 if n == 4 else _MODE_PIECE_VOXELS))


def kernel_bytes(mode: InterpolationMode, factors: Sequence[int], source_bytes: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `reduce_block` besides its argument and result."""
    n = math.prod(int(f) for f in factors)
    if n == 1:
        return 0
    piece = min(source_bytes, max(_piece_bytes(mode, n, dtype), n * dtype.itemsize))
    compared = min(source_bytes, _COMPARED_BYTES) // dtype.itemsize
    if mode is InterpolationMode.MODE:
        return compared + mode_bytes(factors, piece, dtype)
    return compared + (median_bytes(factors, piece, dtype) if mode is InterpolationMode.MEDIAN else extreme_bytes(factors, piece, dtype))
