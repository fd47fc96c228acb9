"""Order of cells in a grid: Morton (Z) order, which keeps neighbours together at every scale."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np


def morton_bits(grid: Sequence[int]) -> list[int]:
    """Return for each bit of a Morton code, lowest first, the axis it belongs to.

    Axes take turns, the first axis first; an axis whose positions are used up is left out, so that a grid of
    powers of two is covered exactly. For a cubic grid this is the order of WKW files.
    """
    widths = [(int(n) - 1).bit_length() for n in grid]
    return [axis for level in range(max(widths, default=0)) for axis, width in enumerate(widths) if level < width]


@functools.lru_cache(maxsize=16)
def morton_order(grid: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the positions of all cells of a grid in Morton order, as an array (cells, axes); read-only."""
    bits = morton_bits(grid)
    codes = np.arange(1 << len(bits), dtype=np.int64)
    cells = np.zeros((len(codes), len(grid)), dtype=np.int64)
    used = [0] * len(grid)
    for bit, axis in enumerate(bits):
        cells[:, axis] |= ((codes >> bit) & 1) << used[axis]
        used[axis] += 1
    cells = cells[(cells < np.array(grid)).all(axis=1)]
    cells.setflags(write=False)
    return cells
