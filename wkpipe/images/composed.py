"""Composed images: planes that are no file: blank ones in the place of missing slices, and mosaics of tiles, each a file of its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.images.reader import Corner, ImageFile
from wkpipe.images.source import AxisSizes

BLANK, MOSAIC = "blank", "mosaic"
"""In the place of a reader's name."""

_SHARED = ("reader", "sizes", "dtype", "is_rgb", "block", "scratch_bytes", "plane_bytes")
"""The facts that tiles share: each combination is stored once."""


@dataclass(frozen=True)
class Tile:
    """A file in a plane: its time, and its row and column in the grid of tiles."""

    t: int
    row: int
    column: int
    file: ImageFile


def blank(like: ImageFile, name: str) -> ImageFile:
    """Return a slice of zeros with the form of another one."""
    path = like.path.with_name(name)
    return replace(like, path=path, size=0, mtime_ns=0, reader=BLANK, scratch_bytes=0, plane_bytes=0, layout={}, parts=(), account=None)


def mosaic(path: Path, root: Path, tiles: Sequence[Tile], sizes: AxisSizes, edge: tuple[int, int]) -> ImageFile:
    """Return a plane of these sizes as one image; `path` names it, `edge` are the rows and columns of a tile.

    Its size and time of change stand for those of all tiles and for their names below `root`.
    """
    digest = hashlib.sha256()
    for tile in tiles:
        name = os.fsencode(str(tile.file.path.relative_to(root)))
        digest.update(name + f"\0{tile.t}\0{tile.row}\0{tile.column}\0{tile.file.size}\0{tile.file.mtime_ns}\0".encode())
    like = tiles[0].file
    blocks = {tile.file.block for tile in tiles if tile.file.sizes[3:] == edge} or {edge}
    block = next(iter(blocks))
    if len(blocks) > 1 or edge[0] % block[0] or edge[1] % block[1]:
        block = edge
    return ImageFile(
        path=path,
        size=sum(tile.file.size for tile in tiles),
        mtime_ns=int.from_bytes(digest.digest()[:7], "big"),
        reader=MOSAIC,
        sizes=sizes,
        dtype=like.dtype,
        is_rgb=like.is_rgb,
        block=block,
        scratch_bytes=max(tile.file.scratch_bytes for tile in tiles) + edge[0] * edge[1] * like.sizes.c * np.dtype(like.dtype).itemsize,
        plane_bytes=max(tile.file.plane_bytes for tile in tiles),
        layout={"edge": list(edge), **_to_json(tiles, root)},
        meaning=like.meaning,
        about=like.about,
    )


def pieces(file: ImageFile, corner: Corner, rows: int, columns: int) -> Iterator[tuple[ImageFile, Corner, slice, slice]]:
    """Yield the files that hold a region of an image: each with its own corner, and the rows and columns of the region that it fills.

    What no file fills is 0 in the layer, whatever a stored 0 becomes.
    """
    if file.reader == BLANK:
        return
    if file.reader != MOSAIC:
        yield from _cut(file, corner, 0, 0, rows, columns)
        return
    height, width = file.layout["edge"]
    for t, row, column, *values in file.layout["tiles"]:
        top, left = row * height - corner.y, column * width - corner.x
        if t == corner.t and -height < top < rows and -width < left < columns:
            yield from _cut(_from_json(file.layout, values), Corner(0, 0, 0, 0), top, left, rows, columns)


def _cut(file: ImageFile, corner: Corner, top: int, left: int, rows: int, columns: int) -> Iterator[tuple[ImageFile, Corner, slice, slice]]:
    """Yield the part of a file, whose `corner` is at (top, left) of a region, that is in the region; nothing if none is."""
    y0, y1 = max(top, 0), min(rows, top + file.sizes.y - corner.y)
    x0, x1 = max(left, 0), min(columns, left + file.sizes.x - corner.x)
    if y0 < y1 and x0 < x1:
        yield file, corner._replace(y=corner.y + y0 - top, x=corner.x + x0 - left), slice(y0, y1), slice(x0, x1)


def _to_json(tiles: Sequence[Tile], root: Path) -> dict[str, Any]:
    kinds: dict[tuple[Any, ...], int] = {}
    listed = []
    for tile in tiles:
        file = tile.file
        kind = kinds.setdefault(tuple(getattr(file, name) for name in _SHARED), len(kinds))
        name = str(file.path.relative_to(root))
        listed.append([tile.t, tile.row, tile.column, name, file.size, file.mtime_ns, kind, dict(file.layout)])
    return {"root": str(root), "kinds": [list(kind) for kind in kinds], "tiles": listed}


def _from_json(layout: Mapping[str, Any], values: Sequence[Any]) -> ImageFile:
    name, size, mtime_ns, kind, own = values
    facts = dict(zip(_SHARED, layout["kinds"][kind], strict=True))
    facts |= {"sizes": AxisSizes(*facts["sizes"]), "block": tuple(facts["block"])}
    return ImageFile(path=Path(layout["root"]) / name, size=size, mtime_ns=mtime_ns, layout=own, **facts)
