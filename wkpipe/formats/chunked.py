"""What the native formats share: arrays made of chunks, read region by region, proven file by file."""

from __future__ import annotations

import dataclasses
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c

from wkpipe.errors import DamagedShard
from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitFacts, UnitProof, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.codecs import CodecError
from wkpipe.formats.file_names import FileNames
from wkpipe.formats.open_files import Damage, OpenFile, damaged_chunk, status_of, unreadable

_READ_PIECE = 4 << 20


def cells_between(start: Sequence[int], end: Sequence[int], cell: Sequence[int]) -> Iterator[Position]:
    """Yield the positions of the cells of a grid that overlap the voxels from `start` to `end`, first axis fastest."""
    ranges = [range(a // c, -(-b // c)) if b > a else range(0) for a, b, c in zip(start, end, cell, strict=True)]
    return (position[::-1] for position in itertools.product(*reversed(ranges)))


def checked_region(spec: ArraySpec, start: Sequence[int], shape: Sequence[int]) -> tuple[Position, Position]:
    """Return a region's first and end position as plain ints.

    Raises:
        ValueError: a negative start or size, or not one value per axis.
    """
    if len(start) != len(spec.axes) or len(shape) != len(spec.axes):
        raise ValueError(f"a region of axes {spec.axes} needs {len(spec.axes)} values, not {tuple(start)} and {tuple(shape)}")
    first, size = tuple(map(int, start)), tuple(map(int, shape))
    if min(first, default=0) < 0 or min(size, default=0) < 0:
        raise ValueError(f"a region starts at 0 or later and has no negative size, not start {first} and shape {size}")
    return first, tuple(a + n for a, n in zip(first, size, strict=True))


def prove_file(path: str) -> tuple[int, int, int] | None:
    """Return a file's size, CRC-32C and mtime in nanoseconds, None where there is no file."""
    if status_of(path) is None:
        return None
    crc = 0
    try:
        file = OpenFile(path)
        for offset in range(0, file.size, _READ_PIECE):
            crc = google_crc32c.extend(crc, file.read(offset, min(_READ_PIECE, file.size - offset)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    except Damage as error:
        raise DamagedShard(f"{path}: {error}; it changed while it was read") from error
    return file.size, crc, file.stat.st_mtime_ns


class ChunkedArray(StoredArray):
    """An array whose chunks wkpipe decodes itself.

    `is_bounded` tells whether what lies beyond `spec.shape` is cut off (Zarr) or counts as well (WKW, which has no
    shape on disk).
    """

    def __init__(self, path: Path, spec: ArraySpec, coder: ChunkCoder, names: FileNames, is_bounded: bool = True) -> None:
        super().__init__(path, spec)
        self.coder = coder
        self.names = names
        self.is_bounded = is_bounded

    def _clipped(self, end: Position) -> Position:
        """Return `end`, cut off at the array's shape."""
        return tuple(map(min, end, self.spec.shape)) if self.is_bounded else end

    @abstractmethod
    def _chunks(self, start: Position, end: Position) -> Iterator[tuple[str, Position, Voxels]]:
        """Yield path, position (in chunks) and voxels of the stored chunks that overlap a region (end after start)."""

    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        first, end = checked_region(self.spec, start, shape)
        out = self.coder.filled(shape)
        end = self._clipped(end)
        chunk_shape = self.spec.chunk_shape
        for _, position, voxels in self._chunks(first, end):
            target, source = [], []
            for p, c, a, b in zip(position, chunk_shape, first, end, strict=True):
                lo = p * c
                hi = lo + c
                if lo < a:
                    target.append(slice(0, min(hi, b) - a))
                    source.append(slice(a - lo, min(hi, b) - lo))
                elif hi > b:
                    target.append(slice(lo - a, b - a))
                    source.append(slice(0, b - lo))
                else:
                    target.append(slice(lo - a, hi - a))
                    source.append(slice(None))
            out[tuple(target)] = voxels[tuple(source)]
        return out

    # -- units --------------------------------------------------------------------------------------------------

    def _checked_unit(self, unit: Sequence[int]) -> Position:
        position = tuple(map(int, unit))
        if len(position) != len(self.spec.axes) or min(position) < 0:
            raise ValueError(f"{self.path}: no unit at {position}: its axes are {self.spec.axes}")
        return position

    def _unit_region(self, unit: Position) -> tuple[Position, Position]:
        """Return the first and end voxel of a unit."""
        shape = self.spec.unit_shape
        return tuple(u * n for u, n in zip(unit, shape, strict=True)), tuple((u + 1) * n for u, n in zip(unit, shape, strict=True))

    def _writable_unit(self, unit: Sequence[int]) -> Position:
        position = self._checked_unit(unit)
        if self.is_bounded and any(u >= n for u, n in zip(position, self.spec.unit_grid, strict=True)):
            raise ValueError(f"{self.path}: no unit at {position}: the array has {self.spec.unit_grid} of them")
        return position

    def check_unit(self, unit: Sequence[int]) -> None:
        first, end = self._unit_region(self._checked_unit(unit))
        for _ in self._chunks(first, end):
            pass

    def _decoded(self, path: str, position: Position, data: bytes) -> Voxels:
        try:
            return self.coder.decode(data)
        except CodecError as error:
            raise damaged_chunk(path, position, error) from error

    def _set_shape(self, shape: Sequence[int]) -> None:
        self.spec = dataclasses.replace(self.spec, shape=tuple(map(int, shape)))


FILL_PROOF = UnitProof(files=0, size=0, crc32c=0, mtime_ns=0)


def facts_of(paths: Sequence[str]) -> UnitFacts | None:
    """Return what can be seen of some files; those that are gone do not count."""
    stats = [status for path in paths if (status := status_of(path)) is not None]
    if not stats:
        return None
    return UnitFacts(len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats))
