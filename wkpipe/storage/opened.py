"""Open files and facts of files: all reading goes through here, as all changes go through `disk`."""

# Descriptors, stat and pread: `os` makes each system call visible.
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from wkpipe.errors import DamagedShard, UnreadableInput
from wkpipe.storage.disk import LEFTOVER, MOST_SMALL_BYTES, steady
from wkpipe.storage.names import refresh
from wkpipe.storage.place import Entry, Facts
from wkpipe.storage.proof import MTIME, Stamp

_STALE_TRIES = 8
_TOO_LARGE_FIX = "restore it from a copy"

Identity: TypeAlias = tuple[int, int, int, int]


class Damage(Exception):
    """A file is damaged; the caller knows which one."""


class TooLarge(DamagedShard):
    """A file that should be small has more bytes than any that wkpipe writes."""


def facts_of(status: os.stat_result) -> Facts:
    """Return the facts in a file's status.

    >>> facts_of(os.stat("/etc/passwd")).stamp.kind
    'mtime'
    """
    return Facts(status.st_size, Stamp(MTIME, status.st_mtime_ns), status.st_mtime_ns)


def identity(status: os.stat_result) -> Identity:
    """Return a value that changes when a path gets another content."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class OpenFile:
    """A file that is open for reading; it is closed with its last reference."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = steady(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self.stat = os.fstat(self._descriptor)
        self.size = self.stat.st_size
        self._times_stale = 0

    @property
    def facts(self) -> Facts:
        """The facts of the file as it was opened."""
        return facts_of(self.stat)

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`.

        Raises:
            Damage: the file is shorter, or was replaced while it was read.
        """
        data = self._pread(size, offset)
        if len(data) == size:
            return data
        pieces = [data]
        while data and (size := size - len(data)):
            data = self._pread(size, offset := offset + len(data))
            pieces.append(data)
        if size:
            raise Damage(f"the file ends {size} bytes too early")
        return b"".join(pieces)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes at `offset`.

        Raises: as `read`.
        """
        while view:
            try:
                count = os.preadv(self._descriptor, [view], offset)
            except OSError as error:
                self._opened_again(error)
                continue
            if not count:
                raise Damage(f"the file ends {len(view)} bytes too early")
            self._times_stale = 0
            view, offset = view[count:], offset + count

    def _pread(self, size: int, offset: int) -> bytes:
        while True:
            try:
                data = os.pread(self._descriptor, size, offset)
            except OSError as error:
                self._opened_again(error)
                continue
            self._times_stale = 0
            return data

    def _opened_again(self, error: OSError) -> None:
        """Open the file again if NFS has lost the old handle; it must still have the same content.

        Raises:
            OSError: the error has another cause.
            Damage: the file was replaced.
        """
        self._times_stale += 1
        if error.errno != errno.ESTALE or self._times_stale > _STALE_TRIES:
            raise error
        again = OpenFile(self.path)
        if identity(again.stat)[2:] != identity(self.stat)[2:]:
            raise Damage("the file was replaced while it was read")
        self._descriptor, again._descriptor = again._descriptor, self._descriptor
        self.stat = again.stat

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # `close` is bound here: at interpreter exit, the module may be gone before the last file.
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            close(descriptor)


def status_of(path: str, fresh: bool = False) -> os.stat_result | None:
    """Return a file's status; None if there is no file. With `fresh`, ask the server (NFS caches answers for a minute).

    Raises:
        UnreadableInput: permission denied.
        DamagedShard: not a regular file, or the disk reports an error.
    """
    try:
        status = steady(lambda: _fresh_status(path)) if fresh else _status(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DamagedShard("not a regular file", where=path, fix="remove it, or copy the dataset again")
    return status


def _status(path: str) -> os.stat_result:
    """Return a file's status; see `steady`. Tens of thousands of files are asked: the first try is a plain call."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return steady(lambda: os.stat(path))


def _fresh_status(path: str) -> os.stat_result:
    """Return a file's status from the server: opening the directory updates its names, opening the file its size and mtime."""
    refresh(path.rpartition("/")[0] or "/")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return os.stat(path)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def unreadable(path: str, error: OSError) -> UnreadableInput | DamagedShard:
    """Return the error for a file that exists and cannot be read."""
    if isinstance(error, PermissionError):
        return UnreadableInput("cannot be read: permission denied", where=path, fix="make it readable")
    return DamagedShard(f"cannot be read: {error.strerror or error}", where=path, fix="check the disk, or copy the file again")


def read_whole(path: str, limit: int) -> tuple[bytes, Facts] | None:
    """Return the content of a small file, and its facts; None if there is no file.

    Raises:
        TooLarge: the file is larger than `limit` bytes.
        UnreadableInput, DamagedShard: see `status_of`.
    """
    if (status := status_of(path)) is None:
        return None
    if status.st_size > limit:
        raise TooLarge(f"the file has {status.st_size} bytes, at most {limit} are possible", where=path, fix=_TOO_LARGE_FIX)
    try:
        file = OpenFile(path)
        return file.read(0, min(file.size, limit)), file.facts
    except FileNotFoundError:
        return None
    except Damage as error:
        raise DamagedShard(f"it changed while it was read: {error}", where=path, fix="run the same command again") from error
    except OSError as error:
        raise unreadable(path, error) from error


def read_small(path: Path) -> bytes:
    """Return the content of a small file of wkpipe, up to `MOST_SMALL_BYTES`; never block, whatever is in its place.

    Raises:
        OSError: it is missing, cannot be read, or is not a regular file.
    """
    descriptor = steady(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.read(descriptor, MOST_SMALL_BYTES)
    finally:
        os.close(descriptor)


def names_in(directory: str) -> list[str]:
    """Return the names in a directory; an empty list if there is no directory.

    Raises:
        UnreadableInput, DamagedShard: it cannot be read.
    """
    try:
        return steady(lambda: os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(directory, error) from error


def entries_in(directory: str) -> list[Entry]:
    """Return the entries of a directory, sorted by name; an empty list if there is no directory.

    Raises:
        UnreadableInput, DamagedShard: the directory or the status of a file cannot be read.
    """
    try:
        with steady(lambda: os.scandir(directory)) as found:
            listed = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(directory, error) from error
    return list(map(_entry, listed))


def _entry(found: os.DirEntry[str]) -> Entry:
    if found.name.startswith(LEFTOVER):
        return Entry(found.name, None)
    is_link = found.is_symlink()
    try:
        if found.is_dir():
            return Entry(found.name, None, True, is_link)
        status = steady(lambda: os.stat(found.path))
    except FileNotFoundError:  # the target of a link, or the file was just removed
        return Entry(found.name, None, False, is_link)
    except OSError as error:
        raise unreadable(found.path, error) from error
    return Entry(found.name, facts_of(status) if stat.S_ISREG(status.st_mode) else None, False, is_link)


def real_path(path: str) -> str:
    """Return a path with all links resolved."""
    return os.path.realpath(path)
