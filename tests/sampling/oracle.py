"""Slow and plain definitions of the kernels' results, in numpy without tricks or in Python's integers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def blocks(array: Array, factors: tuple[int, int, int]) -> Array:
    """Turn (..., x, y, z) into (..., X, Y, Z, n): the n voxels of a block with y fastest, then x, then z."""
    fx, fy, fz = factors
    *lead, x, y, z = array.shape
    k = len(lead)
    split = array.reshape(*lead, x // fx, fx, y // fy, fy, z // fz, fz)
    order = (*range(k), k, k + 2, k + 4, k + 5, k + 1, k + 3)
    return split.transpose(order).reshape(*lead, x // fx, y // fy, z // fz, fx * fy * fz)


def mean_towards_zero(low: int, high: int) -> int:
    total = low + high
    return total // 2 if total >= 0 else -(-total // 2)


def median_of(values: list[Any]) -> Any:
    n = len(values)
    if n == 1:
        return values[0]
    if isinstance(values[0], np.floating):
        if any(np.isnan(v) for v in values):
            return np.nan
        low, high = sorted(values)[n // 2 - 1 : n // 2 + 1]
        return low if low == high else (low + high) * low.dtype.type(0.5)
    low, high = sorted(int(v) for v in values)[n // 2 - 1 : n // 2 + 1]
    return mean_towards_zero(low, high)


def mode_of(values: list[Any]) -> Any:
    counts = [max(sum(1 for other in values if other == value), 1) for value in values]
    return values[counts.index(max(counts))]


def max_of(values: list[Any]) -> Any:
    return np.nan if any(v != v for v in values) else max(values)


def min_of(values: list[Any]) -> Any:
    return np.nan if any(v != v for v in values) else min(values)


OF: dict[str, Callable[[list[Any]], Any]] = {"median": median_of, "mode": mode_of, "max": max_of, "min": min_of}


def reduce_slowly(array: Array, factors: tuple[int, int, int], mode: str) -> Array:
    """Reduce every block by itself, in Python."""
    rows = blocks(array, factors)
    out = np.empty(rows.shape[:-1], array.dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(*out.shape):
            out[index] = OF[mode](list(rows[index]))
    return out


def reduce_quickly(array: Array, factors: tuple[int, int, int], mode: str) -> Array:
    """Reduce by sorting and by counting all pairs; integers of up to 32 bits only."""
    rows = blocks(array, factors)
    n = rows.shape[-1]
    if mode == "mode":
        counts = np.maximum((rows[..., :, None] == rows[..., None, :]).sum(-1), 1)
        return np.take_along_axis(rows, counts.argmax(-1)[..., None], -1)[..., 0]
    if mode == "median":
        ranked = np.sort(rows, axis=-1).astype(np.int64)
        total = ranked[..., (n - 1) // 2] + ranked[..., n // 2]
        return (np.sign(total) * (np.abs(total) // 2)).astype(array.dtype)
    return rows.max(-1) if mode == "max" else rows.min(-1)


WEIGHTS = {
    "bilinear": lambda f: {0: Fraction(1)} if f == 1 else {f // 2 - 1: Fraction(1, 2), f // 2: Fraction(1, 2)},
    "bicubic": lambda f: (
        {0: Fraction(1)} if f == 1 else dict(zip(range(f // 2 - 2, f // 2 + 2), [Fraction(w, 16) for w in (-1, 9, 9, -1)], strict=True))
    ),
    "nearest": lambda f: {0: Fraction(1)},
}


def reflect(position: int, length: int) -> int:
    phase = position % (2 * length)
    return phase if phase < length else 2 * length - 1 - phase


def interpolate_slowly(array: Array, factors: tuple[int, int, int], mode: str) -> Array:
    """Interpolate (x, y, z) integers with fractions; positions outside are reflected."""
    taps = [WEIGHTS[mode](f) for f in factors]
    out = np.empty([-(-size // f) for size, f in zip(array.shape, factors, strict=True)], array.dtype)
    info = np.iinfo(array.dtype)
    for index in np.ndindex(*out.shape):
        total = Fraction(0)
        for places in itertools.product(*taps):
            at = tuple(reflect(i * f + p, size) for i, f, p, size in zip(index, factors, places, array.shape, strict=True))
            total += int(array[at]) * taps[0][places[0]] * taps[1][places[1]] * taps[2][places[2]]
        rounded = int(abs(total) + Fraction(1, 2)) * (1 if total >= 0 else -1)
        out[index] = min(max(rounded, info.min), info.max)
    return out


def padded(array: Array, first: list[int], start: list[int], end: list[int]) -> Array:
    """Return the voxels start … end of an array whose first voxel is at `first`, reflected outside."""
    for axis, (origin, low, high) in enumerate(zip(first, start, end, strict=True)):
        axis += array.ndim - 3
        array = np.take(array, [reflect(p - origin, array.shape[axis]) for p in range(low, high)], axis=axis)
    return array


def equal(got: Array, want: Array) -> bool:
    return got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want, equal_nan=got.dtype.kind == "f")
