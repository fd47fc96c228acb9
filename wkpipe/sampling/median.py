"""Median, maximum and minimum of the blocks of one piece, by selection networks.

Pieces have the axes (z, y, x) with x contiguous: they are transposed views of Fortran-ordered voxels. Axes are
halved one after the other, z first (long runs of memory), x last. Every halving merges the sorted lists of two
neighbours; the last one selects the middle two elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.sampling.scratch import Buffers, Voxels, every_nth, split_in_two, unsigned
from wkpipe.sampling.selection_network import lower_middle, merge, upper_middle

LARGEST_NETWORK = 512
"""Larger blocks use `numpy.partition`, whose cost grows more slowly."""

_Z, _Y, _X = 0, 1, 2


def halvings(factors: Sequence[int]) -> list[int]:
    """Return the axes to halve, in order, for factors (fz, fy, fx) that are powers of two."""
    return [axis for axis in (_Z, _Y, _X) for _ in range(int(factors[axis]).bit_length() - 1)]


def median_piece(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Buffers) -> None:
    """Write the median of every block of `source` (z, y, x) to `out`; factors are (fz, fy, fx), not all 1.

    The median of n = fz·fy·fx values (n even) is the mean of the sorted values n/2 - 1 and n/2, see `mean_of_ordered`.
    """
    if factors[0] * factors[1] * factors[2] > LARGEST_NETWORK:
        _by_partition(source, factors, out, scratch)
        return
    steps = halvings(factors)
    lists = source[np.newaxis]
    names = ("sorted", "spare")
    for axis in steps[:-1]:
        lists, names = _merged(lists, axis, names, scratch)
    low, high = _selected(lists, steps[-1], names[0], scratch)
    mean_of_ordered(low, high, out, scratch)


def extreme_piece(source: Voxels, factors: tuple[int, int, int], pick: np.ufunc, out: Voxels, scratch: Buffers) -> None:
    """Write the greatest (`pick` = numpy.maximum) or least (numpy.minimum) value of every block to `out`; NaN spreads."""
    steps = halvings(factors)
    current = source
    for level, axis in enumerate(steps):
        is_last = level == len(steps) - 1
        shape = _halved(current.shape, axis)
        target = out if is_last else scratch.array(f"half{level % 2}", shape, source.dtype)
        if axis == _X:
            pairs = scratch.array("pairs", current.shape, source.dtype)
            pick(current[..., :-1], current[..., 1:], out=pairs[..., :-1])
            every_nth(pairs, 2, target)
        else:
            pick(*_neighbours(current, axis), out=target)
        current = target
    if source.dtype.kind == "f":
        canonical_floats(out)


def mean_of_ordered(low: Voxels, high: Voxels, out: Voxels, scratch: Buffers) -> None:
    """Write (low + high) / 2 to `out`, given low <= high everywhere; `high` is overwritten.

    Integers: exact at any width, rounded towards zero. low + ((high - low) >> 1) rounds down and cannot overflow,
    because the difference fits the unsigned type; if the result is negative and the difference odd, 1 is added.
    Floats: computed in their own precision. Equal values are kept (even if their sum overflows), unequal ones
    whose sum overflows give inf, inf and -inf give NaN. Every zero is +0.0 and every NaN the same NaN, because the
    networks do not preserve the sign of either.
    """
    if low.dtype.kind == "f":
        half = scratch.array("mean", low.shape, low.dtype)
        np.add(low, high, out=half)
        np.multiply(half, half.dtype.type(0.5), out=half)
        np.copyto(half, low, where=low == high)
        np.copyto(out, half)
        canonical_floats(out)
        return
    plain = unsigned(low.dtype.itemsize)
    bottom, difference = low.view(plain), high.view(plain)
    np.subtract(difference, bottom, out=difference)
    if low.dtype.kind == "u":
        np.right_shift(difference, 1, out=difference)
        np.add(bottom, difference, out=out)
        return
    half = scratch.array("mean", low.shape, plain)
    np.right_shift(difference, 1, out=half)
    np.add(half, bottom, out=half)
    # 1 if the rounded-down mean is negative (its top bit) and the difference is odd
    negative = scratch.array("negative", low.shape, plain)
    np.right_shift(half, 8 * plain.itemsize - 1, out=negative)
    np.bitwise_and(negative, difference, out=negative)
    np.add(half, negative, out=out.view(plain))


def canonical_floats(voxels: Voxels) -> None:
    """Turn -0.0 into 0.0 and every NaN into the positive quiet NaN, in place.

    Which of two equal values or of two NaNs a vector instruction returns depends on the order of its operands and on
    their position in a run of memory. Without this the bytes would depend on how the work is cut.
    """
    np.add(voxels, voxels.dtype.type(0), out=voxels)
    missing = np.isnan(voxels)
    if missing.any():
        voxels[missing] = np.nan


def _halved(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(size // 2 if i == axis else size for i, size in enumerate(shape))


def _neighbours(array: Voxels, axis: int) -> tuple[Voxels, Voxels]:
    even, odd = [slice(None)] * array.ndim, [slice(None)] * array.ndim
    even[axis], odd[axis] = slice(0, None, 2), slice(1, None, 2)
    return array[tuple(even)], array[tuple(odd)]


def _merged(lists: Voxels, axis: int, names: tuple[str, str], scratch: Buffers) -> tuple[Voxels, tuple[str, str]]:
    """Merge the sorted lists (m, z, y, x) of neighbours along an axis into the scratch's buffers `names`.

    The lists may be in the second buffer. Returns the merged lists and the buffers' names, the free one first.
    """
    m, dtype = len(lists), lists.dtype
    shape = (2 * m, *_halved(lists.shape[1:], axis))
    if axis == _X:
        halves = scratch.array("halves", (2, m, *shape[1:]), dtype)
        first, second = halves
        split_in_two(lists, first, second, scratch.array(names[0], lists.shape, dtype))
    else:
        first, second = _neighbours(lists, axis + 1)
    into, other = scratch.array(names[0], shape, dtype), scratch.array(names[1], shape, dtype) if m > 1 else lists
    merged, _ = merge(first, second, into, other)
    return merged, names if merged is other else (names[1], names[0])


def _selected(lists: Voxels, axis: int, name: str, scratch: Buffers) -> tuple[Voxels, Voxels]:
    """Return the middle two of the merged lists (m, z, y, x) of neighbours along an axis; buffer `name` is free."""
    m, dtype = len(lists), lists.dtype
    shape = _halved(lists.shape[1:], axis)
    low, high = scratch.array("middle", (2, *shape), dtype)
    if axis != _X:
        first, second = _neighbours(lists, axis + 1)
        if m == 1:
            np.minimum(first[0], second[0], out=low)
            np.maximum(first[0], second[0], out=high)
        else:
            work = scratch.array(name, (m, *shape), dtype)
            np.copyto(low, lower_middle(first, second, work))
            np.copyto(high, upper_middle(first, second, work))
        return low, high
    # Along x every voxel is compared with the next one, and every second result is kept: twice the comparisons, but on
    # contiguous memory, which is far faster than separating even and odd voxels first.
    whole = lists.shape[1:]
    work = scratch.array(name, lists.shape, dtype)
    if lists.flags.c_contiguous:
        lists, work = lists.reshape(m, -1), work.reshape(m, -1)
    for select, kept in ((lower_middle, low), (upper_middle, high)):
        select(lists[..., :-1], lists[..., 1:], work[..., :-1])
        every_nth(work[0].reshape(whole), 2, kept)
    return low, high


def _by_partition(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Buffers) -> None:
    values = blocks_as_rows(source, factors)
    n = values.shape[-1]
    if source.dtype.kind == "f":
        missing = np.isnan(values).any(axis=-1)
    values.partition((n // 2 - 1, n // 2), axis=-1)
    low, high = values[..., n // 2 - 1].copy(), values[..., n // 2].copy()
    if source.dtype.kind == "f":
        low[missing] = np.nan
    mean_of_ordered(low, high, out, scratch)


def blocks_as_rows(source: Voxels, factors: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return a copy of `source` (z, y, x) as (Z, Y, X, n), one block per row, y fastest within a block, then x, then z."""
    fz, fy, fx = factors
    z, y, x = source.shape
    split = source.reshape(z // fz, fz, y // fy, fy, x // fx, fx)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 5, 3)).reshape(z // fz, y // fy, x // fx, fz * fy * fx)


def median_bytes(factors: Sequence[int], piece: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `median_piece`, for factors (fx, fy, fz) and `piece` source bytes."""
    fx, fy, fz = (int(f) for f in factors)
    n = fx * fy * fz
    if n > LARGEST_NETWORK:
        return 2 * piece + 4 * piece // n + (piece // dtype.itemsize if dtype.kind == "f" else 0)
    buffers = (piece if fx > 1 else 0) if n == 2 else 2 * piece if n > 4 or fx > 1 else 3 * piece // 2
    halves = piece if fx > 2 else 0
    mean = 2 + (3 if dtype.kind == "f" else 2 if dtype.kind == "i" else 0)
    return buffers + halves + mean * piece // n


def extreme_bytes(factors: Sequence[int], piece: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `extreme_piece`, for factors (fx, fy, fz) and `piece` source bytes."""
    fx, fy, fz = (int(f) for f in factors)
    pairs = piece // (fy * fz) if fx > 1 else 0
    missing = piece // (fx * fy * fz) // dtype.itemsize if dtype.kind == "f" else 0
    return (piece // 2 + piece // 4 if fx * fy * fz > 2 else 0) + pairs + missing
