"""Cut a unit into cubes: runs of chunks in Morton order that are small enough to be worked on in the CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.grid import morton_bits
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class Cube:
    """Some neighbouring chunks of a unit: `grid` chunks from `first` on (x, y, z in chunks, within the unit)."""

    first: Vec3Int
    grid: Vec3Int


def cubes_of(spec: ArraySpec, source_bytes_per_chunk: int, target_bytes: int, first: Vec3Int, end: Vec3Int) -> Iterator[Cube]:
    """Yield the cubes of a unit that touch the chunks from `first` to `end`, in Morton order.

    Each has about `target_bytes` source bytes, and at least one chunk. The cut depends on shapes only, never on threads
    or memory, and every cube is a whole run of the Morton order. What lies elsewhere costs nothing, however many chunks
    a unit has.
    """
    grid = spatial(spec, spec.chunks_per_unit)
    bits = morton_bits(grid)
    free = max(0, int(math.log2(max(1, target_bytes // max(1, source_bytes_per_chunk)))))
    inner = min(free, len(bits))
    if 1 << len(bits) != grid.prod():  # a grid that is not a power of two: chunk by chunk
        inner = 0
    end = end.pairmin(grid)

    def descend(corner: Vec3Int, level: int) -> Iterator[Cube]:
        """Yield the cubes among the 2^level chunks from `corner` on."""
        size = Vec3Int([1 << bits[:level].count(axis) for axis in range(3)])
        if any(c >= e or c + s <= f for c, s, f, e in zip(corner, size, first, end, strict=True)):
            return
        if level == inner:
            yield Cube(corner, size)
            return
        half = Vec3Int([size[axis] // 2 if axis == bits[level - 1] else 0 for axis in range(3)])
        yield from descend(corner, level - 1)
        yield from descend(corner + half, level - 1)

    return descend(Vec3Int.zeros(), len(bits))
