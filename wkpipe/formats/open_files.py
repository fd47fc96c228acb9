"""A bounded set of open storage shards with their indices, shared by all arrays of the process.

An entry counts as long as the file under the path is the same one (device, inode, size, mtime). A shard that was
pushed out, or whose file was replaced, stays readable for whoever still uses it, and is closed by its last user.
"""

# Descriptors, stat and pread: os says exactly what is done.
# ruff: noqa: PTH116
from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from wkpipe.errors import DamagedShard, UnreadableInput
from wkpipe.formats.base import Ints, Voxels

MAX_OPEN_FILES = 64
MAX_INDEX_BYTES = 32 << 20

LARGEST_GAP = 64 << 10
"""Bytes between two extents that are read along, rather than to read twice."""

Identity: TypeAlias = tuple[int, int, int, int]


class Damage(Exception):
    """What is wrong with a file; the caller knows which one."""


@dataclass(frozen=True)
class ShardIndex:
    """Where a shard's chunks lie: `offsets` and `sizes` are int64 in the shape of the shard's grid of chunks.

    The offset is -1 where a chunk is absent. All extents were checked against the file's size.
    """

    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]


class OpenFile:
    """A file open for reading; closed when the last reference goes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._descriptor)
        self.size = self.stat.st_size

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`.

        Raises:
            Damage: the file is shorter.
        """
        data = os.pread(self._descriptor, size, offset)
        if len(data) == size:
            return data
        pieces = [data]
        while data and (size := size - len(data)):
            data = os.pread(self._descriptor, size, offset := offset + len(data))
            pieces.append(data)
        if size:
            raise Damage(f"the file ends {size} bytes too early")
        return b"".join(pieces)

    def extents(self, offsets: Ints, sizes: Ints) -> tuple[Voxels, Ints, list[Extent]]:
        """Plan to read many parts of the file: a buffer for them, where each part begins in it, and what to read.

        Parts that lie close together are read in one go, with what is between them.
        """
        order = np.argsort(offsets, kind="stable")
        starts = offsets[order]
        ends = np.maximum.accumulate(starts + sizes[order])
        heads = np.concatenate(([0], np.nonzero(starts[1:] - ends[:-1] > LARGEST_GAP)[0] + 1))
        lows, highs = starts[heads], ends[np.append(heads[1:], len(ends)) - 1]
        places = np.cumsum(highs - lows) - (highs - lows)
        shift = np.empty_like(offsets)
        shift[order] = np.repeat(places - lows, np.diff(np.append(heads, len(starts))))
        buffer = np.empty(int((highs - lows).sum()), np.uint8)
        view = buffer.data
        columns = zip(lows.tolist(), highs.tolist(), places.tolist(), strict=True)
        return buffer, offsets + shift, [Extent(self, low, view[place : place + high - low]) for low, high, place in columns]

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes at `offset`.

        Raises:
            Damage: the file is shorter.
        """
        while view:
            count = os.preadv(self._descriptor, [view], offset)
            if not count:
                raise Damage(f"the file ends {len(view)} bytes too early")
            view, offset = view[count:], offset + count

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # `close` is bound here: at the interpreter's end, the module may be gone before the last file.
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            close(descriptor)


@dataclass(frozen=True)
class Extent:
    """A part of a file that is to be read, and where to."""

    file: OpenFile
    offset: int
    view: memoryview

    def read(self) -> None:
        """Read it.

        Raises:
            DamagedShard: the file is shorter, or the disk reports an error.
        """
        try:
            self.file.read_into(self.view, self.offset)
        except Damage as error:
            raise DamagedShard(f"{self.file.path}: {error}; copy the file again or write it anew") from error
        except OSError as error:
            raise unreadable(self.file.path, error) from error


class OpenShard:
    """An open shard: its file, its index, and what else its format keeps with it."""

    def __init__(self, file: OpenFile, index: ShardIndex, extra: Any = None) -> None:
        self.file = file
        self.index = index
        self.extra = extra


def identity(status: os.stat_result) -> Identity:
    """Return what tells one content of a path from another."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def status_of(path: str) -> os.stat_result | None:
    """Return a file's status, None where there is no file.

    Raises:
        UnreadableInput: permission denied.
        DamagedShard: not a regular file, or the disk reports an error.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedShard(f"{path}: not a regular file; remove it, or copy the dataset again")
    return status


def unreadable(path: str, error: OSError) -> UnreadableInput | DamagedShard:
    """Return the error for a file that is there and can not be read."""
    if isinstance(error, PermissionError):
        return UnreadableInput(f"can not read {path}: permission denied; make it readable")
    return DamagedShard(f"can not read {path}: {error.strerror or error}; check the disk, or copy the file again")


def read_whole(path: str, limit: int) -> bytes | None:
    """Return the content of a small file, None where there is no file.

    Raises:
        Damage: the file is larger than `limit` bytes.
        UnreadableInput, DamagedShard: see `status_of`.
    """
    if (status := status_of(path)) is None:
        return None
    if status.st_size > limit:
        raise Damage(f"the file has {status.st_size} bytes, at most {limit} are possible")
    try:
        file = OpenFile(path)
        return file.read(0, min(file.size, limit))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error


class OpenShards:
    """The least recently used shards are let go first. Thread-safe."""

    def __init__(self, max_files: int = MAX_OPEN_FILES, max_bytes: int = MAX_INDEX_BYTES) -> None:
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._shards: OrderedDict[str, OpenShard] = OrderedDict()

    def get(self, path: str, load: Callable[[OpenFile], OpenShard]) -> OpenShard | None:
        """Return an open shard, None where there is no file; `load` reads the index of one that is new.

        Raises:
            DamagedShard: the index is damaged; names the file.
        """
        status = status_of(path)
        if status is None:
            self._drop(path)
            return None
        with self._lock:
            shard = self._shards.get(path)
            if shard is not None and identity(shard.file.stat) == identity(status):
                self._shards.move_to_end(path)
                return shard
        try:
            shard = load(OpenFile(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        except Damage as error:
            raise DamagedShard(f"{path}: {error}; copy the file again or write it anew") from error
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


def damaged_chunk(path: str, chunk: Sequence[int], why: Exception) -> DamagedShard:
    """Return the error for one chunk that can not be decoded; `chunk` counts chunks from the array's origin."""
    return DamagedShard(f"{path}: chunk {tuple(map(int, chunk))}: {why}; copy the file again or write it anew")
