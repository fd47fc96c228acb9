"""Cut a unit into cubes: runs of chunks in Morton order that are small enough to be worked on in the CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.grid import morton_bits, morton_order
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class Cube:
    """Some neighbouring chunks of a unit: the first one (x, y, z in chunks, within the unit) and how many along x, y, z."""

    first: Vec3Int
    grid: Vec3Int
    _cells: np.ndarray[Any, np.dtype[np.int64]] = field(compare=False, repr=False)

    @property
    def chunks(self) -> tuple[Vec3Int, ...]:
        """The positions of all chunks, in file order."""
        # Made when asked for: most cubes of a unit lie outside of a small layer, and a unit may have millions of chunks.
        return tuple(Vec3Int(chunk) for chunk in self._cells.tolist())


def cubes_of(spec: ArraySpec, source_bytes_per_chunk: int, target_bytes: int) -> Iterator[Cube]:
    """Yield the cubes of a unit in Morton order, each of about `target_bytes` source bytes, at least one chunk.

    The cut depends on shapes only, never on threads or memory, and every cube is a whole run of the Morton order.
    """
    grid = spatial(spec, spec.chunks_per_unit)
    bits = morton_bits(grid)
    free = max(0, int(math.log2(max(1, target_bytes // max(1, source_bytes_per_chunk)))))
    inner = bits[: min(free, len(bits))]
    size = Vec3Int([1 << inner.count(axis) for axis in range(3)])
    order = morton_order(grid.to_tuple())
    length = 1 << len(inner)
    if math.prod(grid) % length:  # a grid that is not a power of two: chunk by chunk
        size, length = Vec3Int.ones(), 1
    for start in range(0, len(order), length):
        cells = order[start : start + length]
        yield Cube(Vec3Int(cells[0].tolist()), size, cells)
