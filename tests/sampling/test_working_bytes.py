"""The memory of one sample_box call: the prediction is close, and never below the measurement, whatever the voxels are."""

from __future__ import annotations

import math
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from wkpipe.sampling import InterpolationMode, sample_box, working_bytes

Voxels = np.ndarray[Any, np.dtype[Any]]
Factors = tuple[int, int, int]

SOURCE_BYTES = 4 << 20
FACTORS: list[Factors] = [(2, 2, 1), (1, 1, 2), (4, 1, 1), (1, 2, 2), (2, 2, 2), (4, 4, 1), (4, 4, 4)]


def _noise(shape: tuple[int, ...], factors: Factors, dtype: np.dtype[Any]) -> Voxels:
    return np.random.default_rng(0).integers(0, 120, shape).astype(dtype)


def _first_voxel_alone(shape: tuple[int, ...], factors: Factors, dtype: np.dtype[Any]) -> Voxels:
    """Return blocks whose first voxel differs from all others, which are equal: the most expensive blocks of four for the mode."""
    voxels = np.full(shape, 7, dtype)
    voxels[tuple(slice(None, None, f) for f in factors)] = 3
    return voxels


def _nearly_constant(shape: tuple[int, ...], factors: Factors, dtype: np.dtype[Any]) -> Voxels:
    voxels = np.full(shape, 7, dtype)
    voxels[-2, -1, -1] = 3
    return voxels


def _peak(voxels: Voxels, factors: Factors, mode: InterpolationMode, is_at_border: bool) -> int:
    """Return the peak memory of one call in a new thread, whose scratch is still empty; reading counts as in a task."""

    def read(_: Any, shape: Any) -> Voxels:
        fresh: Voxels = np.empty(shape, voxels.dtype, order="F")
        fresh[...] = voxels[tuple(slice(n) for n in shape)]
        return fresh

    start = [0 if is_at_border else -(-4 // f) for f in factors]
    shape = [n // f for n, f in zip(voxels.shape, factors, strict=True)]
    first = [1 if is_at_border else 0] * 3
    end = [at * f + n if is_at_border else (at + 4) * f + n for at, n, f in zip(start, voxels.shape, factors, strict=True)]
    padded = np.pad(voxels, [(0, 0 if is_at_border else 4)] * 3, mode="edge") if mode is InterpolationMode.BICUBIC else voxels
    voxels = np.asfortranarray(padded)
    peaks: list[int] = []

    def work() -> None:
        tracemalloc.start()
        sample_box(read, start, shape, factors, (first, end), mode)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return peaks[0]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "u8", "f4"])
@pytest.mark.parametrize("mode", list(InterpolationMode))
def test_working_bytes_is_a_close_upper_estimate(mode: InterpolationMode, dtype: str) -> None:
    kind = np.dtype(dtype)
    bits = (SOURCE_BYTES // kind.itemsize).bit_length() - 1
    shape = tuple(1 << (bits + i) // 3 for i in (2, 1, 0))
    for factors in FACTORS:
        estimate = working_bytes(mode, factors, math.prod(shape) // math.prod(factors), kind)
        blocks = [make(shape, factors, kind) for make in (_noise, _first_voxel_alone, _nearly_constant)]
        peaks = [_peak(block, factors, mode, is_at_border=False) for block in blocks]
        peaks.append(_peak(blocks[0], factors, mode, is_at_border=True))
        assert max(peaks) <= estimate, (factors, peaks, estimate)
        assert estimate <= 1.15 * max(peaks), (factors, peaks, estimate)
