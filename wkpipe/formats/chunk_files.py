"""Arrays whose every chunk is a file of its own (Zarr 2, unsharded Zarr 3); an aligned block of them is the unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wkpipe.formats.base import EncodedChunks, Ints, Position, UnitFacts, UnitProof, UnitWriter, Voxels, facts_of_files
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunked import ChunkedArray, cells_between, checked_region
from wkpipe.formats.codecs import CodecError
from wkpipe.formats.fetched import Piece
from wkpipe.formats.open_files import Damage, damaged_chunk, read_whole, status_of
from wkpipe.formats.proving import proof_of_files, read_file
from wkpipe.formats.waiting import read_each
from wkpipe.storage.commit import PendingGroup, Scratch, remove_files


class ChunkFilesArray(ChunkedArray):
    """Reads chunk files one by one, and writes them in groups."""

    def _load(self, path: str, position: Sequence[int]) -> bytes | None:
        try:
            return read_whole(path, self.coder.max_encoded_size)
        except Damage as error:
            raise damaged_chunk(path, position, error) from error

    def _pieces(self, start: Position, end: Position) -> Iterator[Piece]:
        shape = self.spec.chunk_shape
        first = tuple(a // c for a, c in zip(start, shape, strict=True))
        grid = tuple(-(-b // c) - f for b, c, f in zip(end, shape, first, strict=True))
        stored = list(read_each(lambda position: self._load(self.names.path(position), position), cells_between(start, end, shape)))
        cells = [index for index, data in enumerate(stored) if data is not None]
        if not cells:
            return
        found = [data for data in stored if data is not None]
        sizes = np.array([len(data) for data in found], np.int64)
        offsets = np.cumsum(sizes) - sizes
        missing = None if len(cells) == len(stored) else np.array(cells, np.int64)
        yield Piece(first, grid, missing, np.frombuffer(b"".join(found), np.uint8), offsets, sizes)

    def _present(self, start: Position, end: Position) -> list[Position]:
        """Return the positions of the chunks that overlap a region and have a file."""
        shape = self.spec.chunk_shape
        return self.names.present(
            [a // c for a, c in zip(start, shape, strict=True)], [-(-b // c) for b, c in zip(end, shape, strict=True)]
        )

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        first, end = checked_region(self.spec, start, shape)
        end = self._clipped(end)
        return any(b <= a for a, b in zip(first, end, strict=True)) or not self._present(first, end)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        return self._load(self.names.path(chunk), chunk)

    # -- units --------------------------------------------------------------------------------------------------

    def stored_units(self) -> Iterator[Position]:
        per_unit, grid, seen = self.spec.chunks_per_unit, self.spec.unit_grid, set()
        for position in self.names.all_present():
            unit = tuple(p // n for p, n in zip(position, per_unit, strict=True))
            if unit not in seen and all(u < n for u, n in zip(unit, grid, strict=True)):
                seen.add(unit)
                yield unit

    def _unit_keys(self, unit: Sequence[int]) -> list[str]:
        """Return the keys of the files of a unit, sorted. Beyond the array's shape they count as well."""
        first, end = self._unit_region(self._checked_unit(unit))
        return sorted(map(self.names.key, self._present(first, end)))

    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        return [self.path / key for key in self._unit_keys(unit)]

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        found = {key: status_of(f"{self.names.root}/{key}") for key in self._unit_keys(unit)}
        return facts_of_files({key: status for key, status in found.items() if status is not None})

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        read = {key: read_file(f"{self.names.root}/{key}") for key in self._unit_keys(unit)}
        found = {key: file for key, file in read.items() if file is not None}
        return proof_of_files(found) if found else None

    def check_unit(self, unit: Sequence[int]) -> None:
        for position in self._present(*self._unit_region(self._checked_unit(unit))):
            path = self.names.path(position)
            if (data := self._load(path, position)) is None:
                continue
            try:
                self.coder.decode(data)
            except CodecError as error:
                raise damaged_chunk(path, position, error) from error

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        return ChunkFilesWriter(self, self._writable_unit(unit), scratch)


class ChunkFilesWriter(UnitWriter):
    """Writes a block of chunk files under temporary names; `commit` renames them all."""

    def __init__(self, array: ChunkFilesArray, unit: Position, scratch: Scratch) -> None:
        self._array = array
        self._unit = unit
        self._coder: ChunkCoder = array.coder
        self._grid = array.spec.chunks_per_unit
        self._base = tuple(u * n for u, n in zip(unit, self._grid, strict=True))
        self._scratch = scratch
        self._group = PendingGroup(scratch)
        self._keys: set[str] = set()

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._coder.encode(chunk)

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        return self._coder.encode_grid(voxels, cells, positions)

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        check_inside(chunk, self._grid)
        key = self._array.names.key([b + p for b, p in zip(self._base, chunk, strict=True)])
        if key in self._keys:
            raise ValueError(f"{self._array.path}: chunk {chunk} of unit {self._unit} was appended twice")
        if encoded is not None:
            self._keys.add(key)
            self._group.add(self._array.path / key, encoded, digest)

    def commit(self) -> UnitProof:
        stale = [path for path in self._array.unit_files(self._unit) if path.relative_to(self._array.path).as_posix() not in self._keys]
        proofs = self._group.commit()
        if stale:
            remove_files(stale, self._scratch)
        root = self._array.path
        return proof_of_files({path.relative_to(root).as_posix(): proof for path, proof in proofs.items()})

    def discard(self) -> None:
        self._group.discard()


def check_inside(chunk: Sequence[int], grid: Sequence[int]) -> None:
    """Raise ValueError where a position is not within a unit's grid of chunks."""
    if len(chunk) != len(grid) or any(p < 0 or p >= n for p, n in zip(chunk, grid, strict=True)):
        raise ValueError(f"no chunk at {tuple(chunk)}: a unit has {tuple(grid)} of them")
