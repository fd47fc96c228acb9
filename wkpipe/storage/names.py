"""Give a file or directory its name atomically, even if the answer to the call may be lost.

A network file system may do what was requested and still report an error: its answer was lost, and the repeated request
found the name taken (link, mkdir) or the old name gone (rename). So every error is checked: if the new name already
belongs to the right file, the call has succeeded.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

from wkpipe.storage.reasons import explained

# The errors of file systems without hard links (FAT, some FUSE).
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_NOREPLACE = 1  # linux/fs.h


def rename(source: Path | str, target: Path | str) -> None:
    """Rename a file or directory atomically; what has the new name is replaced."""
    with explained(target):
        before = os.lstat(source)
        try:
            os.replace(source, target)
        except OSError:
            if not _is_moved(before, source, target):
                raise


def take_name(source: Path, target: Path) -> bool:
    """Give a complete file an unused name, atomically; return False if the name is taken.

    Afterwards the file has both names, or only `target` if the file system has no hard links.
    """
    with explained(target):
        before = os.lstat(source)
        try:
            os.link(source, target)
        except OSError as error:
            if _is_same(before, target):
                return True
            if isinstance(error, FileExistsError):
                return False
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _rename_to_free_name(source, target, before)
        return True


def add_name(source: Path, target: Path) -> bool:
    """Give a file a second name, which is not used yet; return False if the file system cannot do that."""
    with explained(target):
        before = os.lstat(source)
        try:
            os.link(source, target)
        except OSError as error:
            if _is_same(before, target):
                return True
            if error.errno not in _NO_HARD_LINKS and error.errno != errno.EXDEV:
                raise
            return False
        return True


def take_link(link: Path, target: str) -> None:
    """Make a symbolic link with an unused name; one that has the same target already is fine."""
    with explained(link):
        try:
            os.symlink(target, link)
        except OSError:
            refresh(link.parent)
            if not os.path.islink(link) or os.readlink(link) != target:
                raise


def _rename_to_free_name(source: Path, target: Path, before: os.stat_result) -> bool:
    names = os.fsencode(source), os.fsencode(target)
    if ctypes.CDLL(None, use_errno=True).renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
        return True
    code = ctypes.get_errno()
    if _is_moved(before, source, target):
        return True
    if code == errno.EEXIST:
        return False
    raise OSError(code, os.strerror(code))


def refresh(directory: Path | str) -> None:
    """Make NFS ask the server for the names in a directory: opening the directory does that."""
    with contextlib.suppress(OSError):
        os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _is_same(before: os.stat_result, target: Path | str) -> bool:
    """True if a name belongs to the file or directory with this status."""
    refresh(os.path.dirname(target))
    with contextlib.suppress(OSError):
        found = os.lstat(target)
        return (found.st_dev, found.st_ino) == (before.st_dev, before.st_ino)
    return False


def _is_moved(before: os.stat_result, source: Path | str, target: Path | str) -> bool:
    return _is_same(before, target) and not os.path.lexists(source)
