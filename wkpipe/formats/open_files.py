"""A limited set of open storage shards with their indices, shared by all arrays of the process.

An entry is valid as long as the path leads to the same object (on a disk: device, inode, size, mtime). A shard that was
dropped from the set, or whose file was replaced, stays readable for its present users; the last one closes it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.errors import DamagedShard
from wkpipe.formats.base import Ints, Voxels
from wkpipe.storage.opened import Damage, unreadable
from wkpipe.storage.place import Opened, Place

MAX_OPEN_FILES = 64
MAX_INDEX_BYTES = 32 << 20

FIX = "copy the file again or write it again"

LARGEST_GAP = 64 << 10
"""The bytes between two extents that are read too, because one read is faster than two."""


@dataclass(frozen=True)
class ShardIndex:
    """The index of a shard: `offsets` and `sizes` of its chunks are int64 in the shape of the shard's grid of chunks.

    The offset of an absent chunk is -1. All extents are known to be within the file.
    """

    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]


def extents_of(file: Opened, offsets: Ints, sizes: Ints) -> tuple[Voxels, Ints, list[Extent]]:
    """Plan the reading of many parts of a file: a buffer for them, where each part begins in it, and the extents to read.

    Parts that are close together are read at once, with the bytes between them.
    """
    order = np.argsort(offsets, kind="stable")
    starts = offsets[order]
    ends = np.maximum.accumulate(starts + sizes[order])
    gaps = np.flatnonzero(starts[1:] - ends[:-1] > LARGEST_GAP)
    if not gaps.size:
        buffer = np.empty(int(ends[-1] - starts[0]), np.uint8)
        return buffer, offsets - starts[0], [Extent(file, int(starts[0]), buffer.data)]
    heads = np.concatenate(([0], gaps + 1))
    lows, highs = starts[heads], ends[np.append(heads[1:], len(ends)) - 1]
    places = np.cumsum(highs - lows) - (highs - lows)
    shift = np.empty_like(offsets)
    shift[order] = np.repeat(places - lows, np.diff(np.append(heads, len(starts))))
    buffer = np.empty(int((highs - lows).sum()), np.uint8)
    view = buffer.data
    columns = zip(lows.tolist(), highs.tolist(), places.tolist(), strict=True)
    return buffer, offsets + shift, [Extent(file, low, view[place : place + high - low]) for low, high, place in columns]


@dataclass(frozen=True)
class Extent:
    """A part of a file to read, and the memory to read it into."""

    file: Opened
    offset: int
    view: memoryview

    def read(self) -> None:
        """Read the part.

        Raises:
            DamagedShard: the file is shorter, or the disk reports an error.
        """
        try:
            self.file.read_into(self.view, self.offset)
        except Damage as error:
            raise DamagedShard(str(error), where=self.file.path, fix=FIX) from error
        except OSError as error:
            raise unreadable(self.file.path, error) from error


class OpenShard:
    """An open shard: its file, its index, and whatever its format keeps with it."""

    def __init__(self, file: Opened, index: ShardIndex, extra: Any = None) -> None:
        self.file = file
        self.index = index
        self.extra = extra


class OpenShards:
    """Keep a limited number of shards open and drop the least recently used first. Thread-safe."""

    def __init__(self, max_files: int = MAX_OPEN_FILES, max_bytes: int = MAX_INDEX_BYTES) -> None:
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, OpenShard] = OrderedDict()

    def current(self, place: Place, key: str) -> OpenShard | None:
        """Return a shard that is open, and that its path still leads to; else None."""
        path = f"{place}/{key}"
        with self._lock:
            known = self._shards.get(path)
        if known is None or not place.is_current(key, known.file):
            return None
        with self._lock:
            if path in self._shards:
                self._shards.move_to_end(path)
        return known

    def get(self, place: Place, key: str, load: Callable[[Opened], OpenShard], is_kept: bool = True) -> OpenShard | None:
        """Return an open shard; None if there is no file. `load` reads the index of a new one, which is kept open unless it is not to be.

        Raises:
            DamagedShard: the index is damaged; names the file.
        """
        path = f"{place}/{key}"
        if (known := self.current(place, key)) is not None:
            return known
        file = place.open(key)
        if file is None:
            self._drop(path)
            return None
        try:
            shard = load(file)
        except OSError as error:
            raise unreadable(path, error) from error
        except Damage as error:
            raise DamagedShard(str(error), where=path, fix=FIX) from error
        if not is_kept:
            return shard
        self._drop(path)
        with self._lock:
            self._shards[path] = shard
            self._bytes += _index_bytes(shard)
            while len(self._shards) > 1 and (len(self._shards) > self._max_files or self._bytes > self._max_bytes):
                self._bytes -= _index_bytes(self._shards.popitem(last=False)[1])
        return shard

    def _drop(self, path: str) -> None:
        with self._lock:
            shard = self._shards.pop(path, None)
            if shard is not None:
                self._bytes -= _index_bytes(shard)


def _index_bytes(shard: OpenShard) -> int:
    return shard.index.offsets.nbytes + shard.index.sizes.nbytes


OPEN_SHARDS = OpenShards()


def damaged_chunk(path: str, chunk: Sequence[int], why: object) -> DamagedShard:
    """Return the error for one chunk that cannot be decoded; `chunk` counts chunks from the array's origin."""
    return DamagedShard(str(why), where=f"{path}: chunk {tuple(map(int, chunk))}", fix=FIX)
