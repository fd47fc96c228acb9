"""Kept: the part of a unit that is copied as it is stored, while the rest is made again.

Nothing is taken from a unit that has not the recorded content. It is digested as it is copied, with the chunks that are not copied, before
the new unit gets its name; if it has another content, all of it is made again. So the new unit has the same bytes as one that was made as a
whole, whatever happened to the old one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wkpipe.engine.cubes import Cube, UnitGrid
from wkpipe.errors import DamagedShard, UnreadableInput
from wkpipe.formats.base import EncodedChunks, Ints
from wkpipe.formats.sharded import ShardedArray
from wkpipe.formats.unit_copy import as_written
from wkpipe.storage.change import Change, changes_after
from wkpipe.storage.digest import DIGEST_BYTES
from wkpipe.storage.record import Record


class NotAsRecorded(Exception):
    """A unit has not the recorded content, so nothing of it is kept."""


class Kept:
    """The part of a unit that is kept: all of its `cubes`, in file order, but those to make `again`."""

    def __init__(self, record: Record, target: ShardedArray, grid: UnitGrid, cubes: Sequence[Cube], again: frozenset[Cube]) -> None:
        self.cubes, self.again = cubes, again
        self.is_sound = False
        self._record, self._target, self._grid = record, target, grid
        self._is_known = np.zeros(target.spec.chunks_per_unit, np.bool_)
        self._digests = np.zeros((*target.spec.chunks_per_unit, DIGEST_BYTES), np.uint8)

    @property
    def share(self) -> float:
        """The part of the unit's chunks that is kept."""
        count = sum(cube.grid.prod() for cube in self.cubes)
        return 1 - sum(cube.grid.prod() for cube in self.again) / count if count else 0.0

    def has(self, cube: Cube) -> bool:
        """True if a cube is kept."""
        return cube not in self.again

    def stored(self, positions: Ints) -> EncodedChunks:
        """Return chunks (count, axes) as they are stored.

        Raises:
            NotAsRecorded: they cannot be read.
        """
        try:
            found = self._target.stored_chunks(self._record.unit, positions)
        except (DamagedShard, UnreadableInput) as error:
            raise NotAsRecorded from error
        stored = tuple(positions[found.sizes > 0].T)
        self._is_known[stored] = True
        self._digests[stored] = np.frombuffer(found.digests, np.uint8).reshape(-1, DIGEST_BYTES)
        return as_written(self._target, found)

    def check(self) -> None:
        """Digest what was not copied, and compare the whole with the record.

        Raises:
            NotAsRecorded: the unit has another content.
        """
        try:
            digest = self._target.digest_of_unit(self._record.unit, self._is_known, self._digests)
        except (DamagedShard, UnreadableInput) as error:
            raise NotAsRecorded from error
        if digest != (None if self._record.proof.is_fill else self._record.proof.digest):
            raise NotAsRecorded
        self.is_sound = True

    def changes(self) -> tuple[Change, ...]:
        """Return where the new content of the unit differs from earlier ones; nothing if it was made again as a whole."""
        if not self.is_sound:
            return ()
        if not self.again:
            return self._record.changes
        positions = np.concatenate([self._grid.positions(cube) for cube in self.again])
        first, end = positions.min(axis=0).tolist(), (positions.max(axis=0) + 1).tolist()
        return changes_after(self._record.token, self._record.changes, tuple(first), tuple(end))
