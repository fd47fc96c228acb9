"""Read TIFF: stacks of pages, ImageJ and OME hyperstacks, RGB; strips and tiles outside of the requested box are not decoded.

Uncompressed planes are read by position without a parser. All others are decoded segment (strip or tile) by segment. Palette images
are read as their index values, and bilevel images as bool.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wkpipe.errors import UnreadableInput
from wkpipe.images.reader import Corner, ImageFile, ReadOptions, opened, reopened
from wkpipe.images.readers.tiff_layout import inspect_tiff
from wkpipe.images.readers.tiff_segments import CodedPlanes
from wkpipe.images.source import Voxels

RAW_BLOCK_BYTES = 4 << 20


class TiffReader:
    """Reads TIFF, BigTIFF, ImageJ and OME-TIFF files."""

    name = "tiff"

    def inspect(self, path: Path, how: ReadOptions) -> list[ImageFile]:
        with opened(path) as (handle, stat):
            return inspect_tiff(path, handle, stat.st_size, stat.st_mtime_ns, how)

    def read_into(self, out: Voxels, file: ImageFile, corner: Corner, channels: Sequence[int]) -> None:
        samples = file.layout["samples"]
        step_t, step_c, step_z = file.layout["steps"]
        with _OpenedPlanes(file) as planes:
            # One plane has `samples` channels; the layer's channels may be in several planes.
            for z in range(out.shape[0]):
                for plane in sorted({c // samples for c in channels}):
                    wanted = [(i, c % samples) for i, c in enumerate(channels) if c // samples == plane]
                    number = corner.t * step_t + plane * step_c + (corner.z + z) * step_z
                    planes.of(number).read(out[z], number, _position(file.layout, number), corner, wanted)


class _OpenedPlanes(contextlib.ExitStack):
    """The planes of an image, whose files are opened when the first plane in each is read."""

    def __init__(self, file: ImageFile) -> None:
        super().__init__()
        self._file = file
        self._numbers = file.layout.get("in")
        self._opened: dict[int, _RawPlanes | CodedPlanes] = {}

    def of(self, plane: int) -> _RawPlanes | CodedPlanes:
        """Return the planes of the file that has a plane."""
        number = 0 if self._numbers is None else self._numbers[plane]
        if number not in self._opened:
            file = self._file
            if number:
                part = file.parts[number - 1]
                file = replace(file, path=part.path, size=part.size, mtime_ns=part.mtime_ns)
            handle = self.enter_context(reopened(file))
            self._opened[number] = _RawPlanes(file, handle) if file.layout["raw"] else CodedPlanes(file, handle)
        return self._opened[number]


def _position(layout: Any, plane: int) -> int:
    """Return the position of a plane (or of its directory), which is listed, or at a constant distance from the last one."""
    return int(layout["at"][plane]) if "at" in layout else int(layout["first"]) + plane * int(layout["step"])


class _RawPlanes:
    """Uncompressed planes whose rows are contiguous in the file."""

    def __init__(self, file: ImageFile, handle: BinaryIO) -> None:
        self._file = file
        self._descriptor = handle.fileno()
        self._dtype = np.dtype(file.dtype).newbyteorder(file.layout["order"])

    def read(self, out: Voxels, _: int, position: int, corner: Corner, wanted: list[tuple[int, int]]) -> None:
        """Fill `out`, axes (y, x, c), starting at `corner`; `wanted` pairs a channel of `out` with a sample of the plane."""
        layout, sizes = self._file.layout, self._file.sizes
        samples, item = layout["samples"], self._dtype.itemsize
        if layout["planar"] and samples > 1:
            for target, sample in wanted:
                self._rows(out, position + sample * sizes.y * sizes.x * item, corner, 1, [(target, 0)])
        else:
            self._rows(out, position, corner, samples, wanted)

    def _rows(self, out: Voxels, start: int, corner: Corner, samples: int, wanted: list[tuple[int, int]]) -> None:
        width = self._file.sizes.x
        row_bytes = width * samples * self._dtype.itemsize
        targets, sources = [target for target, _ in wanted], [sample for _, sample in wanted]
        is_whole = out.shape[1:] == (width, samples) and targets == sources == list(range(samples)) and out.flags.c_contiguous
        block = max(1, RAW_BLOCK_BYTES // row_bytes)
        for y in range(0, out.shape[0], block):
            rows = min(block, out.shape[0] - y)
            piece = out[y : y + rows]
            raw = piece if is_whole else np.empty((rows, width, samples), self._dtype)
            self._fill(raw, start + (corner.y + y) * row_bytes)
            if not is_whole:
                piece[:, :, targets] = raw[:, corner.x : corner.x + out.shape[1], sources]
            elif not self._dtype.isnative:
                piece.byteswap(inplace=True)

    def _fill(self, array: Voxels, offset: int) -> None:
        """Fill an array with the bytes at `offset` of the file."""
        view, done = array.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                raise UnreadableInput(
                    f"ends at byte {offset + done}, in the middle of its image data", where=self._file.path, fix="replace the file"
                )
            done += count


READER = TiffReader()
