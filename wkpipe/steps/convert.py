"""Write units of the finest mag from images, streaming: bands of image rows in, encoded chunks out, in z-major order.

Units that lie side by side (same z) are written together, so that every image is read once however many units share
it. A band is one row of chunks high and one chunk deep; formats that can only be decoded whole (PNG, JPEG, TIFF in a
single compressed strip) are decoded once per chunk layer, into memory where they fit, else into a nameless file.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.base import EncodedChunks, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import has_any
from wkpipe.geometry import Vec3Int
from wkpipe.images import ImageStack
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.memory import PLANE_BUFFER_BYTES, band_rows
from wkpipe.steps.ordered import ordered_map
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch
from wkpipe.stored.axes import spatial, with_spatial, xyz_restored


@dataclass(frozen=True)
class ConvertedUnit:
    """A unit that was committed, with the smallest and largest finite voxel value in it (None: no such voxel)."""

    unit: Position
    proof: UnitProof
    lowest: int | float | None
    highest: int | float | None


def convert_units(
    plan: MagPlan,
    stack: ImageStack,
    target: StoredArray,
    units: Sequence[Position],
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
) -> Iterator[ConvertedUnit]:
    """Write units from images and yield them as they are committed.

    `on_voxels` is told how many voxels were made since the last call.

    Raises:
        UnreadableInput: an image can not be decoded; names the file.
        NotWritable: the disk is full or read-only.
    """

    def layer(unit: Position) -> tuple[int, ...]:
        return tuple(n for axis, n in zip(plan.spec.axes, unit, strict=True) if axis not in ("x", "y"))

    for _, together in itertools.groupby(units, key=layer):
        with contextlib.ExitStack() as cleanup:
            writers = [_OpenUnit(plan, unit, cleanup.enter_context(target.unit_writer(unit, scratch))) for unit in together]
            _fill_layer(plan, stack, writers, threads, scratch, on_voxels)
            for writer in writers:
                yield writer.commit()


class _OpenUnit:
    """A unit that is being written."""

    def __init__(self, plan: MagPlan, unit: Position, writer: UnitWriter) -> None:
        self.unit, self.writer = unit, writer
        self.first, self.end = plan.unit_box(unit)
        self.origin = spatial(plan.spec, unit) * spatial(plan.spec, plan.spec.unit_shape)
        self._range: list[int | float] = []

    def note(self, lowest: int | float | None, highest: int | float | None) -> None:
        if lowest is not None and highest is not None:
            self._range = [min([lowest, *self._range]), max([highest, *self._range])]

    def commit(self) -> ConvertedUnit:
        lowest, highest = self._range or (None, None)
        return ConvertedUnit(self.unit, self.writer.commit(), lowest, highest)


@dataclass(frozen=True)
class _Band:
    """Some rows (first, end) of some slices (first, end) of the images, at one time point."""

    time: int
    slices: tuple[int, int]
    rows: tuple[int, int]


@dataclass(frozen=True)
class _EncodedBand:
    chunks: list[tuple[_OpenUnit, EncodedChunks]]
    ranges: list[tuple[_OpenUnit, int | float | None, int | float | None]]


def _fill_layer(
    plan: MagPlan, stack: ImageStack, writers: list[_OpenUnit], threads: int, scratch: Scratch, on_voxels: Callable[[int], None]
) -> None:
    """Stream all images of one layer of units into their writers."""
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    time = dict(zip(plan.spec.axes, writers[0].unit, strict=True)).get("t", 0)
    first_y, end_y = min(w.first.y for w in writers), max(w.end.y for w in writers)
    first_z, end_z = writers[0].first.z, writers[0].end.z
    step = band_rows(plan, stack)
    for z in range(first_z // chunk.z * chunk.z, end_z, chunk.z):
        slices = (max(z, first_z), min(z + chunk.z, end_z))
        rows = range(first_y // chunk.y * chunk.y, end_y, step)
        bands = [_Band(time, slices, (max(y, first_y), min(y + step, end_y))) for y in rows]
        _fill_bands(plan, stack, bands, writers, threads, scratch, on_voxels)


def _fill_bands(
    plan: MagPlan,
    stack: ImageStack,
    bands: list[_Band],
    writers: list[_OpenUnit],
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None],
) -> None:
    """Encode the bands of one layer of chunks; decoded planes end with this function, before those of the next layer begin."""
    chunk_voxels = spatial(plan.spec, plan.spec.chunk_shape).prod()
    with _rows_reader(stack, bands[0].time, bands[0].slices, threads, scratch) as read:
        for encoded in ordered_map(lambda band: _encode_band(plan, read(band), band, writers), bands, threads):
            for unit, chunks in encoded.chunks:
                unit.writer.append_all(chunks)
                on_voxels(len(chunks.sizes) * chunk_voxels)
            for unit, lowest, highest in encoded.ranges:
                unit.note(lowest, highest)


@contextlib.contextmanager
def _rows_reader(stack: ImageStack, time: int, slices: tuple[int, int], threads: int, scratch: Scratch) -> Iterator[Any]:
    """Give a function that returns the voxels (z, y, x, c) of a band of these slices."""
    if not stack.whole_planes:
        yield lambda band: stack.read(time, *band.slices, *band.rows)
        return
    shape = (slices[1] - slices[0], stack.sizes.y, stack.sizes.x, stack.sizes.c)
    size = math.prod(shape) * stack.dtype.itemsize
    descriptor = -1
    planes: Voxels
    if size > PLANE_BUFFER_BYTES:
        descriptor = scratch.unlinked_file()
        disk.reserve(descriptor, size, scratch.directory)
        with os.fdopen(os.dup(descriptor), "r+b") as file:
            planes = np.memmap(file, dtype=stack.dtype, mode="r+", shape=shape)
    else:
        planes = np.empty(shape, dtype=stack.dtype)

    def decode(z: int) -> None:
        planes[z - slices[0]] = stack.read(time, z, z + 1, 0, stack.sizes.y)[0]

    try:
        for _ in ordered_map(decode, range(*slices), threads):
            pass
        yield lambda band: planes[:, band.rows[0] : band.rows[1]]
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _encode_band(plan: MagPlan, voxels: Voxels, band: _Band, writers: list[_OpenUnit]) -> _EncodedBand:
    """Encode all chunks of a band: `voxels` are (z, y, x, c), the whole width of the images."""
    chunk = spatial(plan.spec, plan.spec.chunk_shape)
    result = _EncodedBand([], [])
    for unit in writers:
        rows = range(max(band.rows[0], unit.first.y), min(band.rows[1], unit.end.y))
        if not rows:
            continue
        part = voxels[:, rows[0] - band.rows[0] : rows[-1] + 1 - band.rows[0], unit.first.x : unit.end.x]
        lowest, highest = _finite_range(part)
        is_empty = lowest == highest == 0 and not has_any(part)  # NaN and infinities are not in the range
        result.ranges.append((unit, lowest, highest))
        low = Vec3Int(unit.first.x, rows[0], band.slices[0]) - unit.origin
        high = Vec3Int(unit.end.x, rows[-1] + 1, band.slices[1]) - unit.origin
        corner, end = low // chunk, high.ceildiv(chunk)
        cells = np.zeros(((end - corner).prod(), len(plan.spec.axes)), np.int64)
        for axis, places in zip("zyx", np.indices(tuple(reversed(end - corner))), strict=True):
            cells[:, plan.spec.axes.index(axis)] = places.ravel()
        positions = cells + np.array(with_spatial(plan.spec, [0] * len(plan.spec.axes), corner))
        if is_empty:
            encoded = EncodedChunks.fill(positions)
        else:
            whole = _padded(part, low - corner * chunk, (end - corner) * chunk)
            encoded = unit.writer.encode_grid(_in_array_order(plan, whole), cells, positions)
        result.chunks.append((unit, encoded))
    return result


def _padded(voxels: Voxels, at: Vec3Int, shape: Vec3Int) -> Voxels:
    """Put voxels (z, y, x, c) into a box of a shape (x, y, z) at a place; zeros around them."""
    if tuple(reversed(shape)) == voxels.shape[:3]:
        return voxels
    padded = np.zeros((*reversed(shape), voxels.shape[3]), dtype=voxels.dtype)
    padded[tuple(slice(a, a + n) for a, n in zip(reversed(at), voxels.shape[:3], strict=True))] = voxels
    return padded


def _in_array_order(plan: MagPlan, block: Voxels) -> Voxels:
    """Turn (z, y, x, c) into the array's axes."""
    cxyz = block.transpose(3, 2, 1, 0)
    others = [axis for axis in plan.spec.axes if axis not in "xyz"]
    lead = [cxyz.shape[0] if axis == "c" else 1 for axis in others]
    voxels = xyz_restored(plan.spec, cxyz.reshape((*lead, *cxyz.shape[1:])))
    ordered: Voxels = np.asfortranarray(voxels, dtype=plan.spec.dtype)
    return ordered


def _finite_range(voxels: Voxels) -> tuple[int | float | None, int | float | None]:
    if voxels.dtype.kind == "f":
        finite = voxels[np.isfinite(voxels)]
        return (float(finite.min()), float(finite.max())) if finite.size else (None, None)
    return (int(voxels.min()), int(voxels.max())) if voxels.size else (None, None)
