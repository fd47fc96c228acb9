"""The kernels of the native engine give the voxels of the NumPy ones, for all factors, dtypes and kinds of data that it takes."""

from __future__ import annotations

import ctypes
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.native.chunks import NUMBER_KINDS
from wkpipe.native.library import Library, Reduction
from wkpipe.sampling import InterpolationMode, reduce_block
from wkpipe.sampling.native_kernels import NUMBERS, has_kernel

Voxels = np.ndarray[Any, np.dtype[Any]]

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"]
FACTORS = [factors for factors in itertools.product((1, 2, 4), repeat=3) if factors != (1, 1, 1)]


def reduced(library: Library, block: Voxels, factors: tuple[int, ...], mode: InterpolationMode) -> Voxels:
    """Reduce a Fortran-contiguous block (c, x, y, z) into a box in the middle of a larger array, which must stay zero elsewhere."""
    channels = block.shape[0]
    shape = [n // f for n, f in zip(block.shape[1:], factors, strict=True)]
    around = np.zeros([channels, *(n + 2 for n in shape)], block.dtype, order="F")
    inside = around[:, 1:-1, 1:-1, 1:-1]
    lines = [math.prod(array.shape[:axes]) for array in (block, around) for axes in (2, 3)]
    reduction = Reduction(NUMBERS[mode], *factors, channels, *shape, *lines)
    number = NUMBER_KINDS[block.dtype.kind]
    assert library.reduce(number, block.itemsize, ctypes.byref(reduction), block.ctypes.data, inside.ctypes.data) == 0
    copy = inside.copy()
    inside[...] = 0
    assert not around.any()
    return copy


def check(library: Library, block: Voxels, factors: tuple[int, ...], mode: InterpolationMode, what: str = "") -> None:
    """Compare both kernels bit by bit, for the voxels (c, x, y, z) of one channel or several."""
    block = np.asfortranarray(block)
    bits = np.dtype(f"u{block.itemsize}")
    found, expected = reduced(library, block, factors, mode), reduce_block(block, factors, mode)
    np.testing.assert_array_equal(found.view(bits), expected.view(bits), f"{factors}, {what}")


def special(dtype: str) -> Voxels:
    """Return floats with rules of their own: zeros with signs, NaNs of all kinds, infinities, sums that overflow, the smallest ones."""
    most = np.finfo(dtype).max
    plain = np.array(
        [0.0, -0.0, 1.0, -1.0, np.nan, -np.nan, np.inf, -np.inf, most, -most, most / 3, np.finfo(dtype).smallest_subnormal], dtype
    )
    signalling = np.array([plain.view(f"u{plain.itemsize}")[6] + 5], f"u{plain.itemsize}").view(dtype)
    return np.concatenate([plain, signalling, -signalling, np.array([3, 4, 5], dtype) * np.finfo(dtype).smallest_subnormal])


def float_blocks(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Voxels]:
    values = special(dtype)
    return {
        "noise": rng.normal(size=shape).astype(dtype),
        "noise and NaN": np.where(rng.random(shape) < 0.2, values[4], rng.normal(size=shape)).astype(dtype),
        "zeros": rng.choice(values[:2], shape),
        "negative zeros": np.full(shape, values[1]),
        "few": rng.choice(values[:4], shape),
        "special": rng.choice(values, shape),
        "some are special": np.where(rng.random(shape) < 0.02, rng.choice(values, shape), rng.choice(values[:3], shape)),
        "NaN": rng.choice(values[[4, 5, -5, -4]], shape),
    }


def blocks(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Voxels]:
    """Return blocks of different kinds of data: ties, extreme values, few labels, one voxel that differs."""
    if np.dtype(dtype).kind == "f":
        return float_blocks(dtype, shape, rng)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    single = np.full(shape, least, dtype)
    single[tuple(n // 2 for n in shape)] = most
    return {
        "noise": rng.integers(least, most, shape, dtype=dtype, endpoint=True),
        "two labels": rng.integers(0, 2, shape).astype(dtype),
        "five labels": rng.integers(0, 5, shape).astype(dtype),
        "extremes": rng.choice(np.array([least, most, 0], dtype), shape),
        "one differs": single,
        "cells": np.kron(rng.integers(0, 100, [-(-n // 3) for n in shape]), np.ones([3] * len(shape)))[tuple(map(slice, shape))].astype(
            dtype
        ),
    }


@pytest.mark.parametrize("mode", NUMBERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_factors(engine: Library, dtype: str, mode: InterpolationMode) -> None:
    rng = np.random.default_rng(7)
    for factors in FACTORS:
        channels = int(rng.choice([1, 1, 2, 3, 4]))
        shape = (channels, *(f * int(n) for f, n in zip(factors, rng.integers(1, 7, 3), strict=True)))
        for kind, block in blocks(dtype, shape, rng).items():
            check(engine, block, factors, mode, kind)


@given(
    st.sampled_from(DTYPES),
    st.sampled_from(FACTORS),
    st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from(sorted(NUMBERS)),
    st.integers(1, 4),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
)
def test_any_block(
    engine: Library,
    dtype: str,
    factors: tuple[int, ...],
    shape: tuple[int, ...],
    mode: InterpolationMode,
    channels: int,
    values: int,
    seed: int,
) -> None:
    whole = [channels, *(n * f for n, f in zip(shape, factors, strict=True))]
    numbers = np.random.default_rng(seed).integers(0, values, whole)
    check(engine, numbers.astype(dtype) if dtype[0] != "f" else np.resize(special(dtype), 300)[numbers], factors, mode)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8"])
def test_all_orders_of_eight_voxels(engine: Library, dtype: str) -> None:
    orders = np.array(list(itertools.permutations(range(-3, 5))))  # (40320, 8)
    block = (orders - (3 if dtype[0] == "i" else -3)).reshape(1, 40, 1008, 2, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(1, 80, 2016, 2)
    check(engine, block.astype(dtype), (2, 2, 2), InterpolationMode.MEDIAN)


@pytest.mark.parametrize("mode", [InterpolationMode.MEDIAN, InterpolationMode.MODE])
def test_all_squares_of_four_values(engine: Library, mode: InterpolationMode) -> None:
    squares = np.array(list(itertools.product((7, 250, 3, 129), repeat=4)))  # (256, 4)
    block = squares.reshape(1, 16, 16, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(1, 32, 32, 1)
    for dtype in ("u1", "i2", "u4", "i8"):
        check(engine, block.astype(dtype), (2, 2, 1), mode)


def test_the_chunk_of_32_voxels(engine: Library) -> None:
    """It has loops of its own."""
    rng = np.random.default_rng(3)
    for dtype, factors, mode in itertools.product(DTYPES, [(2, 2, 1), (2, 2, 2), (2, 1, 1), (4, 4, 2)], NUMBERS):
        for kind, block in blocks(dtype, (1, 32, 32, 32), rng).items():
            check(engine, block, factors, mode, kind)


@pytest.mark.parametrize(
    "number, size, factors, x",
    [(0, 3, (2, 2, 1), 8), (2, 2, (2, 2, 1), 8), (0, 1, (1, 1, 1), 8), (0, 1, (8, 8, 2), 8), (0, 8, (4, 4, 4), 65)],
    ids=["size", "half", "no factor", "too many voxels", "too long lines"],
)
def test_what_it_does_not_do(engine: Library, number: int, size: int, factors: tuple[int, int, int], x: int) -> None:
    reduction = Reduction(0, *factors, 1, x, 1, 1, x * factors[0], x * factors[0] * factors[1], x, x)
    assert engine.reduce(number, size, ctypes.byref(reduction), None, None) == 1


def test_modes_without_a_kernel() -> None:
    assert {mode for mode in InterpolationMode if has_kernel(mode, (2, 2, 1))} == set(NUMBERS)
    assert not has_kernel(InterpolationMode.MEDIAN, (8, 1, 1))
    assert not has_kernel(InterpolationMode.MEDIAN, (1, 1, 1))
