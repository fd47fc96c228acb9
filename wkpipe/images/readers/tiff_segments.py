"""Read the compressed planes of TIFF files strip by strip, or tile by tile; only the needed ones are decoded."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from wkpipe.errors import UnreadableInput, one_line
from wkpipe.images.reader import Corner, ImageFile
from wkpipe.images.readers.jpeg import check_jpeg
from wkpipe.images.readers.tiff_parser import open_tiff, parse_page
from wkpipe.images.readers.tiff_table import SegmentTable
from wkpipe.images.source import Voxels

if TYPE_CHECKING:
    import tifffile

SEGMENT_BYTES = 16
"""Bytes of memory that are kept for each strip or tile of a page: its offset and its size."""

JPEG_CODECS = (6, 7, 34892, 33007)

KEPT_PAGES = 64
"""The number of parsed pages that are kept: twice the usual depth of a layer of chunks."""

KEPT_BYTES = 128 << 20
"""The most memory for the tables of strips or tiles of these pages: 32 pages of 100,000 × 100,000 pixels in tiles of 256 × 256."""


@dataclass(frozen=True)
class Page:
    """The parts of a page's directory that decoding needs."""

    separate: int
    height: int
    width: int
    samples: int
    dtype: str
    rows: int
    columns: int
    is_tiled: bool
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]
    decode: Callable[..., Any]
    jpeg: dict[str, Any]
    is_jpeg: bool
    fill: Any

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> Page:
        separate, _, height, width, samples = page.shaped
        table = SegmentTable.of(page)
        return cls(
            separate=separate,
            height=height,
            width=width,
            samples=samples,
            dtype=str(page.dtype),
            rows=page.tilelength if page.is_tiled else page.rowsperstrip,
            columns=page.tilewidth if page.is_tiled else width,
            is_tiled=page.is_tiled,
            offsets=table.offsets,
            counts=table.counts,
            decode=page.decode,
            jpeg={"jpegtables": page.jpegtables, "jpegheader": page.jpegheader},
            is_jpeg=page.compression in JPEG_CODECS,
            fill=page.nodata,
        )


class PageCache:
    """The most recently used pages: parsing the directory of a page with many tiles takes longer than decoding some of the tiles."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[str, int, int, int], Page] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, file: ImageFile, position: int, parse: Callable[[], Page]) -> Page:
        """Return the page at a position of an inspected file; `parse` is called if it is not cached."""
        key = (str(file.path), file.size, file.mtime_ns, position)
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        page = parse()
        with self._lock:
            if key not in self._pages:
                self._pages[key] = page
                self._bytes += page.offsets.nbytes + page.counts.nbytes
            while len(self._pages) > KEPT_PAGES or (self._bytes > KEPT_BYTES and len(self._pages) > 1):
                _, old = self._pages.popitem(last=False)
                self._bytes -= old.offsets.nbytes + old.counts.nbytes
        return page


PAGES = PageCache()


class CodedPlanes:
    """The planes of an open file, which are decoded by strips or tiles."""

    def __init__(self, file: ImageFile, handle: BinaryIO) -> None:
        self._file, self._handle = file, handle
        self._descriptor = handle.fileno()

    def read(self, out: Voxels, plane: int, position: int, corner: Corner, wanted: list[tuple[int, int]]) -> None:
        """Fill `out`, axes (y, x, c), starting at `corner`; `wanted` pairs a channel of `out` with a sample of the plane."""
        page = PAGES.get(self._file, position, lambda: self._parsed(plane, position))
        down, across = math.ceil(page.height / page.rows), math.ceil(page.width / page.columns)
        y_end, x_end = corner.y + out.shape[0], corner.x + out.shape[1]
        for sample in range(page.separate):
            mine = wanted if page.separate == 1 else [(target, 0) for target, source in wanted if source == sample]
            for row in range(corner.y // page.rows, math.ceil(y_end / page.rows) if mine else 0):
                for column in range(corner.x // page.columns, math.ceil(x_end / page.columns)):
                    top, left = row * page.rows, column * page.columns
                    least = (min(page.rows, page.height - top), min(page.columns, page.width - left), page.samples)
                    data = self._segment(page, (sample * down + row) * across + column, plane, least)
                    y = (max(top, corner.y), min(top + data.shape[0], y_end, page.height))
                    x = (max(left, corner.x), min(left + data.shape[1], x_end, page.width))
                    for target, source in mine:
                        out[y[0] - corner.y : y[1] - corner.y, x[0] - corner.x : x[1] - corner.x, target] = data[
                            y[0] - top : y[1] - top, x[0] - left : x[1] - left, source
                        ]

    def _parsed(self, plane: int, position: int) -> Page:
        try:
            tiff = open_tiff(self._handle)
        except Exception as error:
            raise UnreadableInput(f"not a readable TIFF file: {_reason(error)}", where=self._file.path, fix="replace the file") from None
        try:
            page = Page.of(parse_page(tiff, position, plane))
        except Exception as error:
            raise UnreadableInput(
                f"page {plane + 1} cannot be read: {_reason(error)}", where=self._file.path, fix="replace the file"
            ) from None
        expected, samples = self._file.sizes, self._file.layout["samples"]
        found = (page.height, page.width, page.separate * page.samples, page.dtype)
        if found != (expected.y, expected.x, samples, self._file.dtype):
            text = f"{found[1]}×{found[0]} pixels, {found[2]} samples of {found[3]}"
            wanted = f"{expected.x}×{expected.y} pixels, {samples} samples of {self._file.dtype}"
            raise UnreadableInput(
                where=f"{self._file.path}: page {plane + 1}",
                found=text,
                expected=f"{wanted} like the first",
                fix="save the pages as separate files",
            )
        return page

    def _segment(self, page: Page, index: int, plane: int, least: tuple[int, int, int]) -> Voxels:
        """Return one decoded strip or tile, axes (y, x, samples), of at least the given shape."""
        offset, count = int(page.offsets[index]), int(page.counts[index])
        if offset == count == 0:
            return np.full(least, page.fill, page.dtype)
        problem = "is cut off"
        try:
            encoded = os.pread(self._descriptor, count, offset)
            if len(encoded) == count:
                if page.is_jpeg:
                    check_jpeg(encoded, page.jpeg["jpegtables"] or page.jpeg["jpegheader"])
                data, _, _ = page.decode(encoded, index, **page.jpeg)
                if data is not None and all(found >= wanted for found, wanted in zip(data.shape[1:], least, strict=True)):
                    decoded: Voxels = data[0]
                    return decoded
                problem = f"has decoded to {'nothing' if data is None else data.shape[1:]}, expected {least}"
        except MemoryError:
            raise
        except Exception as error:  # codecs have their own exception classes
            problem = f"cannot be decoded: {_reason(error)}"
        kind = "tile" if page.is_tiled else "strip"
        raise UnreadableInput(f"{kind} {index + 1} of page {plane + 1} {problem}", where=self._file.path, fix="replace the file") from None


def _reason(error: Exception) -> str:
    """Return an error's text for use within a message."""
    return one_line(error, 200) or type(error).__name__
