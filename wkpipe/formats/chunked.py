"""What the native formats share: arrays of chunks, read by region and proven by file."""

from __future__ import annotations

import dataclasses
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence

from wkpipe.formats.base import ArraySpec, Position, StoredArray, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.codecs import CodecError
from wkpipe.formats.fetched import BATCH_BYTES, FetchedRegion, Piece, boxes_of
from wkpipe.formats.file_names import FileNames
from wkpipe.formats.open_files import damaged_chunk
from wkpipe.storage.place import Place

READ_BYTES = 16 << 20
"""The voxels of one part of a large region, which is read part by part."""


def cells_between(start: Sequence[int], end: Sequence[int], cell: Sequence[int]) -> Iterator[Position]:
    """Yield the positions of the cells of a grid that overlap the voxels from `start` to `end`, first axis fastest."""
    ranges = [range(a // c, -(-b // c)) if b > a else range(0) for a, b, c in zip(start, end, cell, strict=True)]
    return (position[::-1] for position in itertools.product(*reversed(ranges)))


def checked_region(spec: ArraySpec, start: Sequence[int], shape: Sequence[int]) -> tuple[Position, Position]:
    """Return the first and end position of a region as plain integers.

    Raises:
        ValueError: a negative start or size, or not one value per axis.
    """
    if len(start) != len(spec.axes) or len(shape) != len(spec.axes):
        raise ValueError(f"a region of axes {spec.axes} needs {len(spec.axes)} values, not {tuple(start)} and {tuple(shape)}")
    first, size = tuple(map(int, start)), tuple(map(int, shape))
    if min(first, default=0) < 0 or min(size, default=0) < 0:
        raise ValueError(f"a region starts at 0 or later and has no negative size, not start {first} and shape {size}")
    return first, tuple(a + n for a, n in zip(first, size, strict=True))


class ChunkedArray(StoredArray):
    """An array with chunks that wkpipe decodes itself.

    `is_bounded` is True if voxels beyond `spec.shape` are cut off (Zarr), False if they count (WKW, which has no shape on
    disk).
    """

    def __init__(self, place: Place, spec: ArraySpec, coder: ChunkCoder, names: FileNames, is_bounded: bool = True) -> None:
        super().__init__(place, spec)
        self.coder = coder
        self.names = names
        self.is_bounded = is_bounded

    @property
    def encoder(self) -> str:
        return self.coder.codec.encoder

    def _clipped(self, end: Position) -> Position:
        """Return `end`, limited to the array's shape."""
        return tuple(map(min, end, self.spec.shape)) if self.is_bounded else end

    @abstractmethod
    def _pieces(self, start: Position, end: Position) -> Iterator[Piece]:
        """Read the stored chunks that overlap a region (end after start)."""

    def _decode(self, piece: Piece, start: int, stop: int) -> Voxels:
        """Decode the stored chunks `start` to `stop` of a piece into an array (chunks, *stored shape)."""
        return self.coder_of(piece).decode_many(piece.data, piece.offsets[start:stop], piece.sizes[start:stop])

    def coder_of(self, piece: Piece) -> ChunkCoder:  # noqa: ARG002
        """Return how the chunks of a piece are stored: WKW files may have codecs of their own."""
        return self.coder

    def _checked_decode(self, piece: Piece, start: int, stop: int) -> Voxels:
        """Decode; if that fails, name the damaged chunk."""
        try:
            return self._decode(piece, start, stop)
        except CodecError as error:
            for index in range(start, stop):
                try:
                    self._decode(piece, index, index + 1)
                except CodecError as reason:
                    raise damaged_chunk(self._path(piece, index), piece.position(index), reason) from reason
            raise damaged_chunk(self._path(piece, start), piece.position(start), error) from error

    def _path(self, piece: Piece, index: int) -> str:
        """Return the file that holds the stored chunk `index` of a piece."""
        per_file = [s // c for s, c in zip(self.spec.shard_shape, self.spec.chunk_shape, strict=True)]
        return self.names.path([p // n for p, n in zip(piece.position(index), per_file, strict=True)])

    def fetch(self, start: Sequence[int], shape: Sequence[int]) -> FetchedRegion | None:
        first, end = checked_region(self.spec, start, shape)
        region = self._fetch(first, end)
        return region if region.pieces else None

    def _fetch(self, first: Position, end: Position) -> FetchedRegion:
        clipped = self._clipped(end)
        is_empty = any(b <= a for a, b in zip(first, clipped, strict=True))
        return FetchedRegion(
            first=first,
            end=clipped,
            shape=tuple(b - a for a, b in zip(first, end, strict=True)),
            chunk_shape=self.spec.chunk_shape,
            stored_axes=self.coder.stored_axes,
            pieces=() if is_empty else tuple(self._pieces(first, clipped)),
            decode=self._checked_decode,
            filled=self.coder.filled,
            dtype=self.coder.dtype,
        )

    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        first, end = checked_region(self.spec, start, shape)
        out = self.coder.filled(shape)
        for low, high in self._parts(first, self._clipped(end)):
            place = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
            self._fetch(low, high).decode_into(out[place])
        return out

    def _parts(self, first: Position, end: Position) -> Iterator[tuple[Position, Position]]:
        """Cut a region along chunk borders, so that the stored bytes of one part need little memory."""
        if any(b <= a for a, b in zip(first, end, strict=True)):
            return
        shape = self.spec.chunk_shape
        base = [a // c for a, c in zip(first, shape, strict=True)]
        grid = [-(-b // c) - n for b, c, n in zip(end, shape, base, strict=True)]
        for box in boxes_of(grid, max(1, READ_BYTES // self.spec.chunk_bytes)):
            low = tuple(max((n + s.start) * c, a) for n, s, c, a in zip(base, box, shape, first, strict=True))
            yield low, tuple(min((n + s.stop) * c, b) for n, s, c, b in zip(base, box, shape, end, strict=True))

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
        self.coder.codec.check_writable()
        return position

    def check_unit(self, unit: Sequence[int]) -> None:
        step = max(1, BATCH_BYTES // self.spec.chunk_bytes)
        for low, high in self._parts(*self._unit_region(self._checked_unit(unit))):
            for piece in self._pieces(low, high):
                for start in range(0, len(piece.sizes), step):
                    self._checked_decode(piece, start, min(start + step, len(piece.sizes)))

    def _set_shape(self, shape: Sequence[int]) -> None:
        self.spec = dataclasses.replace(self.spec, shape=tuple(map(int, shape)))
