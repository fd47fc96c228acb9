"""Cut a unit into cubes: runs of chunks in Morton order that are small enough to be worked on in the CPU's cache."""

from __future__ import annotations

import functools
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
    bits = tuple(morton_bits(grid))
    sizes = _sizes(bits)
    whole = cube_grid(spec, source_bytes_per_chunk, target_bytes)
    (low_x, low_y, low_z), (end_x, end_y, end_z) = first, end.pairmin(grid)

    def descend(x: int, y: int, z: int, level: int) -> Iterator[Cube]:
        """Yield the cubes among the 2^level chunks from x, y, z on. Plain integers: a small unit has one cube below many levels."""
        size_x, size_y, size_z = size = sizes[level]
        if x >= end_x or y >= end_y or z >= end_z or x + size_x <= low_x or y + size_y <= low_y or z + size_z <= low_z:
            return
        if size == whole:
            yield Cube(Vec3Int(x, y, z), size)
            return
        half_x, half_y, half_z = sizes[level - 1]
        yield from descend(x, y, z, level - 1)
        yield from descend(x + size_x - half_x, y + size_y - half_y, z + size_z - half_z, level - 1)

    return descend(0, 0, 0, len(bits))


@functools.lru_cache(maxsize=64)
def _sizes(bits: tuple[int, ...]) -> list[Vec3Int]:
    """Return for each level how many chunks along x, y, z its cubes have."""
    return [Vec3Int([1 << bits[:level].count(axis) for axis in range(3)]) for level in range(len(bits) + 1)]


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
