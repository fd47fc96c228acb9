"""Boxes: interpolation compared with fractions, reflection at the layer's borders, independence of the cut, memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling import oracle
from wkpipe.errors import InputRefused
from wkpipe.sampling import InterpolationMode, halo, interpolate_block, read_reflected, reduce_block, sample_box
from wkpipe.sampling.borders import reflected_runs

MODES = list(InterpolationMode)
POINT_MODES = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
INTEGERS = [f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)]


class Layer:
    """Voxels that begin at `first`; reading outside of them fails."""

    def __init__(self, voxels: Any, first: tuple[int, int, int] = (0, 0, 0)) -> None:
        self.voxels = voxels
        self.first = first
        self.bounds = first, tuple(f + s for f, s in zip(first, voxels.shape[-3:], strict=True))
        self.calls = 0

    def read(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Any:
        self.calls += 1
        for at, size, low, high in zip(start, shape, *self.bounds, strict=True):
            assert low <= at < at + size <= high
        return self.voxels[(..., *(slice(a - f, a - f + n) for a, f, n in zip(start, self.first, shape, strict=True)))]

    def target(self, factors: tuple[int, int, int]) -> tuple[list[int], list[int]]:
        start = [f // g for f, g in zip(self.bounds[0], factors, strict=True)]
        end = [-(-e // g) for e, g in zip(self.bounds[1], factors, strict=True)]
        return start, [e - s for e, s in zip(end, start, strict=True)]

    def sampled(self, factors: tuple[int, int, int], mode: InterpolationMode) -> Any:
        start, shape = self.target(factors)
        return sample_box(self.read, start, shape, factors, self.bounds, mode)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype[0] == "f":
        return rng.normal(0, 10, shape).astype(dtype)
    info = np.iinfo(dtype)
    noise = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    noise[rng.random(shape) < 0.3] = info.max
    noise[rng.random(shape) < 0.3] = info.min
    return noise


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(INTEGERS),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    mode=st.sampled_from(POINT_MODES),
    data=st.data(),
)
def test_interpolation_is_exact(seed: int, dtype: str, factors: tuple[int, int, int], mode: InterpolationMode, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 2 * f if f > 2 else 4)) for f in factors)
    voxels = _noise(np.random.default_rng(seed), shape, dtype)
    if data.draw(st.booleans()):
        voxels = (voxels % 7).astype(dtype) - np.array(0 if dtype[0] == "u" else 3, dtype)
    assert oracle.equal(Layer(voxels).sampled(factors, mode), oracle.interpolate_slowly(voxels, factors, mode))


def test_rounding_is_half_away_from_zero_and_clipped() -> None:
    for values, want in [([0, 1], 1), ([0, -1], -1), ([-3, 0], -2), ([3, 0], 2), ([127, 126], 127), ([-128, -127], -128)]:
        voxels = np.array(values, np.int8).reshape(2, 1, 1)
        assert interpolate_block(voxels, (2, 1, 1), InterpolationMode.BILINEAR)[0, 0, 0] == want
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        overshoot = np.array([info.min, info.max, info.max, info.min], dtype).reshape(4, 1, 1)
        assert interpolate_block(overshoot, (2, 1, 1), InterpolationMode.BICUBIC)[0, 0, 0] == info.max
        undershoot = np.array([info.max, info.min, info.min, info.max], dtype).reshape(4, 1, 1)
        assert interpolate_block(undershoot, (2, 1, 1), InterpolationMode.BICUBIC)[0, 0, 0] == info.min


@pytest.mark.parametrize("mode", POINT_MODES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats(mode: InterpolationMode, dtype: str) -> None:
    voxels = np.random.default_rng(2).integers(-1000, 1000, (8, 4, 4)).astype(dtype)
    exact = oracle.interpolate_slowly((voxels * 4096).astype(np.int64), (2, 4, 2), mode).astype(np.float64) / 4096
    assert oracle.equal(Layer(voxels).sampled((2, 4, 2), mode), exact.astype(dtype))
    voxels[...] = np.nan
    assert np.isnan(Layer(voxels).sampled((2, 2, 2), mode)).all()
    huge = np.full((4, 4, 4), np.finfo(dtype).max, dtype)
    assert oracle.equal(interpolate_block(huge, (4, 4, 4), mode), huge[:1, :1, :1])


@settings(max_examples=120)
@given(
    seed=st.integers(0, 2**32),
    mode=st.sampled_from(MODES),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8, 16])] * 3),
    first=st.tuples(*[st.integers(0, 40)] * 3),
    size=st.tuples(*[st.integers(1, 24)] * 3),
    lead=st.sampled_from([(), (2,), (1, 3)]),
    dtype=st.sampled_from(["u1", "i2", "u4", "u8", "f4"]),
)
def test_voxels_do_not_depend_on_the_cut(
    seed: int,
    mode: InterpolationMode,
    factors: tuple[int, int, int],
    first: tuple[int, int, int],
    size: tuple[int, int, int],
    lead: Any,
    dtype: str,
) -> None:
    rng = np.random.default_rng(seed)
    voxels = np.asfortranarray(rng.integers(0, 4, (*lead, *size)).astype(dtype))
    layer = Layer(voxels, first)
    whole = layer.sampled(factors, mode)
    start, shape = layer.target(factors)
    if mode not in POINT_MODES:
        low = [s * f for s, f in zip(start, factors, strict=True)]
        high = [(s + n) * f for s, n, f in zip(start, shape, factors, strict=True)]
        source = oracle.padded(voxels, list(first), low, high)
        if dtype != "u8" and source.size * np.prod(factors) < 1 << 22:
            want = oracle.reduce_quickly(source, factors, mode)
            if dtype == "f4" and mode is InterpolationMode.MEDIAN:
                ranked = np.sort(oracle.blocks(source, factors), axis=-1)
                n = ranked.shape[-1]
                want = (ranked[..., (n - 1) // 2] + ranked[..., n // 2]) / np.float32(2)
            assert oracle.equal(whole, want)
    for _ in range(3):
        a = [int(rng.integers(0, n)) for n in shape]
        b = [int(rng.integers(i, n)) + 1 for i, n in zip(a, shape, strict=True)]
        at = [s + i for s, i in zip(start, a, strict=True)]
        part = sample_box(layer.read, at, [j - i for i, j in zip(a, b, strict=True)], factors, layer.bounds, mode)
        assert part.flags.f_contiguous
        assert part.tobytes() == whole[(..., *(slice(i, j) for i, j in zip(a, b, strict=True)))].tobytes()


@given(start=st.integers(-50, 50), length=st.integers(1, 60), first=st.integers(-9, 9), size=st.integers(1, 20))
def test_reflected_runs(start: int, length: int, first: int, size: int) -> None:
    got = [at + i * step for at, count, step in reflected_runs(start, length, first, first + size) for i in range(count)]
    assert got == [first + oracle.reflect(p - first, size) for p in range(start, start + length)]


def test_reflection_is_that_of_numpy() -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (2, 3, 1, 5), dtype=np.uint8)
    layer = Layer(voxels, (10, 20, 30))
    got = read_reflected(layer.read, (3, 15, 28), (17, 9, 11), layer.bounds)
    assert np.array_equal(got, np.pad(voxels, [(0, 0), (7, 7), (5, 3), (2, 4)], mode="symmetric"))
    assert layer.calls == 1


@pytest.mark.parametrize("mode", MODES)
def test_layer_of_one_voxel(mode: InterpolationMode) -> None:
    layer = Layer(np.full((1, 1, 1), 77, np.uint16), (13, 7, 5))
    assert layer.sampled((16, 16, 16), mode).tolist() == [[[77]]]
    with pytest.raises(InputRefused, match="nothing to sample"):
        sample_box(layer.read, (0, 0, 0), (1, 0, 1), (2, 2, 2), layer.bounds, mode)
    with pytest.raises(InputRefused, match="nothing to sample"):
        sample_box(layer.read, (0, 0, 0), (1, 1, 1), (2, 2, 2), ((4, 4, 4), (4, 5, 5)), mode)


def test_inner_boxes_are_not_copied_before_the_kernel() -> None:
    voxels = np.zeros((8, 8, 8), np.uint8, order="F")
    layer = Layer(voxels)
    assert np.shares_memory(read_reflected(layer.read, (2, 2, 2), (4, 4, 4), layer.bounds), voxels)


@pytest.mark.parametrize("mode", POINT_MODES)
def test_constant_blocks_and_refusals(mode: InterpolationMode) -> None:
    for value in (-0.0, 1 / 3, np.inf):
        voxels = np.full((2, 4, 4, 4), value, np.float64)
        whole = sample_box(Layer(voxels).read, (0, 0, 0), (2, 2, 2), (2, 2, 2), Layer(voxels).bounds, mode)
        voxels[0, 0, 0, 0] = 5
        mixed = sample_box(Layer(voxels).read, (0, 0, 0), (2, 2, 2), (2, 2, 2), Layer(voxels).bounds, mode)
        assert whole[..., 1, 1, 1].tobytes() == mixed[..., 1, 1, 1].tobytes()
    with pytest.raises(InputRefused, match="cannot be sampled"):
        interpolate_block(np.zeros((4, 4, 4), np.bool_), (4, 4, 4), mode)
    with pytest.raises(InputRefused, match="multiples"):
        interpolate_block(np.zeros((3, 4, 4), np.uint8), (4, 4, 4), mode)
    with pytest.raises(InputRefused, match="at a point"):
        interpolate_block(np.zeros((4, 4, 4), np.uint8), (4, 4, 4), InterpolationMode.MEDIAN)
    assert interpolate_block(np.zeros((4, 0, 4), np.uint8), (4, 4, 4), mode).shape == (1, 0, 1)


def test_threads_do_not_share_their_scratch() -> None:
    rng = np.random.default_rng(5)
    blocks = [np.asfortranarray(rng.integers(0, 6, (64, 64, 16), dtype=np.uint8)) for _ in range(8)]
    modes = [InterpolationMode.MEDIAN, InterpolationMode.MODE] * 4
    want = [reduce_block(block, (4, 2, 2), mode) for block, mode in zip(blocks, modes, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            got = list(pool.map(lambda pair: reduce_block(pair[0], (4, 2, 2), pair[1]), zip(blocks, modes, strict=True)))
            assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def test_halo() -> None:
    assert halo(InterpolationMode.BICUBIC, (2, 4, 1)) == ((1, 0, 0), (1, 0, 0))
    assert all(halo(mode, (2, 2, 2)) == ((0, 0, 0), (0, 0, 0)) for mode in MODES if mode is not InterpolationMode.BICUBIC)


def test_mode_names() -> None:
    assert InterpolationMode.parse("default", "segmentation") is InterpolationMode.MODE
    assert InterpolationMode.parse("DEFAULT", "color") is InterpolationMode.MEDIAN
    assert InterpolationMode.parse("BiCubic", "color") is InterpolationMode.BICUBIC
    with pytest.raises(InputRefused, match="default, median, mode, max, min, nearest, bilinear, bicubic"):
        InterpolationMode.parse("foo", "color")
