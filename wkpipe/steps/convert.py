"""Convert images to units of the finest mag as a stream: read boxes of whole blocks, write encoded chunks.

`engine/blocks.py` divides the work into cubes, so that each block of the images is decoded once, even if several units share it. The
chunks of a unit are written slice by slice: z, then y, then x.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from wkpipe.engine.blocks import BlockCut, ImageCube, Share, UnitGroup
from wkpipe.engine.ordered import ordered_map
from wkpipe.formats.base import EncodedChunks, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import has_any
from wkpipe.geometry import Vec3Int
from wkpipe.images import BlockSource
from wkpipe.images.cached import window
from wkpipe.images.source import SourceBox
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.storage.scratch import Scratch

Read = Callable[[SourceBox], Voxels]
Number = int | float


@dataclass(frozen=True)
class ConvertedUnit:
    """A committed unit, with its smallest and largest finite voxel value (None: no such voxel)."""

    unit: Position
    proof: UnitProof
    lowest: Number | None
    highest: Number | None


@dataclass(frozen=True)
class _EncodedShare:
    """The encoded chunks of one unit in a cube, with their smallest and largest finite voxel (empty: no such voxel)."""

    share: Share
    chunks: EncodedChunks
    extremes: Sequence[Number]


@dataclass
class _OpenUnit:
    """A unit that is being written; chunks of a row of cubes wait until they can be sorted."""

    writer: UnitWriter
    axes: tuple[str, ...]
    waiting: list[EncodedChunks] = field(default_factory=list)
    extremes: Sequence[Number] = ()

    def add(self, encoded: _EncodedShare) -> None:
        self.waiting.append(encoded.chunks)
        found = [*self.extremes, *encoded.extremes]
        self.extremes = [min(found), max(found)] if found else []
        if encoded.share.ends_row:
            self.writer.append_all(self.waiting[0] if len(self.waiting) == 1 else _joined(self.waiting, self.axes))
            self.waiting = []

    def commit(self, unit: Position) -> ConvertedUnit:
        lowest, highest = self.extremes or (None, None)
        return ConvertedUnit(unit, self.writer.commit(), lowest, highest)


def convert_units(
    plan: MagPlan,
    source: BlockSource,
    target: StoredArray,
    units: Sequence[Position],
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None] = lambda _: None,
) -> Iterator[ConvertedUnit]:
    """Convert images to units, and yield each unit once it is committed.

    `on_voxels` is called with the number of voxels that were made since its last call.

    Raises:
        UnreadableInput: an image cannot be decoded; names the file.
        NotWritable: the disk is full or read-only.
    """
    if not units:
        return
    cut = BlockCut(plan.spec, plan.box, source)
    # Each unit has its own writer; any of them can encode the chunks of all units.
    encoder = _Encoder(cut, source, target.unit_writer(units[0], scratch))
    results = _direct if cut.step is None else _windowed
    opened: dict[Position, _OpenUnit] = {}
    try:
        with contextlib.closing(results(cut.groups(units), encoder, threads, scratch)) as cubes:
            for share in (share for shares in cubes for share in shares):
                unit = share.share.unit
                if unit not in opened:
                    opened[unit] = _OpenUnit(target.unit_writer(unit, scratch), plan.spec.axes)
                opened[unit].add(share)
                on_voxels(len(share.chunks.sizes) * cut.chunk.prod())
                if share.share.ends_unit:
                    yield opened[unit].commit(unit)
                    del opened[unit]
    finally:
        for left in opened.values():
            left.writer.discard()


Results = Generator[list[_EncodedShare], None, None]


def _direct(groups: Iterable[UnitGroup], encoder: _Encoder, threads: int, _: Scratch) -> Results:
    """Read and encode cube by cube; each cube has whole blocks."""
    read = encoder.source.read
    cubes = ((group, cube) for group in groups for cube in group.cubes())
    yield from ordered_map(lambda each: encoder.encode(each[0], each[1], read), cubes, threads)


def _windowed(groups: Iterable[UnitGroup], encoder: _Encoder, threads: int, scratch: Scratch) -> Results:
    """Decode rows of blocks, plane by plane, then encode the cubes in them."""
    for group in groups:
        for z in group.layers:
            yield from _layer(group, z, encoder, threads, scratch)


def _layer(group: UnitGroup, z: int, encoder: _Encoder, threads: int, scratch: Scratch) -> Results:
    """Move a window down one layer of chunks; it is closed before the window of the next layer is opened."""
    cut, source = encoder.cut, encoder.source
    assert cut.step is not None

    def each(function: Callable[[int], None], numbers: Iterable[int]) -> None:
        for _ in ordered_map(function, numbers, threads):
            pass

    # Rows are those of the mag, except in the window, whose rows are those of the source.
    top, blocks = cut.box.first.y, cut.axes[1]
    row = group.first.y // cut.chunk.y * cut.chunk.y
    planes = cut.in_source(group.first.with_z(max(z, group.first.z)), group.end.with_z(min(z + cut.chunk.z, group.end.z)), group.time)
    end = blocks.border(group.first.y)
    with window(source, planes, cut.window_rows, cut.is_in_memory, scratch) as rows:
        encode = functools.partial(encoder.encode, group, read=rows.read)
        while end < group.end.y:
            end = min(blocks.border(end + cut.step), group.end.y)
            rows.move(max(row, group.first.y) - top, end - top, each)
            ready = end if end == group.end.y else end // cut.chunk.y * cut.chunk.y
            yield from ordered_map(encode, group.cubes_between(z, row, ready), threads)
            row = ready


class _Encoder:
    """Encodes the cubes of one mag."""

    def __init__(self, cut: BlockCut, source: BlockSource, writer: UnitWriter) -> None:
        self.cut, self.source, self._writer = cut, source, writer

    def encode(self, group: UnitGroup, cube: ImageCube, read: Read) -> list[_EncodedShare]:
        """Read a cube and encode its share of each unit."""
        voxels = read(self.cut.in_source(cube.first, cube.end, group.time))
        return [self._encode(share, cube.first, voxels) for share in cube.shares]

    def _encode(self, share: Share, corner: Vec3Int, voxels: Voxels) -> _EncodedShare:
        first, shape = share.grid.region(share.cube)
        low = first - corner
        part = voxels[..., low.z : low.z + shape.z, low.y : low.y + shape.y, low.x : low.x + shape.x]
        extremes = _finite_extremes(part)
        positions = share.grid.raster_positions(share.cube)
        if not any(extremes) and not has_any(part):  # the extremes do not include NaN and infinities
            return _EncodedShare(share, EncodedChunks.fill(positions), extremes)
        chunks = share.grid.whole_chunks(share.cube, self._with_axes(part))
        return _EncodedShare(share, self._writer.encode_grid(chunks, positions - positions[0], positions), extremes)

    def _with_axes(self, voxels: Voxels) -> Voxels:
        """Transpose (t, c, z, y, x), of one point in time, to the array's other axes, then x, y, z."""
        axes = self.cut.spec.axes
        present = [axis for axis in "tc" if axis in axes]
        order = [present.index(axis) for axis in axes if axis in present]
        given = voxels[tuple(slice(None) if axis in present else 0 for axis in "tc")]
        n = len(order)
        return given.transpose(*order, n + 2, n + 1, n)


def _joined(pieces: Sequence[EncodedChunks], axes: Sequence[str]) -> EncodedChunks:
    """Join the chunks of several cubes in one order: z, then y, then x."""
    positions = np.concatenate([piece.positions for piece in pieces])
    order = np.lexsort([positions[:, axes.index(axis)] for axis in "xyz"])
    every = [each for piece in pieces for each in piece.each()]
    found = [every[i] for i in order.tolist()]
    data, digests = b"".join(each[1] or b"" for each in found), b"".join(each[2] or b"" for each in found)
    return EncodedChunks(positions[order], np.concatenate([piece.sizes for piece in pieces])[order], data, digests)


def _finite_extremes(voxels: Voxels) -> Sequence[Number]:
    """Return the smallest and the largest finite voxel; empty if there is none."""
    if voxels.dtype.kind == "f":
        finite = voxels[np.isfinite(voxels)]
        return (float(finite.min()), float(finite.max())) if finite.size else ()
    return (int(voxels.min()), int(voxels.max())) if voxels.size else ()
