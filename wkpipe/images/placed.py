"""Placed files: the layers of a source whose files' names follow a pattern."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images.composed import Tile, mosaic
from wkpipe.images.discover import Found
from wkpipe.images.fit import check_fit, padding_text
from wkpipe.images.layers import channel_color, stacks_of
from wkpipe.images.missing import with_missing
from wkpipe.images.names import clean_name
from wkpipe.images.numbering import Number, Running, number_text
from wkpipe.images.options import FILL, SourceOptions
from wkpipe.images.pattern import ImagePlace, Pattern, TilePosition
from wkpipe.images.reader import ImageFile
from wkpipe.images.sequence import Order
from wkpipe.images.source import AxisSizes
from wkpipe.images.stack import ImageStack

NO_MATCH, COARSER = "not of the form of the pattern", "of a coarser zoom"


@dataclass(frozen=True)
class PlacedLayer:
    """The layers of files that a pattern gives one name and channel, and what is said about them."""

    stacks: tuple[ImageStack, ...]
    order: Order
    notes: tuple[str, ...]


def placed_files(found: Found, pattern: Pattern) -> tuple[Found, dict[Path, ImagePlace]]:
    """Return the files whose names have the form of a pattern, of the finest zoom, and where each belongs.

    Raises:
        UnreadableInput: no file has it.
        InputRefused: two files belong to the same place.
    """
    places = {path: pattern.place(path.relative_to(found.root).as_posix()) for path in found.images}
    reasons = {path: NO_MATCH for path, place in places.items() if place is None}
    placed = {path: place for path, place in places.items() if place is not None}
    if not placed:
        example = found.images[0].relative_to(found.root)
        raise UnreadableInput(where=found.root, found=f"no path like {pattern.text}, but {example}", fix="check --pattern")
    zooms = [place.zoom for place in placed.values()]
    finest = max(sorted(set(zooms)), key=zooms.count)
    reasons |= {path: COARSER for path, place in placed.items() if place.zoom != finest}
    placed = {path: place for path, place in placed.items() if place.zoom == finest}
    seen: dict[ImagePlace, Path] = {}
    for path, place in placed.items():
        if (other := seen.setdefault(place, path)) != path:
            raise InputRefused(where=path, found=f"the same place as {other.name} has", expected="each place once", fix="move one away")
    return found.but_without(reasons), placed


def placed_layers(
    found: Found, images: Mapping[Path, ImageFile], places: Mapping[Path, ImagePlace], base: str, options: SourceOptions
) -> list[PlacedLayer]:
    """Return the layers of files that have a place; `base` is the name of a layer that the pattern does not name.

    Raises:
        InputRefused: images do not fit together, or planes are missing.
    """
    layers: dict[tuple[str, str], dict[Path, ImagePlace]] = {}
    for path, place in places.items():
        layers.setdefault((place.name, place.channel), {})[path] = place
    channels = list(dict.fromkeys(channel for _, channel in layers if channel))
    made = []
    for (name, channel), files in layers.items():
        suffix = f"__channel{int(channel)}" if channel.isdecimal() else f"__{channel}" if channel else ""
        layer = _PlacedFiles(clean_name((name or base) + suffix), found.root, {path: images[path] for path in files}, files, options)
        made.append(layer.made(channel_color(channels.index(channel)) if len(channels) > 1 else None))
    return made


@dataclass(frozen=True)
class _PlacedFiles:
    """The files of one layer, and where each belongs."""

    name: str
    root: Path
    images: Mapping[Path, ImageFile]
    places: Mapping[Path, ImagePlace]
    options: SourceOptions

    def made(self, color: tuple[int, int, int] | None) -> PlacedLayer:
        where = self.root
        by_position = {place.position: self.images[path] for path, place in self.places.items()}
        axes = [sorted({position[axis] for position in by_position}) for axis in range(4)]
        times, depths, rows, columns = axes
        is_tiled = len(rows) * len(columns) > 1
        check_fit(list(self.images.values()), with_pixels=not is_tiled and not self.options.is_padding)
        row, column = self._grid(rows, 3), self._grid(columns, 4)
        deep = next((file for file in self.images.values() if file.sizes.z * file.sizes.t > 1), None)
        if deep is not None and len(self.images) > 1:
            found = f"{deep.sizes.z * deep.sizes.t} planes"
            raise InputRefused(
                where=deep.path, found=found, expected="one plane, because the pattern says where it is", fix="check --pattern"
            )
        notes: list[str] = []
        if len(times) * len(rows) * len(columns) == 1:
            planes = {z: by_position[times[0], z, rows[0], columns[0]] for z in depths}
        else:
            planes = self._planes(by_position, axes, (row, column), notes)
        filled = with_missing([planes[z] for z in depths], depths, Running.of(depths), self.options, where)
        assert filled.running is not None
        stacks = stacks_of(self.name, filled.files, where, self.options.content, is_prefix=True)
        if color is not None:
            stacks = [
                stack if stack.color is not None or stack.is_rgb else stack.replace(info=stack.info._replace(color=color))
                for stack in stacks
            ]
        first, last = (str(min(self._paths_at(z)).relative_to(where)) for z in (depths[0], depths[-1]))
        tiles = f", {_count(row)} × {_count(column)} tiles" if is_tiled else ""
        said = [text for text in (filled.said, "" if is_tiled else padding_text(list(self.images.values()))) if text]
        order = Order(self.name, len(depths), first, last, f"z {filled.running.text}{tiles}", "; ".join(said))
        return PlacedLayer(tuple(stacks), order, tuple(f"layer {self.name}: {note}" for note in (*notes, *said)))

    def _paths_at(self, z: Number) -> list[Path]:
        return [path for path, place in self.places.items() if place.z == z]

    def _planes(
        self,
        by_position: Mapping[TilePosition, ImageFile],
        axes: Sequence[list[Number]],
        grids: tuple[Mapping[Number, int], Mapping[Number, int]],
        notes: list[str],
    ) -> dict[Number, ImageFile]:
        """Return each plane as one image, made of the tiles of all points in time."""
        times, depths, *_ = axes
        row, column = grids
        height, width = self._edge(3), self._edge(4)
        y = self._extent(row, 3, height, lambda place: place.y)
        x = self._extent(column, 4, width, lambda place: place.x)
        full = len(times) * _count(row) * _count(column)
        at: dict[Number, list[Tile]] = {z: [] for z in depths}
        for position in sorted(by_position):
            tile = Tile(times.index(position[0]), row[position[2]], column[position[3]], by_position[position])
            at[position[1]].append(tile)
        planes: dict[Number, ImageFile] = {}
        missing = 0
        for z, tiles in at.items():
            self._check_times(tiles, times, z)
            missing += full - len(tiles)
            sizes = AxisSizes(len(times), tiles[0].file.sizes.c, 1, y, x)
            planes[z] = mosaic(self.root / f"plane {number_text(z)} of {self.name}", self.root, tiles, sizes, (height, width))
        if missing:
            notes.append(f"{missing} of {full * len(depths)} tiles are missing and are filled with 0")
        return planes

    def _edge(self, axis: int) -> int:
        """Return the length of a tile along an axis."""
        return max(file.sizes[axis] for file in self.images.values())

    def _grid(self, values: Sequence[Number], axis: int) -> dict[Number, int]:
        """Return the place in the grid of each number; numbers that are more than half a tile apart are pixels.

        Raises:
            InputRefused: at these pixels, tiles overlap or leave gaps.
        """
        steps = [b - a for a, b in itertools.pairwise(values)]
        denominator = math.lcm(*(step.denominator for step in steps))
        step = Fraction(math.gcd(*(int(step * denominator) for step in steps)), denominator) or Fraction(1)
        edge = self._edge(axis)
        if 2 * step > edge:
            if step % edge:
                raise InputRefused(
                    where=self.root,
                    found=f"numbers in steps of {number_text(step)} for tiles of {edge} pixels, which overlap or leave gaps",
                    expected=f"numbers that count tiles, or pixels in steps of {edge}",
                    fix="give the tiles such numbers, or check --pattern",
                )
            step = Fraction(edge)
        return {value: int((value - values[0]) / step) for value in values}

    def _check_times(self, tiles: Sequence[Tile], times: Sequence[Number], z: Number) -> None:
        absent = [number_text(time) for i, time in enumerate(times) if all(tile.t != i for tile in tiles)]
        if absent and self.options.missing != FILL:
            fix = "put the files there, or give --missing-slices fill"
            raise InputRefused(where=self.root, found=f"no file at z {number_text(z)} of the times {', '.join(absent)}", fix=fix)

    def _extent(self, index: Mapping[Number, int], axis: int, edge: int, of: Callable[[ImagePlace], Number]) -> int:
        """Return the length of all tiles along an axis; only the last ones may be shorter than the others.

        Raises:
            InputRefused: another one is.
        """
        last = max(index.values())
        ends = []
        for path, place in self.places.items():
            length = self.images[path].sizes[axis]
            if index[of(place)] == last:
                ends.append(length)
            elif length != edge:
                raise InputRefused(where=path, found=f"a tile of {length} pixels", expected=f"{edge} like the others", fix="replace it")
        return last * edge + max(ends)


def _count(grid: Mapping[Number, int]) -> int:
    """Return the number of places in a grid along an axis."""
    return max(grid.values()) + 1
