"""Rows of a stack, as tests compare them."""

from __future__ import annotations

import numpy as np

from wkpipe.images import ImageStack
from wkpipe.images.source import SourceBox


def box_of_rows(stack: ImageStack, t: int, z0: int, z1: int, y0: int, y1: int) -> SourceBox:
    """Return the box of rows y0 to y1 of planes z0 to z1 at time t, of all channels."""
    return SourceBox.of((t, 0, z0, y0, 0), (t + 1, stack.sizes.c, z1, y1, stack.sizes.x))


def read_rows(stack: ImageStack, t: int, z0: int, z1: int, y0: int, y1: int) -> np.ndarray:
    """Return rows y0 to y1 of planes z0 to z1 at time t: axes (z, y, x, c)."""
    return stack.read(box_of_rows(stack, t, z0, z1, y0, y1))[0].transpose(1, 2, 3, 0)


def bytes_for(stack: ImageStack, z_count: int, rows: int) -> int:
    """Return the most memory that reading this many rows of this many planes may take, the result included."""
    box = box_of_rows(stack, 0, 0, z_count, 0, rows)
    return box.volume * stack.dtype.itemsize + stack.scratch_bytes(box)
