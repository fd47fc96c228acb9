"""Cut a mag that is made from images into cubes whose borders are borders of chunks and of native blocks.

So each block is decoded once. The cut depends on shapes only, never on threads or memory. It has three parts:

* *Groups* of units. No block crosses the border of a group, so groups are independent, and different tasks can make them. Only small
  blocks may, if they never end with a unit because the images are mirrored, cropped or moved: these are decoded by both groups.
* *Cubes* of a group, each read and encoded by one thread. They follow one layer of chunks after the other, slice by slice (z, then
  y, then x), the order of images and of the chunks in the files.
* A *window*, if cubes of whole blocks would be too large: rows of blocks are decoded into it, all planes of a layer of chunks side by
  side, and cubes of whole chunks are read from it. It moves down the images. An image that can only be decoded as a whole is one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from wkpipe.engine.block_axis import BlockAxis
from wkpipe.engine.budget import IMAGE_CUBE_BYTES, WINDOW_BYTES, WINDOW_CUBE_BYTES, WINDOW_CUBES
from wkpipe.engine.cubes import Cube, UnitGrid
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.images.cached import read_width
from wkpipe.images.source import AxisSizes, BlockSource, SourceBox
from wkpipe.stored.axes import spatial, with_spatial


@dataclass(frozen=True)
class Share:
    """The part of a cube that is in one unit. Its chunks are in the file's order if those up to `ends_row` are sorted."""

    unit: Position
    grid: UnitGrid
    cube: Cube
    ends_row: bool
    ends_unit: bool


@dataclass(frozen=True)
class ImageCube:
    """A box of images (`first`, `end`, in voxels of the mag) with its share of each unit."""

    first: Vec3Int
    end: Vec3Int
    shares: tuple[Share, ...]


class BlockCut:
    """The cut of a mag's box (first, end) that is made from a source of the same voxels, which may be anywhere in the mag.

    Attributes:
        axes: the common borders of units, chunks and blocks along x, y, z.
        group: the most units that a group has along x, y, z.
        cube: the shape of a cube: whole chunks, and whole blocks if there is no window.
        step: the rows of the images that are decoded into the window at once; None if there is no window.
    """

    def __init__(self, spec: ArraySpec, box: Box, source: BlockSource) -> None:
        self.spec, self.box, self.source = spec, box, source
        self.chunk, self.unit = spatial(spec, spec.chunk_shape), spatial(spec, spec.unit_shape)
        self.block, self.size = _xyz(source.blocks), _xyz(source.sizes)
        lengths = zip(box.first, box.end, self.chunk, self.unit, self.block, _xyz(source.block_offset), strict=True)
        self.axes = tuple(BlockAxis(*each) for each in lengths)
        self.depth = min(self.chunk.z, self.size.z)
        self.channels = source.sizes.c
        self.voxel_bytes = self.channels * source.dtype.itemsize
        self.group = Vec3Int([axis.group for axis in self.axes])
        self._extent = Vec3Int([axis.extent for axis in self.axes])
        whole = Vec3Int([axis.whole for axis in self.axes]).with_z(self.chunk.z)
        least = self._bytes(whole.pairmin(self._extent))
        self.cube = self._grown(whole, IMAGE_CUBE_BYTES)
        self.step: int | None = None
        if least > IMAGE_CUBE_BYTES:
            rows = -(-self.chunk.y // self.block.y) * self.block.y
            rows *= max(1, IMAGE_CUBE_BYTES // self._bytes(self._extent.with_y(rows)))
            window = self._bytes(self._extent.with_y(self._window_rows(rows)))
            if window < WINDOW_CUBES * least or self.held_bytes > WINDOW_BYTES:
                self.step, self.cube = rows, self._grown(self.chunk, WINDOW_CUBE_BYTES)

    def _bytes(self, shape: Vec3Int) -> int:
        """Return the size of the voxels of a box that is as deep as a layer of chunks."""
        return shape.x * shape.y * self.depth * self.voxel_bytes

    def _window_rows(self, step: int) -> int:
        """Return how many rows of the images are in the window at once: decoded ones, and the rest of a row of chunks."""
        return min(step + (0 if self.axes[1].has_even_steps else self.chunk.y), self._extent.y)

    def _grown(self, least: Vec3Int, most_bytes: int) -> Vec3Int:
        """Return a cube made of some `least` ones: as wide as possible, then as high as possible."""
        most = most_bytes // self._bytes(least)
        wide = least.with_x(min(least.x * max(1, most), self._extent.x))
        if wide.x < self._extent.x:
            return wide
        return wide.with_y(min(wide.y * max(1, most_bytes // self._bytes(wide)), self._extent.y))

    # -- resources ----------------------------------------------------------------------------------------------

    @property
    def cube_bytes(self) -> int:
        """The size of the voxels of a cube."""
        return self._bytes(self.cube.pairmin(self.size))

    @property
    def cubes(self) -> int:
        """The most cubes in a layer of chunks of one group."""
        return self._extent.x * self._extent.y // (self.cube.x * self.cube.y) or 1

    @property
    def read_box(self) -> SourceBox:
        """The largest box that a thread reads at once: a cube, or the rows of one plane that are decoded into the window."""
        first, end = self.box
        if self.step is None:
            return self.in_source(first, (first + self.cube).pairmin(end))
        rows = Vec3Int(self._extent.x, self.step, 1).pairmin(self.size)
        return self.in_source(first, first + rows.with_x(min(rows.x, read_width(self.source, rows.y))))

    @property
    def read_bytes(self) -> int:
        """The size of the voxels that a thread reads at once."""
        return self.read_box.volume * self.spec.dtype.itemsize

    def in_source(self, first: Vec3Int, end: Vec3Int, time: int = 0) -> SourceBox:
        """Return the box of the source, in its axes, for a box of the mag."""
        first, end = first - self.box.first, end - self.box.first
        return SourceBox.of((time, 0, *reversed(first)), (time + 1, self.channels, *reversed(end)))

    @property
    def window_rows(self) -> int:
        """The rows of the images that the window has; 0 if there is none."""
        return 0 if self.step is None else self._window_rows(self.step)

    @property
    def window_bytes(self) -> int:
        """The size of the voxels of the window; 0 if there is none."""
        return self._bytes(self._extent.with_y(self.window_rows).pairmin(self.size))

    @property
    def is_in_memory(self) -> bool:
        """True if the window is in memory, False if it is in a file."""
        return self.window_bytes <= WINDOW_BYTES

    @property
    def held_bytes(self) -> int:
        """The size of the voxels whose encoded chunks wait for those beside them, at most: rows of one unit."""
        if self.cube.y <= self.chunk.y or self.cube.x >= min(self.unit.x, self._extent.x):
            return 0
        return self._bytes(self.cube.with_x(min(self.unit.x + self.cube.x, self._extent.x)))

    @property
    def open_units(self) -> int:
        """The most units that are written at once: all of a group if they are deeper than a chunk, else those of a row of cubes."""
        if self._extent.z > self.chunk.z:
            return self.group.with_z(1).prod()
        is_even = self.unit.y % self.cube.y == 0 and (self.box.first.y // self.chunk.y * self.chunk.y) % self.cube.y == 0
        rows = 1 if is_even else 1 + -(-self.cube.y // self.unit.y)
        return self.group.x * min(self.group.y, rows)

    # -- groups and cubes ---------------------------------------------------------------------------------------

    def may_part(self, before: Position, unit: Position) -> bool:
        """True if all groups end between two units that are neighbours in order (z, then y, then x)."""
        others = [i for i, axis in enumerate(self.spec.axes) if axis not in "xyz"]
        a, b = self.group_of(before), self.group_of(unit)
        if any(before[i] != unit[i] for i in others) or a.z != b.z:
            return True
        if self.group.z > 1 or spatial(self.spec, before).z != spatial(self.spec, unit).z:
            return self.group.z == 1
        return a.y != b.y or (self.group.y == 1 and a.x != b.x)

    def group_of(self, unit: Position) -> Vec3Int:
        """Return the first unit of the group of a unit, along x, y, z."""
        return Vec3Int([axis.group_of(place) for axis, place in zip(self.axes, spatial(self.spec, unit), strict=True)])

    def groups(self, units: Iterable[Position]) -> list[UnitGroup]:
        """Return the groups of some units, each with its units among them."""
        found: dict[Position, list[Position]] = {}
        for unit in units:
            found.setdefault(with_spatial(self.spec, unit, self.group_of(unit)), []).append(unit)
        return [UnitGroup(self, members) for members in found.values()]


class UnitGroup:
    """Units of one group that are made together."""

    def __init__(self, cut: BlockCut, units: Sequence[Position]) -> None:
        self.cut, self.units = cut, units
        self._grids: dict[Vec3Int, tuple[Position, UnitGrid]] = {}
        for unit in units:
            corner = spatial(cut.spec, unit)
            origin = corner * cut.unit
            grid = UnitGrid(cut.spec, unit, origin.pairmax(cut.box.first), (origin + cut.unit).pairmin(cut.box.end))
            self._grids[corner] = (unit, grid)
        grids = [grid for _, grid in self._grids.values()]
        self.first = Vec3Int([min(grid.first[i] for grid in grids) for i in range(3)])
        self.end = Vec3Int([max(grid.end[i] for grid in grids) for i in range(3)])
        self.time = dict(zip(cut.spec.axes, units[0], strict=True)).get("t", 0)
        self._origin = Vec3Int([axis.origin(unit) for axis, unit in zip(cut.axes, next(iter(self._grids)), strict=True)])

    @property
    def layers(self) -> range:
        """The first z of each layer of chunks."""
        depth = self.cut.chunk.z
        return range(self.first.z // depth * depth, self.end.z, depth)

    def cubes(self) -> Iterator[ImageCube]:
        """Yield all cubes that overlap the units."""
        for z in self.layers:
            yield from self.cubes_between(z, self._origin.y, self.end.y)

    def cubes_between(self, z: int, first_y: int, end_y: int) -> Iterator[ImageCube]:
        """Yield the cubes of some rows of the layer of chunks at `z`; the first row is a border of cubes."""
        shape = self.cut.cube
        for y in range(first_y, end_y, shape.y):
            for x in range(self._origin.x, self.end.x, shape.x):
                corner = Vec3Int(x, y, z)
                first = corner.pairmax(self.first)
                end = (corner + shape).pairmin(self.end.with_y(min(end_y, self.end.y)))
                if all(a < b for a, b in zip(first, end, strict=True)) and (shares := tuple(self._shares(first, end))):
                    yield ImageCube(first, end, shares)

    def _shares(self, first: Vec3Int, end: Vec3Int) -> Iterator[Share]:
        low, high = first // self.cut.unit, end.ceildiv(self.cut.unit)
        for y in range(low.y, high.y):
            for x in range(low.x, high.x):
                if (known := self._grids.get(Vec3Int(x, y, low.z))) is None:
                    continue
                unit, grid = known
                ends_x = end.x >= grid.end.x
                ends_row = ends_x or self.cut.cube.y <= self.cut.chunk.y
                yield Share(unit, grid, grid.cube_between(first, end), ends_row, ends_x and end.y >= grid.end.y and end.z >= grid.end.z)


def _xyz(sizes: AxisSizes) -> Vec3Int:
    return Vec3Int(sizes.x, sizes.y, sizes.z)
