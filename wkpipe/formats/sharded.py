"""Arrays of storage shards: files with many chunks, and an index that says where each chunk is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from wkpipe.errors import DamagedShard
from wkpipe.formats.base import EncodedChunks, Flags, Ints, Position, UnitFacts, UnitProof, Voxels, facts_of_file
from wkpipe.formats.chunked import ChunkedArray, cells_between, checked_region
from wkpipe.formats.fetched import Piece
from wkpipe.formats.noted_reads import NotedChunks, noted_bytes_of_shards
from wkpipe.formats.open_files import FIX, OPEN_SHARDS, Extent, OpenShard, damaged_chunk, extents_of
from wkpipe.formats.proving import digest_of_rest, proof_of_file, read_shard
from wkpipe.formats.waiting import read_each
from wkpipe.storage.opened import Damage, unreadable
from wkpipe.storage.place import Opened
from wkpipe.storage.proof import UNKNOWN_CRC

MOST_UNREAD: Final = 1 / 8
"""Chunks that were not read are read one by one for the proof of a shard, up to this part of its bytes; else all of it is read at once."""


class ShardedArray(ChunkedArray):
    """An array of storage shards; a format adds how to read an index and how to write a shard."""

    _noted: NotedChunks | None = None

    @abstractmethod
    def _load_shard(self, file: Opened) -> OpenShard:
        """Read and check the index of a shard.

        Raises:
            Damage: the index is wrong.
        """

    def _shard(self, position: Sequence[int]) -> OpenShard | None:
        return OPEN_SHARDS.get(self.place, self.names.key(position), self._load_shard)

    def _window(self, shard: Position, start: Position, end: Position) -> tuple[Position, tuple[slice, ...]]:
        """Return the first chunk of a shard, and the part of its grid of chunks that overlaps a region."""
        spec = self.spec
        base = tuple(p * n for p, n in zip(shard, spec.chunks_per_unit, strict=True))
        window = tuple(
            slice(max(a // c - p, 0), min(-(-b // c) - p, n))
            for a, b, c, p, n in zip(start, end, spec.chunk_shape, base, spec.chunks_per_unit, strict=True)
        )
        return base, window

    def _pieces(self, start: Position, end: Position) -> Iterator[Piece]:
        cells = list(cells_between(start, end, self.spec.shard_shape))
        shards = list(read_each(self._shard, cells))
        pieces: list[Piece] = []
        extents: list[Extent] = []
        for cell, shard in zip(cells, shards, strict=True):
            if shard is not None and (piece := self._planned(shard, *self._window(cell, start, end), extents)) is not None:
                pieces.append(piece)
        for _ in read_each(Extent.read, extents):
            pass
        if self._noted is not None:
            for piece in pieces:
                self._note(self._noted, piece)
        yield from pieces

    def _note(self, noted: NotedChunks, piece: Piece) -> None:
        """Note the chunks of a piece that was read."""
        grid, cells = self.spec.chunks_per_unit, np.arange(len(piece.sizes)) if piece.cells is None else piece.cells
        unit = tuple(p // n for p, n in zip(piece.first, grid, strict=True))
        inside = np.unravel_index(cells, piece.grid, order="F")
        positions = tuple(at + p % n for at, p, n in zip(inside, piece.first, grid, strict=True))
        data = piece.data.data
        chunks = (data[a : a + n] for a, n in zip(piece.offsets.tolist(), piece.sizes.tolist(), strict=True))
        noted.note(unit, positions, chunks, piece.shard.file.facts.modified_ns)

    def _planned(self, shard: OpenShard, base: Position, window: tuple[slice, ...], extents: list[Extent]) -> Piece | None:
        """Return the piece for some chunks of a shard, None if none is stored; add the parts of the file to read to `extents`."""
        offsets = shard.index.offsets[window].ravel(order="F")
        sizes = shard.index.sizes[window].ravel(order="F")
        present = offsets >= 0
        cells: Ints | None = None
        if not present.all():
            cells = np.nonzero(present)[0]
            if not cells.size:
                return None
            offsets, sizes = offsets[cells], sizes[cells]
        data, places, parts = extents_of(shard.file, offsets, sizes)
        extents += parts
        first = tuple(b + w.start for b, w in zip(base, window, strict=True))
        return Piece(first, tuple(w.stop - w.start for w in window), cells, data, places, sizes, shard)

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        first, end = checked_region(self.spec, start, shape)
        end = self._clipped(end)
        for cell in cells_between(first, end, self.spec.shard_shape):
            shard = self._shard(cell)
            if shard is not None and (shard.index.offsets[self._window(cell, first, end)[1]] >= 0).any():
                return False
        return True

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        per_shard = self.spec.chunks_per_unit
        shard = self._shard([p // n for p, n in zip(chunk, per_shard, strict=True)])
        if shard is None:
            return None
        inside = tuple(p % n for p, n in zip(chunk, per_shard, strict=True))
        if (offset := int(shard.index.offsets[inside])) < 0:
            return None
        try:
            return shard.file.read(offset, int(shard.index.sizes[inside]))
        except Damage as error:
            raise damaged_chunk(shard.file.path, chunk, error) from error
        except OSError as error:
            raise unreadable(shard.file.path, error) from error

    # -- units --------------------------------------------------------------------------------------------------

    def stored_chunks(self, unit: Sequence[int], chunks: Ints) -> EncodedChunks:
        """Return the stored bytes of chunks of a shard; those that are next to each other in the file are read at once."""
        shard = self._shard(unit)
        if shard is None:
            return EncodedChunks.fill(chunks)
        offsets, sizes = (part[tuple(chunks.T)] for part in (shard.index.offsets, shard.index.sizes))
        present = offsets >= 0
        if (empty := np.flatnonzero(present & (sizes == 0))).size:
            position = [u * n + int(p) for u, n, p in zip(unit, self.spec.chunks_per_unit, chunks[empty[0]], strict=True)]
            raise damaged_chunk(shard.file.path, position, "it has no bytes")
        starts, ends = offsets[present], (offsets + sizes)[present]
        heads = np.flatnonzero(np.append(True, starts[1:] != ends[:-1])) if starts.size else np.empty(0, np.int64)
        lasts = np.append(heads[1:], len(ends)) - 1 if heads.size else heads
        data = b"".join(_read(shard.file, a, b - a) for a, b in zip(starts[heads].tolist(), ends[lasts].tolist(), strict=True))
        return EncodedChunks.of_bytes(chunks, np.where(present, sizes, 0), data)

    def stored_units(self) -> Iterator[Position]:
        grid = self.spec.unit_grid
        for position in self.names.all_present():
            if not self.is_bounded or all(p < n for p, n in zip(position, grid, strict=True)):
                yield position

    def unit_keys(self, unit: Sequence[int]) -> list[str]:
        key = self.names.key(self._checked_unit(unit))
        return [] if self.place.facts(key) is None else [key]

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        facts = self.place.facts(self.names.key(self._checked_unit(unit)))
        return None if facts is None else facts_of_file(facts)

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        key = self.names.key(self._checked_unit(unit))
        return proof_of_file(read_shard(self.place, key, self._load_shard, OPEN_SHARDS.current(self.place, key)))

    def note_reads(self, units: Iterable[Position]) -> None:
        units = list(units)
        is_noted = units and noted_bytes_of_shards(self.spec, len(units))
        self._noted = NotedChunks(units, self.spec.chunks_per_unit) if is_noted else None

    def proof_of_reads(self, unit: Position) -> UnitProof | None:
        if self._noted is None:
            return None
        key = self.names.key(unit)
        if (shard := OPEN_SHARDS.get(self.place, key, self._load_shard, is_kept=False)) is None:
            return None
        facts, stored = shard.file.facts, shard.index.offsets.ravel() >= 0
        if (known := self._noted.known(unit, facts.modified_ns)) is None:
            return None
        is_known, digests = known
        if shard.index.sizes.ravel()[stored & ~is_known].sum() > facts.size * MOST_UNREAD:
            return None
        digest = digest_of_rest(self.place, key, self._load_shard, is_known, digests, shard)
        return None if digest is None else UnitProof(1, facts.size, UNKNOWN_CRC, facts.stamp, digest)

    def digest_of_unit(self, unit: Sequence[int], is_known: Flags, digests: Voxels) -> str | None:
        """Return the digest of a unit, as in its proof, if the `digests` of some chunks are known already; None if it has no file.

        `is_known` has the shape of the unit's grid of chunks, `digests` one more axis. Only the other chunks are read.

        Raises:
            DamagedShard, UnreadableInput: it cannot be read.
        """
        key = self.names.key(self._checked_unit(unit))
        return digest_of_rest(self.place, key, self._load_shard, is_known.ravel(), digests.reshape(-1, digests.shape[-1]))


def _read(file: Opened, offset: int, size: int) -> bytes:
    """Return a part of a shard.

    Raises:
        DamagedShard: the file is shorter, or the disk reports an error.
    """
    try:
        return file.read(offset, size)
    except Damage as error:
        raise DamagedShard(str(error), where=file.path, fix=FIX) from error
    except OSError as error:
        raise unreadable(file.path, error) from error
