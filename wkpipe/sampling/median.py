"""Median, maximum and minimum of the blocks of one piece, by selection networks.

Pieces have the axes (z, y, x) with x contiguous, i.e. they are transposed views of Fortran-ordered voxels. Axes are
halved one after the other, z first (long runs of memory), x last. Every halving merges the sorted lists of two
neighbours; the last one selects the middle two elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.sampling.scratch import Scratch, Voxels, every_second, split_in_two, unsigned
from wkpipe.sampling.selection_network import merge, middle_two

LARGEST_NETWORK = 512
"""Blocks of more voxels are selected from by `numpy.partition`, whose cost grows more slowly."""

_Z, _Y, _X = 0, 1, 2


def halvings(factors: Sequence[int]) -> list[int]:
    """Return the axes to halve, in order, for factors (fz, fy, fx) that are powers of two."""
    return [axis for axis in (_Z, _Y, _X) for _ in range(int(factors[axis]).bit_length() - 1)]


def median_piece(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
    """Write the median of every block of `source` (z, y, x) to `out`; factors are (fz, fy, fx), not all 1.

    The median of n = fz·fy·fx values (n even) is the mean of the sorted values n/2 - 1 and n/2, see `mean_of_ordered`.
    """
    if factors[0] * factors[1] * factors[2] > LARGEST_NETWORK:
        _by_partition(source, factors, out, scratch)
        return
    steps = halvings(factors)
    lists = [source]
    for level, axis in enumerate(steps[:-1]):
        lists = _merged(lists, axis, f"rows{level % 2}", scratch)
    low, high = _selected(lists, steps[-1], scratch)
    mean_of_ordered(low, high, out, scratch)


def extreme_piece(source: Voxels, factors: tuple[int, int, int], pick: np.ufunc, out: Voxels, scratch: Scratch) -> None:
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
            every_second(pairs, target)
        else:
            pick(*_neighbours(current, axis), out=target)
        current = target
    if source.dtype.kind == "f":
        canonical_floats(out)


def mean_of_ordered(low: Voxels, high: Voxels, out: Voxels, scratch: Scratch) -> None:
    """Write (low + high) / 2 to `out`, given low <= high everywhere; `high` is overwritten.

    Integers: exact at any width, a half is dropped towards zero: low + ((high - low) >> 1) rounds down and can not
    overflow, as the difference fits the unsigned type; where that is negative and the difference odd, 1 is added.
    Floats: computed in their own precision. Equal values are kept (also where their sum overflows), unequal ones
    whose sum overflows give inf, inf and -inf give NaN. Every zero is +0.0 and every NaN the same NaN, as the
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
    # 1 where the rounded-down mean is negative (its top bit) and the difference is odd
    negative = scratch.array("negative", low.shape, plain)
    np.right_shift(half, 8 * plain.itemsize - 1, out=negative)
    np.bitwise_and(negative, difference, out=negative)
    np.add(half, negative, out=out.view(plain))


def canonical_floats(voxels: Voxels) -> None:
    """Turn -0.0 into 0.0 and every NaN into the positive quiet NaN, in place.

    Which of two equal values or of two NaNs a vector instruction returns depends on its operands' order and on where
    in a run of memory they lie, so without this the bytes would depend on how the work is cut.
    """
    np.add(voxels, voxels.dtype.type(0), out=voxels)
    missing = np.isnan(voxels)
    if missing.any():
        voxels[missing] = np.nan


def _halved(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(size // 2 if i == axis else size for i, size in enumerate(shape))


def _neighbours(array: Voxels, axis: int) -> tuple[Voxels, Voxels]:
    return (array[0::2], array[1::2]) if axis == _Z else (array[:, 0::2], array[:, 1::2])


def _merged(lists: list[Voxels], axis: int, name: str, scratch: Scratch) -> list[Voxels]:
    shape, dtype, m = _halved(lists[0].shape, axis), lists[0].dtype, len(lists)
    if axis == _X:
        halves = scratch.rows("halves", 2 * m, shape, dtype)
        first, second = halves[:m], halves[m:]
        for array, even, odd in zip(lists, first, second, strict=True):
            split_in_two(array, even, odd, scratch)
    else:
        pairs = [_neighbours(array, axis) for array in lists]
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
    return merge(first, second, scratch.rows(name, 2 * m + 1, shape, dtype))


def _selected(lists: list[Voxels], axis: int, scratch: Scratch) -> tuple[Voxels, Voxels]:
    shape, dtype = lists[0].shape, lists[0].dtype
    if axis != _X:
        low, high, swap = scratch.rows("middle", 3, _halved(shape, axis), dtype)
        pairs = [_neighbours(array, axis) for array in lists]
        middle_two([a for a, _ in pairs], [b for _, b in pairs], low, high, swap)
        return low, high
    # Along x every voxel is compared with the next one, and only every second result is kept: twice the
    # comparisons, but on contiguous memory, which is far faster than separating even and odd voxels first.
    low, high, swap = scratch.rows("middle", 3, shape, dtype)
    if all(array.flags.c_contiguous for array in lists):
        size = low.size
        first, second = [a.reshape(size)[:-1] for a in lists], [a.reshape(size)[1:] for a in lists]
        middle_two(first, second, low.reshape(size)[:-1], high.reshape(size)[:-1], swap.reshape(size)[:-1])
    else:
        first, second = [a[..., :-1] for a in lists], [a[..., 1:] for a in lists]
        middle_two(first, second, low[..., :-1], high[..., :-1], swap[..., :-1])
    lower, upper = scratch.rows("kept", 2, _halved(shape, _X), dtype)
    every_second(low, lower)
    every_second(high, upper)
    return lower, upper


def _by_partition(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
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
    lists = sum((2**level + 1) * piece // 2**level for level in (1, 2) if n > 2**level)
    middle = (6 if fx > 1 else 3) * piece // n
    halves = piece + piece // (fy * fz) if fx > 2 else 0
    mean = (3 if dtype.kind == "f" else 2 if dtype.kind == "i" else 0) + (2 if fx > 1 else 0)
    return lists + middle + halves + mean * piece // n


def extreme_bytes(factors: Sequence[int], piece: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `extreme_piece`, for factors (fx, fy, fz) and `piece` source bytes."""
    fx, fy, fz = (int(f) for f in factors)
    pairs = piece // (fy * fz) if fx > 1 else 0
    return max((piece // 2 + piece // 4 if fx * fy * fz > 2 else 0) + pairs, piece // dtype.itemsize)
