"""Cut a unit into cubes: runs of chunks in Morton order that are small enough to be worked on in the CPU's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.base import ArraySpec, Ints, Position, Voxels
from wkpipe.geometry import SPATIAL_AXES, Vec3Int
from wkpipe.geometry.grid import morton_bits, morton_order
from wkpipe.stored.axes import spatial, xyz_restored


@dataclass(frozen=True)
class Cube:
    """Some neighbouring chunks of a unit: `grid` chunks from `first` on (x, y, z in chunks, within the unit)."""

    first: Vec3Int
    grid: Vec3Int


def cube_grid(spec: ArraySpec, source_bytes_per_chunk: int, target_bytes: int) -> Vec3Int:
    """Return how many chunks a cube has along x, y, z: about `target_bytes` of source, and at least one chunk."""
    grid = spatial(spec, spec.chunks_per_unit)
    bits = morton_bits(grid)
    if 1 << len(bits) != grid.prod():  # not powers of two: chunk by chunk
        return Vec3Int.ones()
    free = int(math.log2(max(1, target_bytes // max(1, source_bytes_per_chunk))))
    return Vec3Int([1 << bits[:free].count(axis) for axis in range(3)])


def cubes_of(spec: ArraySpec, source_bytes_per_chunk: int, target_bytes: int, first: Vec3Int, end: Vec3Int) -> Iterator[Cube]:
    """Yield the cubes of a unit that touch the chunks from `first` to `end`, in Morton order.

    Each has about `target_bytes` source bytes, and at least one chunk. The cut depends on shapes only, never on threads
    or memory, and every cube is a whole run of the Morton order. Chunks elsewhere cost nothing, however many the unit has.
    """
    grid = spatial(spec, spec.chunks_per_unit)
    bits = morton_bits(grid)
    whole = cube_grid(spec, source_bytes_per_chunk, target_bytes)
    end = end.pairmin(grid)

    def descend(corner: Vec3Int, level: int) -> Iterator[Cube]:
        """Yield the cubes among the 2^level chunks from `corner` on."""
        size = Vec3Int([1 << bits[:level].count(axis) for axis in range(3)])
        if any(c >= e or c + s <= f for c, s, f, e in zip(corner, size, first, end, strict=True)):
            return
        if size == whole:
            yield Cube(corner, size)
            return
        half = Vec3Int([size[axis] // 2 if axis == bits[level - 1] else 0 for axis in range(3)])
        yield from descend(corner, level - 1)
        yield from descend(corner + half, level - 1)

    return descend(Vec3Int.zeros(), len(bits))


class UnitGrid:
    """The cubes of a unit that is made, and where they are in the unit and in the mag.

    The box from `first` to `end` is the part of the unit that is written, in voxels of the mag.
    """

    def __init__(self, spec: ArraySpec, unit: Position, first: Vec3Int, end: Vec3Int) -> None:
        self._spec = spec
        self.chunk = spatial(spec, spec.chunk_shape)
        self.origin = spatial(spec, unit) * spatial(spec, spec.unit_shape)
        self.first, self.end = first, end
        self._spatial_axes = [spec.axes.index(axis) for axis in SPATIAL_AXES]

    def cubes(self, source_bytes_per_chunk: int, target_bytes: int) -> Iterator[Cube]:
        """Yield the unit's cubes that overlap the box, in file order; see `cubes_of`."""
        first, end = (self.first - self.origin) // self.chunk, (self.end - self.origin).ceildiv(self.chunk)
        return cubes_of(self._spec, source_bytes_per_chunk, target_bytes, first, end)

    def positions(self, cube: Cube) -> Ints:
        """Return the positions (chunks, axes) of a cube's chunks within the unit, in file order."""
        chunks = morton_order(cube.grid.to_tuple())
        positions = np.zeros((len(chunks), len(self._spec.axes)), np.int64)
        positions[:, self._spatial_axes] = chunks + np.array(cube.first)
        return positions

    def raster_positions(self, cube: Cube) -> Ints:
        """Return the positions (chunks, axes) of a cube's chunks within the unit, slice by slice: z, then y, then x."""
        places = np.indices(tuple(reversed(cube.grid))).reshape(3, -1)[::-1].T
        positions = np.zeros((len(places), len(self._spec.axes)), np.int64)
        positions[:, self._spatial_axes] = places + np.array(cube.first)
        return positions

    def cube_between(self, first: Vec3Int, end: Vec3Int) -> Cube:
        """Return the chunks that the box shares with another one (first, end), in voxels of the mag."""
        low = (first.pairmax(self.first) - self.origin) // self.chunk
        return Cube(low, (end.pairmin(self.end) - self.origin).ceildiv(self.chunk) - low)

    def region(self, cube: Cube) -> tuple[Vec3Int, Vec3Int]:
        """Return first corner and shape of the part of a cube that is inside the box, in voxels of the mag."""
        start = self.origin + cube.first * self.chunk
        first = start.pairmax(self.first)
        return first, (start + cube.grid * self.chunk).pairmin(self.end) - first

    def whole_chunks(self, cube: Cube, voxels: Voxels) -> Voxels:
        """Return the voxels (..., x, y, z) of a cube's region as whole chunks in the array's axis order, zero outside of the box.

        The result is Fortran-contiguous.
        """
        first, shape = self.region(cube)
        whole = cube.grid * self.chunk
        if shape != whole:
            padded = np.zeros((*voxels.shape[:-3], *whole), dtype=voxels.dtype, order="F")
            padded[spatial_slices(first - self.origin - cube.first * self.chunk, shape)] = voxels
            voxels = padded
        chunks: Voxels = np.asfortranarray(xyz_restored(self._spec, voxels), dtype=self._spec.dtype)
        return chunks


def spatial_slices(first: Vec3Int, shape: Vec3Int) -> Any:
    """Return the index of a box on the last three axes."""
    return (..., *(slice(a, a + n) for a, n in zip(first, shape, strict=True)))
