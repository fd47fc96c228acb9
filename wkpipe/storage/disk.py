"""The only access to the local file system for changes: every call that changes a disk goes through here.

Tests put another ``os`` into this module, which fails, kills or cuts the power at the n-th call. Another test checks that
nothing else in wkpipe changes a disk. ``OSError`` becomes `NotWritable` with the path and the reason in one line.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from wkpipe.errors import InputRefused, NotWritable
from wkpipe.storage.reasons import explained

_MOST_DEPTH = 200  # wkpipe does not nest directories deeper than this; each level takes a descriptor

_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP})  # some network file systems answer this to the sync of a directory

_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h

_system = functools.cache(lambda: ctypes.CDLL(None, use_errno=True))


MOST_SMALL_BYTES = 1 << 16
"""No small file of wkpipe has more bytes."""

LEFTOVER = ".nfs"
"""The beginning of the names that NFS gives to removed files that are still open."""

_STALE_TRIES = 8

Result = TypeVar("Result")


def steady(call: Callable[[], Result]) -> Result:
    """Make a call that takes a path, and repeat it on ESTALE: on NFS, the file may be replaced during the call."""
    for _ in range(_STALE_TRIES):
        try:
            return call()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return call()


@contextlib.contextmanager
def _held_open(path: Path | str, how: int = 0) -> Iterator[int]:
    """Open an existing file or directory for reading in the block; `how` are further flags."""
    descriptor = steady(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC | how))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create(path: Path | str) -> int:
    """Create a new file for reading and writing and return its descriptor; an existing file is an error."""
    with explained(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_append(path: Path) -> int:
    """Open a file for appending, create it if it is missing, and return its descriptor; links are not followed."""
    with explained(path):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def overwrite(path: Path, data: bytes) -> None:
    """Write a file in place, unsynced, and create it if it is missing; links are not followed."""
    with explained(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    _write_whole(descriptor, data, path)


def _write_whole(descriptor: int, data: bytes, path: Path) -> None:
    try:
        write(descriptor, data, path)
    finally:
        close(descriptor, path)


def write(descriptor: int, data: bytes | bytearray | memoryview, path: Path | str) -> None:
    """Write all of `data` at the file's position."""
    with explained(path):
        view = memoryview(data).cast("B")
        while view:
            view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int, path: Path) -> None:
    """Write all of `data` at `offset`."""
    with explained(path):
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written


def write_parts_at(descriptor: int, parts: Sequence[memoryview], offset: int, path: Path) -> None:
    """Write all of some parts, one after the other, at `offset`."""
    with explained(path):
        left = [part for part in parts if part.nbytes]
        while left:
            written = os.pwritev(descriptor, left, offset)
            offset += written
            while left and written >= left[0].nbytes:
                written -= left.pop(0).nbytes
            if written:
                left[0] = left[0][written:]


def truncate(descriptor: int, size: int, path: Path) -> None:
    """Set a file's size; bytes that were not written read as zeros."""
    with explained(path):
        os.ftruncate(descriptor, size)


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Reserve `size` bytes of the disk for a file: without that, a full disk kills a process that writes through a memory map."""
    with explained(path):
        os.posix_fallocate(descriptor, 0, size)


def close(descriptor: int, path: Path | str) -> None:
    """Close a file that was written; network file systems report some errors only here."""
    with explained(path):
        os.close(descriptor)


def sync(descriptor: int, path: Path) -> None:
    """Force a file's data to the disk."""
    with explained(path):
        os.fsync(descriptor)


def sync_closed(path: Path | str, final: Path | str) -> None:
    """Force the data of a closed file to the disk; `final` is its name in messages."""
    with explained(final), _held_open(path) as descriptor:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Force a directory's entries to the disk."""
    with explained(path), _held_open(path, os.O_DIRECTORY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Ask the system to start writing a part of a file to the disk, so that `sync` waits less; there is no guarantee."""
    with contextlib.suppress(AttributeError, OSError):  # Linux has it
        _system().sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def sync_file_system(path: Path | str) -> None:
    """Force all data of the file system of `path` to the disk: cheaper than many single syncs."""
    with explained(path), _held_open(path) as descriptor:
        _syncfs(descriptor)


def _syncfs(descriptor: int) -> None:
    if _system().syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def set_mtime(file: int | Path | str, mtime_ns: int, path: Path | str) -> None:
    """Set the mtime of a file of this process, given by descriptor or path; `path` is its final name."""
    with explained(path):
        os.utime(file, ns=(mtime_ns, mtime_ns))


def unlink(path: Path | str) -> None:
    """Remove a file; a missing one is fine."""
    with explained(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: Path, root: Path | None = None) -> None:
    """Remove a directory with its content, or the link in its place; a missing one is fine.

    Each directory is opened from within its parent, so no link is followed: neither in the directory, nor on the way to it
    from `root` (by default, its parent). On NFS, files that another process has open keep another name (`LEFTOVER`) until
    it closes them, and their directory stays too: that is not an error.

    Raises:
        InputRefused: a link is on the way.
    """
    with explained(path), contextlib.suppress(FileNotFoundError):
        parent = _open_below(path.parent, root if root is not None and path.parent.is_relative_to(root) else path.parent)
        try:
            _remove(path.name, parent, _MOST_DEPTH)
        finally:
            os.close(parent)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})  # the errors for anything else; with O_NOFOLLOW, for a link too


def _open_below(path: Path, root: Path) -> int:
    """Open a directory step by step from `root`."""
    descriptor = steady(partial(os.open, root, _DIRECTORY))
    for name in path.relative_to(root).parts:
        try:
            below = steady(partial(os.open, name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor))
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                raise InputRefused(
                    f"{name} is a link or not a directory, so nothing is removed there", where=path, fix="remove it yourself"
                ) from None
            raise
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _remove(name: str, parent: int, depth: int) -> bool:
    """Remove an entry of an open directory; return False if a part is left because other processes have it open."""
    try:
        descriptor = steady(partial(os.open, name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent))
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return True
    try:
        if not depth:
            raise OSError(errno.ELOOP, f"directories are nested deeper than {_MOST_DEPTH} levels; remove them yourself")
        with os.scandir(descriptor) as found:
            inner = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        removed = [_remove_inner(entry, is_directory, descriptor, depth) for entry, is_directory in inner]
        is_empty = all(removed)
    finally:
        os.close(descriptor)
    if is_empty:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=parent)
    return is_empty


def _remove_inner(name: str, is_directory: bool, parent: int, depth: int) -> bool:
    if is_directory:
        return _remove(name, parent, depth - 1)
    if name.startswith(LEFTOVER):
        return False
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
    return True


def make_directory(path: Path) -> None:
    """Create a directory and its parents; each is durable before anything is put into it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    make_unsynced(path)
    sync_directory(path.parent)


def make_unsynced(path: Path) -> None:
    """Create a directory in one that exists; the new name is not synced. An existing directory is fine."""
    with explained(path), contextlib.suppress(FileExistsError):
        try:
            os.mkdir(path)
        except OSError:
            if not path.is_dir():  # otherwise it was created, and only the answer was lost
                raise


def make_new_directory(path: Path | str) -> None:
    """Create a directory, unsynced; an existing one is an error."""
    with explained(path):
        os.mkdir(path)


def note(path: Path, text: str, add: bool = False) -> None:
    """Write a small file that only informs, or add to it: it is not synced, and a failed write is not an error."""
    with contextlib.suppress(OSError, NotWritable):
        os.makedirs(path.parent, exist_ok=True)
        if add:
            _write_whole(open_append(path), text.encode(), path)
        else:
            overwrite(path, text.encode())
