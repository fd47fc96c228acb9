"""The narrow seam to the local file system: every call that changes what is on disk goes through here.

Tests replace single functions of this module to fail, delay or kill at the n-th call; nothing else in wkpipe opens
a file of a dataset for writing. ``OSError`` becomes `NotWritable` with the path and the reason in one line.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import NotWritable

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; choose a target that is writable",
    errno.EACCES: "permission denied; make it writable or choose another target",
    errno.EPERM: "permission denied; make it writable or choose another target",
    errno.EIO: "the disk reports an input/output error; check it, then run the same command again",
}


@contextlib.contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` in the block into `NotWritable` that names `path` and the mend."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise NotWritable(f"can not write {path}: {reason}") from error


def create(path: Path) -> int:
    """Create a new file for reading and writing and return its descriptor; an existing one is an error."""
    with explained(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_append(path: Path) -> int:
    """Open a file for appending, making it where it is missing, and return its descriptor."""
    with explained(path):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def write(descriptor: int, data: bytes | bytearray | memoryview, path: Path) -> None:
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


def truncate(descriptor: int, size: int, path: Path) -> None:
    """Set a file's size; what was not written reads as zeros."""
    with explained(path):
        os.ftruncate(descriptor, size)


def sync(descriptor: int, path: Path) -> None:
    """Force a file's data to the disk."""
    with explained(path):
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Force a directory's entries to the disk."""
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Force everything that was written to the file system of `path` to the disk: cheaper than many single syncs."""
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename atomically, replacing what is there."""
    with explained(target):
        os.replace(source, target)


def link(source: Path, target: Path) -> bool:
    """Give a file a second name; return False where that name is taken already."""
    with explained(target):
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        return True


def unlink(path: Path) -> None:
    """Remove a file; one that is gone already is fine."""
    with explained(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def make_directory(path: Path) -> None:
    """Make a directory with its parents, each one durable before anything is put into it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with explained(path), contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_directory(path.parent)
