"""Arrays whose files are storage shards: one file, many chunks, an index that says where they lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wkpipe.formats.base import Position, UnitFacts, UnitProof, Voxels
from wkpipe.formats.chunked import ChunkedArray, cells_between, checked_region, facts_of, prove_file
from wkpipe.formats.codecs import CodecError
from wkpipe.formats.open_files import OPEN_SHARDS, Damage, OpenFile, OpenShard, damaged_chunk, status_of, unreadable


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

    def _chunks(self, start: Position, end: Position) -> Iterator[tuple[str, Position, Voxels]]:
        for cell in cells_between(start, end, self.spec.shard_shape):
            shard = self._shard(cell)
            if shard is None:
                continue
            base, window = self._window(cell, start, end)
            offsets = shard.index.offsets[window]
            present = np.nonzero(offsets >= 0)
            where = offsets[present]
            in_file_order = np.argsort(where, kind="stable")
            positions = np.stack([hits + w.start + p for hits, w, p in zip(present, window, base, strict=True)], axis=1)
            columns = zip(
                positions[in_file_order].tolist(),
                where[in_file_order].tolist(),
                shard.index.sizes[window][present][in_file_order].tolist(),
                strict=True,
            )
            for position, offset, size in columns:
                voxels = self._chunk(shard, position, offset, size)
                if voxels is not None:
                    yield shard.file.path, position, voxels

    def _chunk(self, shard: OpenShard, position: Position, offset: int, size: int) -> Voxels | None:
        """Return one decoded chunk; None stands for the fill value."""
        try:
            return self._decode(shard, shard.file.read(offset, size))
        except (CodecError, Damage) as error:
            raise damaged_chunk(shard.file.path, position, error) from error
        except OSError as error:
            raise unreadable(shard.file.path, error) from error

    def _decode(self, shard: OpenShard, data: bytes) -> Voxels | None:  # noqa: ARG002  (WKW shards have codecs of their own)
        """Return a chunk's voxels, None for the fill value."""
        return self.coder.decode(data)

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
        return facts_of([self.names.path(self._checked_unit(unit))])

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        proof = prove_file(self.names.path(self._checked_unit(unit)))
        return None if proof is None else UnitProof(1, *proof)
