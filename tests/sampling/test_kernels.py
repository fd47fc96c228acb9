"""Median, mode, max and min compared with plain definitions of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.sampling import oracle
from wkpipe.errors import InputRefused
from wkpipe.sampling import InterpolationMode, kernels, reduce_block
from wkpipe.sampling.median import LARGEST_NETWORK
from wkpipe.sampling.selection_network import lower_middle, merge, upper_middle

MODES = [InterpolationMode.MEDIAN, InterpolationMode.MODE, InterpolationMode.MAX, InterpolationMode.MIN]
DTYPES = [f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)] + ["f4", "f8"]
FACTORS = st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3)


def _extreme_values(dtype: np.dtype[Any]) -> list[Any]:
    if dtype.kind == "f":
        top = np.finfo(dtype).max
        return [0.0, -0.0, 1.0, -1.5, float(top), float(-top), np.inf, -np.inf, np.nan]
    info = np.iinfo(dtype)
    middle = 2**53 if dtype.itemsize == 8 else 3
    values = [info.min, info.min + 1, 0, 1, 2, info.max - 1, info.max, middle, middle + 1]
    return values + ([-1, -2, -3] if dtype.kind == "i" else [])


@st.composite
def _blocks(draw: st.DrawFn) -> tuple[Any, tuple[int, int, int]]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    factors = draw(FACTORS)
    shape = tuple(f * draw(st.integers(1, 2 if f > 2 else 3)) for f in factors)
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 2)])) if np.prod(shape) < 200 else ()
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["ties", "extremes", "noise", "half"]))
    shape = (*lead, *shape)
    extremes = np.array(_extreme_values(dtype), dtype)
    if kind == "ties":
        array = rng.integers(0, draw(st.integers(1, 4)) + 1, shape).astype(dtype)
    elif kind == "extremes":
        array = extremes[rng.integers(0, len(extremes), shape)]
    elif dtype.kind == "f":
        array = rng.normal(0, 10, shape).astype(dtype)
    else:
        array = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    if kind == "half":
        array[..., : shape[-3] // 2, :, :] = extremes[-1]
    layout = draw(st.sampled_from(["F", "C", "swapped", "strided"]))
    if layout == "swapped":
        return array.astype(dtype.newbyteorder(">")), factors
    if layout == "strided":
        return np.repeat(array, 2, axis=-3)[..., ::2, :, :], factors
    return np.array(array, order="F" if layout == "F" else "C"), factors


@settings(max_examples=150)
@given(case=_blocks(), mode=st.sampled_from(MODES))
def test_kernels_do_what_the_plain_statement_says(case: tuple[Any, tuple[int, int, int]], mode: InterpolationMode) -> None:
    block, factors = case
    got = reduce_block(block, factors, mode)
    assert got.flags.f_contiguous
    assert oracle.equal(got, oracle.reduce_slowly(block.astype(block.dtype.newbyteorder("=")), factors, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i4"])
@pytest.mark.parametrize("factors", [(2, 2, 1), (2, 2, 2), (4, 4, 1), (1, 4, 2), (4, 2, 4), (8, 8, 8), (16, 1, 1), (16, 16, 4), (32, 2, 1)])
def test_many_pieces(monkeypatch: pytest.MonkeyPatch, mode: InterpolationMode, dtype: str, factors: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(7)
    shape = tuple(max(f, 32) for f in factors)
    block = np.asfortranarray(rng.integers(-3 if dtype[0] == "i" else 0, 9, shape).astype(dtype))
    block[: shape[0] // 2] //= 5
    want = reduce_block(block, factors, mode)
    monkeypatch.setattr(kernels, "_piece_bytes", lambda *_: 1 << 10)
    assert oracle.equal(reduce_block(block, factors, mode), want)
    if mode is not InterpolationMode.MODE or block.size * np.prod(factors) <= 1 << 24:
        assert oracle.equal(want, oracle.reduce_quickly(block, factors, mode))


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_median_of_64_bit_extremes_is_exact(dtype: str) -> None:
    info = np.iinfo(dtype)
    pairs = [
        (info.max, info.max),
        (info.max - 1, info.max),
        (info.min, info.max),
        (info.min, info.min + 1),
        (2**53 + 1, 2**53 + 1),
        (-1, 0),
        (-2, -1),
    ]
    for low, high in pairs:
        if low < info.min:
            continue
        block = np.array([low, high], dtype).reshape(2, 1, 1)
        assert int(reduce_block(block, (2, 1, 1), InterpolationMode.MEDIAN)[0, 0, 0]) == oracle.mean_towards_zero(low, high)


def test_float_rules() -> None:
    def median(values: list[float], dtype: str = "f4") -> Any:
        return reduce_block(np.array(values, dtype).reshape(-1, 1, 1), (len(values), 1, 1), InterpolationMode.MEDIAN)[0, 0, 0]

    top = float(np.finfo(np.float32).max)
    assert median([top, top]) == np.float32(top)
    assert median([top, float(np.nextafter(np.float32(top), np.float32(0)))]) == np.inf
    assert np.isnan(median([np.inf, -np.inf]))
    assert np.isnan(median([1, 2, 3, np.nan]))
    assert median([1, np.inf, np.inf, 5]) == np.inf
    mode = reduce_block(np.array([np.nan, np.nan, 1, 1]).reshape(1, 4, 1), (1, 4, 1), InterpolationMode.MODE)
    assert mode[0, 0, 0] == 1
    assert np.isnan(reduce_block(np.full((2, 2, 2), np.nan), (2, 2, 2), InterpolationMode.MODE)).all()
    zeros = np.array([-0.0, 0.0, 0.0, -0.0]).reshape(1, 4, 1)
    assert np.signbit(reduce_block(zeros, (1, 4, 1), InterpolationMode.MODE)).all()
    assert np.signbit(reduce_block(np.full((2, 2, 2), -0.0), (2, 2, 2), InterpolationMode.MODE)).all()
    for other in (InterpolationMode.MEDIAN, InterpolationMode.MAX, InterpolationMode.MIN):
        assert not np.signbit(reduce_block(zeros, (1, 4, 1), other)).any()
        assert not np.signbit(reduce_block(np.full((2, 2, 2), -0.0), (2, 2, 2), other)).any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("factors", [(2, 1, 1), (1, 4, 1), (2, 2, 1), (1, 2, 2), (2, 2, 2), (4, 2, 2), (4, 4, 2), (8, 4, 4), (16, 8, 2)])
@pytest.mark.parametrize("values", [(0.0, -0.0), (0.0, -0.0, 1.0), (0.0, -0.0, 1.0, 2.0, 3.0, -1.0)])
def test_mode_writes_the_zero_that_comes_first(dtype: str, factors: tuple[int, int, int], values: tuple[float, ...]) -> None:
    """-0.0 and 0.0 are one value, so they win together; the one that occurs first in the block is written."""
    shape = tuple(f * n for f, n in zip(factors, (5, 4, 3), strict=True))
    block = np.asfortranarray(np.array(values, dtype)[np.random.default_rng(5).integers(0, len(values), shape)])
    _check_zeros(block, factors)


@pytest.mark.parametrize("factors", [(2, 2, 1), (1, 2, 2), (4, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_mode_writes_the_first_zero_of_few_blocks_and_of_many(factors: tuple[int, int, int], share: float) -> None:
    """If the first voxel decides most blocks, the others are computed one by one."""
    rng = np.random.default_rng(6)
    n = int(np.prod(factors))
    shape = tuple(f * m for f, m in zip(factors, (6, 5, 4), strict=True))
    block = np.full(shape, 2.0, order="F")
    rows = np.full((6 * 5 * 4, n), 2.0)
    some = rng.random(len(rows)) < share
    rows[some] = rng.permuted(np.tile(np.resize([1.0, 0.0, -0.0, -0.0], n), (int(some.sum()), 1)), axis=1)
    for row, corner in zip(rows, np.ndindex(6, 5, 4), strict=True):
        block[tuple(slice(c * f, (c + 1) * f) for c, f in zip(corner, factors, strict=True))] = row.reshape(factors)
    _check_zeros(block, factors)


def _check_zeros(block: Any, factors: tuple[int, int, int]) -> None:
    got, want = reduce_block(block, factors, InterpolationMode.MODE), oracle.reduce_slowly(block, factors, "mode")
    assert np.array_equal(got, want)
    assert np.array_equal(np.signbit(got), np.signbit(want))
    assert {bool(sign) for sign in np.signbit(want[want == 0])} == {False, True}


@pytest.mark.parametrize("order", [[(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)]])
def test_ties_are_won_in_the_order_y_x_z(order: list[tuple[int, int, int]]) -> None:
    for first in range(8):
        for second in range(first + 1, 8):
            block = np.arange(10, 18, dtype=np.uint32).reshape(2, 2, 2)
            block[order[first]] = block[order[second]] = 5
            assert reduce_block(block, (2, 2, 2), InterpolationMode.MODE)[0, 0, 0] == 5
    for first in range(1, 8):
        # every value twice: that of the first voxel wins, wherever its second one is
        block = np.zeros((2, 2, 2), np.uint32)
        pairs = [100, 101, 101, 102, 102, 103, 103]
        for place, value in zip(order, [*pairs[:first], 100, *pairs[first:]], strict=True):
            block[place] = value
        assert reduce_block(block, (2, 2, 2), InterpolationMode.MODE)[0, 0, 0] == 100


@pytest.mark.parametrize("factors", [(4, 4, 1), (4, 2, 4), (4, 4, 4), (8, 8, 2), (16, 16, 1)])
@pytest.mark.parametrize("labels", [2, 3, 8, 40, 10**6])
def test_mode_of_large_blocks(factors: tuple[int, int, int], labels: int) -> None:
    rng = np.random.default_rng(labels)
    shape = tuple(3 * f for f in factors)
    for dtype in ("u4", "u8", "f4"):
        block = rng.integers(0, labels, shape).astype(dtype)
        if dtype == "f4":
            block[rng.random(shape) < 0.2] = np.nan
        assert oracle.equal(reduce_block(block, factors, InterpolationMode.MODE), oracle.reduce_quickly(block, factors, "mode"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_blocks(dtype: str) -> None:
    for value in _extreme_values(np.dtype(dtype)):
        block = np.full((2, 8, 8, 4), value, dtype, order="F")
        for mode in MODES:
            got = reduce_block(block, (2, 4, 2), mode)
            assert oracle.equal(got, np.full((2, 4, 2, 2), value, dtype))
    block[0, 3, 3, 3] = 1
    assert reduce_block(block, (2, 4, 2), InterpolationMode.MAX).shape == (2, 4, 2, 2)


@given(values=hnp.arrays(np.int16, st.sampled_from([2, 4, 8, 16, 32, 64]), elements=st.integers(-9, 9)))
def test_networks_sort_and_select(values: Any) -> None:
    half = values.size // 2
    first, second = np.sort(values[:half]).reshape(-1, 1), np.sort(values[half:]).reshape(-1, 1)
    merged, _ = merge(first, second, *np.empty((2, values.size, 1), values.dtype))
    assert np.array_equal(merged[:, 0], np.sort(values))
    middle = [int(select(first, second, np.empty((half, 1), values.dtype))[0]) for select in (lower_middle, upper_middle)]
    assert middle == np.sort(values)[half - 1 : half + 1].tolist()


def test_blocks_beyond_the_largest_network() -> None:
    rng = np.random.default_rng(3)
    for dtype in ("u1", "i4", "f4"):
        block = rng.integers(0, 100, (32, 16, 16)).astype(dtype)
        factors = (16, 16, 8)
        assert np.prod(factors) > LARGEST_NETWORK
        assert oracle.equal(reduce_block(block, factors, InterpolationMode.MEDIAN), oracle.reduce_slowly(block, factors, "median"))
        if dtype == "f4":
            block[0, 0, 0] = np.nan
            assert np.isnan(reduce_block(block, factors, InterpolationMode.MEDIAN)[0, 0, 0])


def test_refusals() -> None:
    block = np.zeros((4, 4, 4), np.uint8)
    for factors in [(3, 1, 1), (0, 1, 1), (8, 1, 1), (2, 2)]:
        with pytest.raises(InputRefused):
            reduce_block(block, factors, InterpolationMode.MEDIAN)
    with pytest.raises(InputRefused, match="cannot be sampled"):
        reduce_block(block.astype(np.complex64), (2, 2, 2), InterpolationMode.MEDIAN)
    with pytest.raises(InputRefused, match="median, mode, max, min"):
        reduce_block(block, (2, 2, 2), InterpolationMode.NEAREST)


def test_result_is_never_a_view() -> None:
    block = np.zeros((2, 2, 2), np.uint8, order="F")
    assert not np.shares_memory(reduce_block(block, (1, 1, 1), InterpolationMode.MODE), block)
    assert reduce_block(np.zeros((0, 4, 4), np.uint8), (2, 2, 2), InterpolationMode.MODE).shape == (0, 2, 2)
