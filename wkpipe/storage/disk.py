"""The narrow seam to the local file system: every call that changes what is on disk goes through here.

Tests put another ``os`` into this module, which fails, kills or cuts the power at the n-th call; that nothing else in
wkpipe changes a disk is itself a test. ``OSError`` becomes `NotWritable` with the path and the reason in one line.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.storage.reasons import refusal

_MOST_DEPTH = 200  # directories that are nested deeper are not wkpipe's; each level takes a descriptor

# What file systems answer that lack hard links (FAT, some FUSE), or the sync of a directory (some network ones).
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_DIRECTORY_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP})

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_NOREPLACE = 1  # linux/fs.h
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h


@contextlib.contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` in the block into `NotWritable` that names `path` and the mend."""
    try:
        yield
    except OSError as error:
        raise refusal(Path(path), error) from error


MOST_SMALL_BYTES = 1 << 16


def read_small(path: Path) -> bytes:
    """Return the content of a small file of ours, or its beginning; whatever lies there instead, this comes to an end.

    Raises:
        OSError: it is not there, can not be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.read(descriptor, MOST_SMALL_BYTES)
    finally:
        os.close(descriptor)


def create(path: Path) -> int:
    """Create a new file for reading and writing and return its descriptor; an existing one is an error."""
    with explained(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def open_append(path: Path) -> int:
    """Open a file for appending, making it where it is missing, and return its descriptor; a link is not followed."""
    with explained(path):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


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


def reserve(descriptor: int, size: int, path: Path) -> None:
    """Give a file `size` bytes of the disk: one that is written through memory could else only die of a full disk."""
    with explained(path):
        os.posix_fallocate(descriptor, 0, size)


def close(descriptor: int, path: Path) -> None:
    """Close a file that was written: network file systems tell only here what went wrong."""
    with explained(path):
        os.close(descriptor)


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
        except OSError as error:
            if error.errno not in _NO_DIRECTORY_SYNC:
                raise
        finally:
            os.close(descriptor)


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Have the system begin to write a part of a file to the disk, so that `sync` has less to wait for; promises nothing."""
    with contextlib.suppress(AttributeError, OSError):  # Linux has it
        call = ctypes.CDLL(None).sync_file_range
        call(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def sync_file_system(path: Path) -> None:
    """Force everything that was written to the file system of `path` to the disk: cheaper than many single syncs."""
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _syncfs(descriptor)
        finally:
            os.close(descriptor)


def _syncfs(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rename(source: Path, target: Path) -> None:
    """Rename atomically, replacing what is there."""
    with explained(target):
        os.replace(source, target)


def take_name(source: Path, target: Path) -> bool:
    """Give a whole file a name that nobody else has, atomically; return False where that name is taken already.

    The file has both names afterwards; where the file system has no hard links, `target` alone.
    """
    with explained(target):
        try:
            os.link(source, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _rename_to_free_name(source, target)
        return True


def _rename_to_free_name(source: Path, target: Path) -> bool:
    names = os.fsencode(source), os.fsencode(target)
    if ctypes.CDLL(None, use_errno=True).renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    raise OSError(code, os.strerror(code))


def touch(path: Path) -> None:
    """Set a file's mtime to now."""
    with explained(path):
        os.utime(path)


def unlink(path: Path) -> None:
    """Remove a file; one that is gone already is fine."""
    with explained(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: Path, root: Path | None = None) -> None:
    """Remove a directory with all that is in it, or the link in its place; what is gone already is fine.

    Directories are opened one in the other, so no link is followed: neither in the directory, nor on the way to it from
    `root` (by default, its parent).

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
_NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})  # what opening anything else answers, with O_NOFOLLOW a link too


def _open_below(path: Path, root: Path) -> int:
    """Open a directory step by step from `root`."""
    descriptor = os.open(root, _DIRECTORY)
    for name in path.relative_to(root).parts:
        try:
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                raise InputRefused(f"{path}: {name} is a link or no directory; nothing is removed there: remove it yourself") from None
            raise
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _remove(name: str, parent: int, depth: int) -> None:
    """Remove what has a name in an open directory."""
    try:
        descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return
    try:
        if not depth:
            raise OSError(errno.ELOOP, f"directories are nested deeper than {_MOST_DEPTH} levels; remove them yourself")
        with os.scandir(descriptor) as found:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        for inner, is_directory in names:
            if is_directory:
                _remove(inner, descriptor, depth - 1)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(inner, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)


def make_directory(path: Path) -> None:
    """Make a directory with its parents, each one durable before anything is put into it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with explained(path), contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_directory(path.parent)


def try_to_write(path: Path) -> None:
    """Write a small file and remove it.

    Raises:
        NotWritable: the disk does not take it; says why.
    """
    descriptor = create(path)
    try:
        write(descriptor, b"?", path)
        sync(descriptor, path)
    finally:
        os.close(descriptor)
        unlink(path)


def note(path: Path, text: str) -> None:
    """Write a small file that informs and proves nothing: not synced, and a disk that can not take it is no error."""
    _inform(path, text, os.O_TRUNC | os.O_NOFOLLOW)


def add_note(path: Path, text: str) -> None:
    """Add to a file that informs, as `note`; a link is not followed."""
    _inform(path, text, os.O_APPEND | os.O_NOFOLLOW)


def _inform(path: Path, text: str, how: int) -> None:
    with contextlib.suppress(OSError):
        os.makedirs(path.parent, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
