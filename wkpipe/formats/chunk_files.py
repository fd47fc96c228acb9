"""Arrays that store every chunk as a file (Zarr 2, unsharded Zarr 3); the unit is an aligned block of chunk files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from wkpipe.formats.base import ArraySpec, EncodedChunks, Ints, Position, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunked import ChunkedArray, cells_between, checked_region
from wkpipe.formats.codecs import CodecError
from wkpipe.formats.fetched import Piece
from wkpipe.formats.file_names import FileNames
from wkpipe.formats.noted_reads import NotedReads, is_noted
from wkpipe.formats.open_files import damaged_chunk
from wkpipe.formats.proving import proof_of_files, read_file
from wkpipe.formats.waiting import read_each
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch


class ChunkFilesArray(ChunkedArray):
    """An array of chunk files, read one by one and written in blocks."""

    def __init__(self, place: Place, spec: ArraySpec, coder: ChunkCoder, names: FileNames) -> None:
        super().__init__(place, spec, coder, names)
        self._noted: dict[Position, NotedReads] = {}

    def _load(self, position: Sequence[int]) -> bytes | None:
        key, limit = self.names.key(position), self.coder.max_encoded_size
        try:
            if not self._noted:
                return self.place.content(key, limit)
            found = self.place.content_and_facts(key, limit)
        except TooLarge as error:
            raise damaged_chunk(self.names.path(position), position, error.problem) from error
        if found is None:
            return None
        data, facts = found
        noted = self._noted.get(tuple(p // n for p, n in zip(position, self.spec.chunks_per_unit, strict=True)))
        if noted is not None:
            noted.note(position, data, facts.modified_ns)
        return data

    def _pieces(self, start: Position, end: Position) -> Iterator[Piece]:
        shape = self.spec.chunk_shape
        first = tuple(a // c for a, c in zip(start, shape, strict=True))
        grid = tuple(-(-b // c) - f for b, c, f in zip(end, shape, first, strict=True))
        stored = list(read_each(self._load, cells_between(start, end, shape)))
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
        return self.names.present(*self._files_between(start, end))

    def _files_between(self, start: Position, end: Position) -> tuple[Position, Position]:
        """Return the first and end chunk of a region."""
        shape = self.spec.chunk_shape
        return tuple(a // c for a, c in zip(start, shape, strict=True)), tuple(-(-b // c) for b, c in zip(end, shape, strict=True))

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        first, end = checked_region(self.spec, start, shape)
        end = self._clipped(end)
        return any(b <= a for a, b in zip(first, end, strict=True)) or not self._present(first, end)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        return self._load(chunk)

    # -- units --------------------------------------------------------------------------------------------------

    def stored_units(self) -> Iterator[Position]:
        per_unit, grid, seen = self.spec.chunks_per_unit, self.spec.unit_grid, set()
        for position in self.names.all_present():
            unit = tuple(p // n for p, n in zip(position, per_unit, strict=True))
            if unit not in seen and all(u < n for u, n in zip(unit, grid, strict=True)):
                seen.add(unit)
                yield unit

    def unit_keys(self, unit: Sequence[int]) -> list[str]:
        """Return the sorted keys of the files of a unit, including those beyond the array's shape."""
        return sorted(self.names.keys(*self._files_between(*self._unit_region(self._checked_unit(unit)))))

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        read = {key: read_file(self.place, key) for key in self.unit_keys(unit)}
        found = {key: file for key, file in read.items() if file is not None}
        return proof_of_files(found) if found else None

    def check_unit(self, unit: Sequence[int]) -> None:
        for position in self._present(*self._unit_region(self._checked_unit(unit))):
            if (data := self._load(position)) is None:
                continue
            try:
                self.coder.decode(data)
            except CodecError as error:
                raise damaged_chunk(self.names.path(position), position, error) from error

    def note_reads(self, units: Iterable[Position]) -> None:
        self._noted = {unit: NotedReads(*self._noted_chunks(unit)) for unit in units if is_noted(self.spec)}

    def _noted_chunks(self, unit: Position) -> tuple[Position, Position]:
        """Return the first chunk of a unit, and the number of chunks that it has in the array along every axis."""
        spec = self.spec
        first = tuple(u * n for u, n in zip(unit, spec.chunks_per_unit, strict=True))
        sizes = zip(spec.shape, spec.chunk_shape, first, spec.chunks_per_unit, strict=True)
        return first, tuple(max(0, min(n, -(-size // c) - f)) for size, c, f, n in sizes)

    def proof_of_reads(self, unit: Position) -> UnitProof | None:
        noted = self._noted.pop(unit, None)
        return None if noted is None else noted.proof(self.names.key)

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        return ChunkFilesWriter(self, self._writable_unit(unit), scratch)


class ChunkFilesWriter(UnitWriter):
    """Write a block of chunk files under temporary names; `commit` renames them all."""

    def __init__(self, array: ChunkFilesArray, unit: Position, scratch: Scratch) -> None:
        self._array = array
        self._unit = unit
        self._coder: ChunkCoder = array.coder
        self._grid = array.spec.chunks_per_unit
        self._base = tuple(u * n for u, n in zip(unit, self._grid, strict=True))
        self._place = array.place.writing(scratch)
        self._group = self._place.group()
        self._keys: set[str] = set()

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._coder.encode(chunk)

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        return self._coder.encode_grid(voxels, cells, positions)

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        check_inside(chunk, self._grid)
        key = self._key(chunk)
        if key in self._keys:
            raise ValueError(f"{self._array.path}: chunk {chunk} of unit {self._unit} was appended twice")
        if encoded is not None:
            self._keys.add(key)
            self._group.add(key, encoded, digest)

    def _key(self, chunk: Sequence[int]) -> str:
        return self._array.names.key([b + p for b, p in zip(self._base, chunk, strict=True)])

    def begin_stowing(self) -> None:
        self._group.begin_apart()

    def stow(self, encoded: EncodedChunks) -> tuple[bytes, bytes]:
        stored = ((chunk, data, digest) for chunk, data, digest in encoded.each() if data is not None and digest is not None)
        return self._group.write_apart((self._key(chunk), data, digest) for chunk, data, digest in stored), b""

    def append_stowed(self, positions: Ints, sizes: Ints, digests: bytes, receipt: bytes, body: memoryview) -> None:  # noqa: ARG002
        stored = sizes > 0
        files = list(zip(map(self._key, positions[stored].tolist()), sizes[stored].tolist(), strict=True))
        self._keys.update(key for key, _ in files)
        self._group.take(files, receipt)

    def commit(self) -> UnitProof:
        stale = [key for key in self._array.unit_keys(self._unit) if key not in self._keys]
        proofs = self._group.commit()
        if stale:
            self._place.remove(stale)
        return proof_of_files(proofs)

    def discard(self) -> None:
        self._group.discard()


def check_inside(chunk: Sequence[int], grid: Sequence[int]) -> None:
    """Raise ValueError if a position is outside a unit's grid of chunks."""
    if len(chunk) != len(grid) or any(p < 0 or p >= n for p, n in zip(chunk, grid, strict=True)):
        raise ValueError(f"no chunk at {tuple(chunk)}: a unit has {tuple(grid)} of them")
