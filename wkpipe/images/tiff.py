"""TIFF: stacks of pages, ImageJ and OME hyperstacks, RGB; strips and tiles outside the wanted rows are not decoded.

Uncompressed planes are read by position without a parser; all else is decoded segment (strip or tile) by segment. Palette images
are read as their index values, and bilevel ones are of dtype bool. Of a file with several series, the first is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from wkpipe.errors import UnreadableInput, one_line
from wkpipe.images.reader import ImageFile, Voxels, has_extension, opened, reopened
from wkpipe.images.tiff_layout import inspect_tiff

if TYPE_CHECKING:
    import tifffile

RAW_BLOCK_BYTES = 4 << 20


class TiffReader:
    """Reads TIFF, BigTIFF, ImageJ and OME-TIFF files."""

    name = "tiff"
    extensions = ("tif", "tiff")

    def accepts(self, path: Path, is_dir: bool) -> bool:
        return not is_dir and has_extension(path, self.extensions)

    def inspect(self, path: Path) -> ImageFile:
        with opened(path) as (handle, stat):
            facts = inspect_tiff(path, handle, stat.st_size)
        return ImageFile(path=path, size=stat.st_size, mtime_ns=stat.st_mtime_ns, reader=self.name, **facts)

    def read_into(self, out: Voxels, file: ImageFile, t: int, z0: int, y0: int, channels: Sequence[int]) -> None:
        with reopened(file) as handle:
            planes = _RawPlanes(file, handle) if file.layout["raw"] else _CodedPlanes(file, handle)
            samples = file.layout["samples"]
            step_t, step_c, step_z = file.layout["steps"]
            # one plane holds `samples` channels; the layer's channels may lie in several planes
            for z in range(out.shape[0]):
                for plane in sorted({c // samples for c in channels}):
                    wanted = [(i, c % samples) for i, c in enumerate(channels) if c // samples == plane]
                    number = t * step_t + plane * step_c + (z0 + z) * step_z
                    planes.read(out[z], number, y0, wanted)


def _position(layout: Any, plane: int) -> int:
    """Return where a plane (or its directory) starts: listed one by one, or at even steps from the first."""
    return int(layout["at"][plane]) if "at" in layout else int(layout["first"]) + plane * int(layout["step"])


class _RawPlanes:
    """Uncompressed planes whose rows follow each other in the file."""

    def __init__(self, file: ImageFile, handle: BinaryIO) -> None:
        self._file = file
        self._descriptor = handle.fileno()
        self._dtype = np.dtype(file.dtype).newbyteorder(file.layout["order"])

    def read(self, out: Voxels, plane: int, y0: int, wanted: list[tuple[int, int]]) -> None:
        """Fill `out`, axes (y, x, c), with rows from `y0` on; `wanted` pairs a channel of `out` with a sample of the plane."""
        layout, sizes = self._file.layout, self._file.sizes
        start, samples, item = _position(layout, plane), layout["samples"], self._dtype.itemsize
        if layout["planar"] and samples > 1:
            for target, sample in wanted:
                self._rows(out, start + sample * sizes.y * sizes.x * item, y0, 1, [(target, 0)])
        else:
            self._rows(out, start, y0, samples, wanted)

    def _rows(self, out: Voxels, start: int, y0: int, samples: int, wanted: list[tuple[int, int]]) -> None:
        row_bytes = self._file.sizes.x * samples * self._dtype.itemsize
        targets, sources = [target for target, _ in wanted], [sample for _, sample in wanted]
        whole = targets == sources == list(range(samples)) and out.shape[2] == samples and out.flags.c_contiguous
        block = max(1, RAW_BLOCK_BYTES // row_bytes)
        for y in range(0, out.shape[0], block):
            rows = min(block, out.shape[0] - y)
            piece = out[y : y + rows]
            raw = piece if whole else np.empty((rows, self._file.sizes.x, samples), self._dtype)
            self._fill(raw, start + (y0 + y) * row_bytes)
            if not whole:
                piece[:, :, targets] = raw[:, :, sources]
            elif not self._dtype.isnative:
                piece.byteswap(inplace=True)

    def _fill(self, array: Voxels, offset: int) -> None:
        """Read just as many bytes as the array has into its memory."""
        view, done = array.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                raise UnreadableInput(f"{self._file.path}: ends at byte {offset + done}, in the middle of its image data; replace the file")
            done += count


class _CodedPlanes:
    """Planes of strips or tiles that a codec has to open."""

    def __init__(self, file: ImageFile, handle: BinaryIO) -> None:
        import tifffile

        self._file = file
        self._descriptor = handle.fileno()
        try:
            self._tiff = tifffile.TiffFile(handle)
        except Exception as error:
            raise UnreadableInput(f"{file.path}: not a readable TIFF file: {_reason(error)}; replace the file") from None

    def read(self, out: Voxels, plane: int, y0: int, wanted: list[tuple[int, int]]) -> None:
        """Fill `out`, axes (y, x, c), with rows from `y0` on; `wanted` pairs a channel of `out` with a sample of the plane."""
        page = self._page(plane)
        separate, _, height, width, samples = page.shaped
        high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
        down, across = math.ceil(height / high), math.ceil(width / wide)
        for sample in range(separate):
            mine = wanted if separate == 1 else [(target, 0) for target, source in wanted if source == sample]
            for row in range(y0 // high, math.ceil((y0 + out.shape[0]) / high) if mine else 0):
                for column in range(across):
                    top, left = row * high, column * wide
                    least = (min(high, height - top), min(wide, width - left), samples)
                    data = self._segment(page, (sample * down + row) * across + column, plane, least)
                    first, last = max(top, y0), min(top + data.shape[0], y0 + out.shape[0], height)
                    right = min(left + data.shape[1], width)
                    for target, source in mine:
                        out[first - y0 : last - y0, left:right, target] = data[first - top : last - top, : right - left, source]

    def _page(self, plane: int) -> tifffile.TiffPage:
        import tifffile

        try:
            self._tiff.filehandle.seek(_position(self._file.layout, plane))
            page = tifffile.TiffPage(self._tiff, plane)
        except Exception as error:
            raise UnreadableInput(f"{self._file.path}: page {plane + 1} can not be read: {_reason(error)}; replace the file") from None
        expected, samples = self._file.sizes, self._file.layout["samples"]
        found = (page.shaped[2], page.shaped[3], page.shaped[0] * page.shaped[4], str(page.dtype))
        if found != (expected.y, expected.x, samples, self._file.dtype):
            text = f"{found[1]}×{found[0]} pixels, {found[2]} samples of {found[3]}"
            wanted = f"{expected.x}×{expected.y} pixels, {samples} samples of {self._file.dtype}"
            raise UnreadableInput(
                f"{self._file.path}: page {plane + 1} has {text}, expected {wanted} like the first; save the pages as own files"
            )
        return page

    def _segment(self, page: tifffile.TiffPage, index: int, plane: int, least: tuple[int, int, int]) -> Voxels:
        """Return one decoded strip or tile, axes (y, x, samples), of at least the given shape."""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        problem = "is cut off"
        try:
            encoded = os.pread(self._descriptor, count, offset)
            if len(encoded) == count:
                data, _, _ = page.decode(encoded, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
                if data is not None and all(found >= wanted for found, wanted in zip(data.shape[1:], least, strict=True)):
                    decoded: Voxels = data[0]
                    return decoded
                problem = f"has decoded to {'nothing' if data is None else data.shape[1:]}, expected {least}"
        except MemoryError:
            raise
        except Exception as error:  # codecs have exception classes of their own
            problem = f"can not be decoded: {_reason(error)}"
        kind = "tile" if page.is_tiled else "strip"
        raise UnreadableInput(f"{self._file.path}: {kind} {index + 1} of page {plane + 1} {problem}; replace the file") from None


def _reason(error: Exception) -> str:
    """Return an error's text for use within a message."""
    return one_line(error, 200) or type(error).__name__


READER = TiffReader()
