"""Which kernels the native engine has; the voxels are those of `wkpipe.sampling.kernels`."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.sampling.interpolation_mode import InterpolationMode

NUMBERS = {
    InterpolationMode.MEDIAN: 0,
    InterpolationMode.MODE: 1,
    InterpolationMode.MIN: 2,
    InterpolationMode.MAX: 3,
}
"""The kernels by their numbers in engine.c."""

_FACTORS = (1, 2, 4)


def has_kernel(mode: InterpolationMode, factors: Sequence[int]) -> bool:
    """True if the native engine reduces blocks of these factors (x, y, z) in this mode."""
    return mode in NUMBERS and all(factor in _FACTORS for factor in factors) and any(factor > 1 for factor in factors)
