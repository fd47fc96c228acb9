"""Draw one picture of a dataset: a slice of every mag of every layer, side by side.

    python demo/contact_sheet.py DATASET PICTURE.png

All mags of a layer show the same place. Coarser mags are enlarged without smoothing, so that the pyramid is visible.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Plane: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TILE = 512  # edge of a drawn slice, in pixels
MOST = 4096  # edge of the part that is read, in mag-1 voxels
MARGIN, CAPTION = 12, 40
BACKGROUND, INK, PALE = (24, 26, 30), (240, 240, 240), (160, 165, 175)


@dataclass(frozen=True)
class Tile:
    """One slice with its captions."""

    layer: str
    mag: str
    category: str  # "color" or "segmentation"
    shape: tuple[int, int, int]  # of the whole mag, in its own voxels
    plane: Plane  # (channels, x, y)


def draw_sheet(tiles: Sequence[Tile], edge: int = TILE) -> Image.Image:
    """Draw a row for each layer and a column for each of its mags, in the order given."""
    layers = list(dict.fromkeys(tile.layer for tile in tiles))
    rows = [[tile for tile in tiles if tile.layer == layer] for layer in layers]
    columns = max((len(row) for row in rows), default=0)
    step = edge + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step, MARGIN + len(rows) * (step + CAPTION)), BACKGROUND)
    for row, members in enumerate(rows):
        for column, tile in enumerate(members):
            corner = (MARGIN + column * step, MARGIN + row * (step + CAPTION))
            _draw_tile(sheet, tile, corner, edge)
    return sheet


def _draw_tile(sheet: Image.Image, tile: Tile, corner: tuple[int, int], edge: int) -> None:
    pen = ImageDraw.Draw(sheet)
    x, y = corner
    pen.text((x, y), f"{tile.layer}  mag {tile.mag}", INK, ImageFont.load_default(16))
    pen.text((x, y + 20), " x ".join(str(length) for length in tile.shape) + " voxels", PALE, ImageFont.load_default(13))
    picture = Image.fromarray(colors_of(tile))
    scale = edge / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (x, y + CAPTION))


def colors_of(tile: Tile) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a slice as colours (y, x, 3): a colour for each label, pictures unchanged."""
    plane = tile.plane.transpose(2, 1, 0)
    if tile.category == "segmentation":
        return label_colors(plane[:, :, 0])
    grey = _as_bytes(plane)
    return np.ascontiguousarray(grey[:, :, :3] if grey.shape[2] >= 3 else np.repeat(grey[:, :, :1], 3, axis=2))


def label_colors(labels: Plane) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return each label's colour (…, 3), the same in every picture; label 0 is black."""
    ids, places = np.unique(labels, return_inverse=True)
    palette = np.array([_color_of(int(label)) for label in ids], np.uint8)
    return palette[places.reshape(labels.shape)]


def _color_of(label: int) -> tuple[int, int, int]:
    if label == 0:
        return (0, 0, 0)
    mixed = ((label * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF) >> 16
    hue, saturation, value = (mixed & 0xFFFF) / 65536, 0.45 + 0.45 * (mixed >> 16 & 0xFF) / 255, 0.65 + 0.35 * (mixed >> 24 & 0xFF) / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _as_bytes(plane: Plane) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return uint8 unchanged, and any other type stretched from its least to its greatest value."""
    if plane.dtype == np.uint8:
        return plane
    values = np.nan_to_num(plane.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    stretched: np.ndarray[Any, np.dtype[np.uint8]] = ((values - low) / (high - low or 1) * 255).round().astype(np.uint8)
    return stretched


def read_tiles(path: Path) -> list[Tile]:
    """Read the middle slice of every mag of every layer of a dataset."""
    from wkpipe import Dataset

    tiles = []
    for name, layer in Dataset.open(path).layers.items():
        mags = sorted(layer.mags)
        for mag in mags:
            view = layer.mags[mag]
            box = view.bounding_box
            offset, size = _part_to_read(tuple(box.topleft_xyz), tuple(box.size_xyz), tuple(mag), tuple(mags[-1]))
            data = view.read(absolute_offset=offset, size=size)
            shape = tuple(length // step for length, step in zip(box.size_xyz, mag, strict=True))
            tiles.append(Tile(name, str(mag), str(layer.category), (shape[0], shape[1], shape[2]), data[:, :, :, 0]))
    return tiles


Point: TypeAlias = tuple[int, ...]


def _part_to_read(topleft: Point, size: Point, mag: Point, coarsest: Point) -> tuple[Point, Point]:
    """Return offset and size (x, y, z in mag-1 voxels) of one slice, of at most MOST voxels an edge, in the middle of a box.

    Both are multiples of the mag; the offsets of all mags of a layer agree up to the coarsest mag's voxel.
    """
    first, lengths = [], []
    for axis in range(3):
        most = mag[2] if axis == 2 else max(MOST // coarsest[axis], 1) * coarsest[axis]
        if size[axis] <= most:
            first.append(topleft[axis])
            lengths.append(size[axis])
            continue
        middle = topleft[axis] + size[axis] // 2
        begin = middle if axis == 2 else (middle - most // 2) // coarsest[axis] * coarsest[axis]
        first.append(max(topleft[axis], begin // mag[axis] * mag[axis]))
        lengths.append(most)
    return tuple(first), tuple(lengths)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Draw a slice of every mag of every layer of a dataset.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    sheet = draw_sheet(read_tiles(arguments.dataset))
    sheet.save(arguments.picture)
    print(f"drew {sheet.width} × {sheet.height} pixels: {arguments.picture}")


if __name__ == "__main__":
    main()
