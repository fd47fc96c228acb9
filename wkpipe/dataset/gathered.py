"""GatheredWrites: many small writes to one mag that replace each storage shard only once.

Chunks that a write covers are encoded at once and wait in a temporary file without a name; of other chunks, the written voxels
wait there. When the writes are complete, each unit is replaced under its lock, as by any other write; chunks that nobody wrote to
are copied as they are stored. A crash before that loses the writes that wait, and leaves no file behind.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wkpipe.dataset.executors import cores_here
from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.voxel_writer import ChunkBox, put_chunks, replace_units, slices_between
from wkpipe.engine.ordered import ordered_map
from wkpipe.formats.base import Flags, Ints, Position, StoredArray, Voxels
from wkpipe.formats.chunked import ChunkedArray, cells_between
from wkpipe.formats.unit_update import UnitUpdate


@dataclass(frozen=True)
class _WaitingPart:
    """What waits for a chunk: its encoded bytes if `shape` is None (0 bytes for the fill value), else voxels from `low` on."""

    low: Position
    shape: Position | None
    at: int
    size: int


class GatheredWrites:
    """Writes to one mag that wait together. A context manager: leaving it forgets what still waits."""

    def __init__(self, mag: MagArray, array: StoredArray) -> None:
        """Begin without any writes.

        Raises:
            InputRefused: the array has a codec that wkpipe only reads.
        """
        scratch = mag.live.scratch()
        if not isinstance(array, ChunkedArray):
            array.unit_writer((0,) * len(array.spec.axes), scratch).discard()
            raise TypeError(f"{array.path}: cannot encode chunks of {type(array).__name__}")
        self._mag, self._array = mag, array
        self._waiting: dict[Position, dict[Position, list[_WaitingPart]]] = defaultdict(lambda: defaultdict(list))
        self._file = os.fdopen(scratch.unlinked_file(), "w+b")

    def __enter__(self) -> GatheredWrites:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, start: Position, data: Voxels) -> None:
        """Let a write wait: `data` from `start` on, in array order, in voxels of the mag. Later writes win over earlier ones."""
        spec = self._array.spec
        end = tuple(a + n for a, n in zip(start, data.shape, strict=True))

        def prepared(chunk: Position) -> tuple[Position, Position, Position | None, bytes]:
            corner = tuple(p * n for p, n in zip(chunk, spec.chunk_shape, strict=True))
            far = tuple(a + n for a, n in zip(corner, spec.chunk_shape, strict=True))
            low, high = tuple(map(max, corner, start)), tuple(map(min, far, end))
            voxels = data[slices_between(low, high, start)].astype(self._array.coder.dtype, copy=False)
            if voxels.shape == spec.chunk_shape:
                return chunk, low, None, self._array.coder.encode(voxels) or b""
            return chunk, low, voxels.shape, voxels.tobytes(order="F")

        for chunk, low, shape, content in ordered_map(prepared, cells_between(start, end, spec.chunk_shape), cores_here()):
            at = self._file.seek(0, 2)
            self._file.write(content)
            unit = tuple(p // n for p, n in zip(chunk, spec.chunks_per_unit, strict=True))
            waiting = self._waiting[unit][chunk]
            if shape is None:
                waiting.clear()
            waiting.append(_WaitingPart(low, shape, at, len(content)))

    def commit(self) -> None:
        """Replace every unit that a write touched, and forget the writes.

        Raises:
            DamagedShard, MissingShard, NotWritable, TryAgain: see `write_voxels`; units that were not replaced keep their old content.
        """
        if self._waiting:
            replace_units(self._mag, self._array, list(self._waiting), self._fill)
            self.forget()

    def forget(self) -> None:
        """Forget the writes that wait."""
        self._waiting.clear()
        self._file.seek(0)
        self._file.truncate()

    def _fill(self, update: UnitUpdate, unit: Position) -> ChunkBox:
        """Put all chunks of a unit into its update; return the box of the new ones."""
        self._mag.check_kept(self._array, unit, lambda start, end: self._covers(unit, start, end))
        base = tuple(u * n for u, n in zip(unit, self._array.spec.chunks_per_unit, strict=True))
        chunks = {tuple(p - b for p, b in zip(chunk, base, strict=True)): waiting for chunk, waiting in self._waiting[unit].items()}
        axes = list(zip(*chunks, strict=True))
        first, end = tuple(map(min, axes)), tuple(max(axis) + 1 for axis in axes)

        def is_new(block: Ints) -> Flags:
            return np.array([tuple(chunk) in chunks for chunk in block.tolist()], np.bool_)

        def encode(chunk: Position) -> bytes | None:
            return self._encoded(update, base, chunk, chunks[chunk])

        # One thread: all chunks wait in one file.
        put_chunks(update, update.positions(first, end), is_new, encode, self._array.spec.chunk_bytes, threads=1)
        return first, end

    def _covers(self, unit: Position, start: Position, end: Position) -> bool:
        """True if the writes that wait for a unit contain all voxels from `start` to `end`."""
        shape = self._array.spec.chunk_shape
        for chunk in cells_between(start, end, shape):
            low = tuple(max(p * n, a) for p, n, a in zip(chunk, shape, start, strict=True))
            high = tuple(min((p + 1) * n, b) for p, n, b in zip(chunk, shape, end, strict=True))
            kept = np.ones([b - a for a, b in zip(low, high, strict=True)], np.bool_)
            for part in self._waiting[unit].get(chunk, ()):
                kept[slices_between(part.low, [a + n for a, n in zip(part.low, part.shape or shape, strict=True)], low)] = False
            if kept.any():
                return False
        return True

    def _encoded(self, update: UnitUpdate, base: Position, chunk: Position, waiting: list[_WaitingPart]) -> bytes | None:
        if len(waiting) == 1 and waiting[0].shape is None:
            return self._content(waiting[0]) or None
        spec, coder = self._array.spec, self._array.coder
        corner = tuple((b + p) * n for b, p, n in zip(base, chunk, spec.chunk_shape, strict=True))
        if waiting[0].shape is None:
            content = self._content(waiting[0])
            voxels = coder.decode(content).copy(order="F") if content else coder.filled(spec.chunk_shape)
        else:
            voxels = self._array.read(corner, spec.chunk_shape)
        for low, part in self._parts(waiting):
            voxels[slices_between(low, [a + n for a, n in zip(low, part.shape, strict=True)], corner)] = part
        return update.encode(voxels.astype(coder.dtype, copy=False))

    def _parts(self, waiting: list[_WaitingPart]) -> Iterator[tuple[Position, Voxels]]:
        for part in waiting:
            if part.shape is not None:
                yield part.low, np.frombuffer(self._content(part), self._array.coder.dtype).reshape(part.shape, order="F")

    def _content(self, part: _WaitingPart) -> bytes:
        self._file.seek(part.at)
        return self._file.read(part.size)
