"""Arrays whose files are storage shards: one file, many chunks, an index that says where they lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wkpipe.formats.base import Ints, Position, UnitFacts, UnitProof, facts_of_file
from wkpipe.formats.chunked import ChunkedArray, cells_between, checked_region
from wkpipe.formats.fetched import Piece
from wkpipe.formats.open_files import OPEN_SHARDS, Damage, Extent, OpenFile, OpenShard, damaged_chunk, status_of, unreadable
from wkpipe.formats.proving import proof_of_file, read_shard
from wkpipe.formats.waiting import read_each


class ShardedArray(ChunkedArray):
    """Reads chunks out of storage shards; a format adds how an index is read and how a shard is written."""

    @abstractmethod
    def _load_shard(self, file: OpenFile) -> OpenShard:
        """Read and check the index of a shard.

        Raises:
            Damage: the index can not be right.
        """

    def _shard(self, position: Sequence[int]) -> OpenShard | None:
        return OPEN_SHARDS.get(self.names.path(position), self._load_shard)

    def _window(self, shard: Position, start: Position, end: Position) -> tuple[Position, tuple[slice, ...]]:
        """Return a shard's first chunk, and the part of its grid of chunks that overlaps a region."""
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
        yield from pieces

    def _planned(self, shard: OpenShard, base: Position, window: tuple[slice, ...], extents: list[Extent]) -> Piece | None:
        """Return the piece for some chunks of a shard, None if none is stored; add to `extents` what is to be read for it."""
        offsets = shard.index.offsets[window].ravel(order="F")
        sizes = shard.index.sizes[window].ravel(order="F")
        present = offsets >= 0
        cells: Ints | None = None
        if not present.all():
            cells = np.nonzero(present)[0]
            if not cells.size:
                return None
            offsets, sizes = offsets[cells], sizes[cells]
        data, places, parts = shard.file.extents(offsets, sizes)
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

    def stored_units(self) -> Iterator[Position]:
        grid = self.spec.unit_grid
        for position in self.names.all_present():
            if not self.is_bounded or all(p < n for p, n in zip(position, grid, strict=True)):
                yield position

    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        path = self.names.path(self._checked_unit(unit))
        return [] if status_of(path) is None else [Path(path)]

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        status = status_of(self.names.path(self._checked_unit(unit)))
        return None if status is None else facts_of_file(status)

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        return proof_of_file(read_shard(self.names.path(self._checked_unit(unit)), self._load_shard))
