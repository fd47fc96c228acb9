"""What this user may do with files and directories, checked before the first change.

A deletion or a change that fails half-way is worse than one that is refused. So code that deletes or replaces files checks
all of them here first. Nothing here writes.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from wkpipe.errors import NotWritable, UnreadableInput
from wkpipe.storage.mounts import mounted_below

_DIRECTORY_CHANGE = os.W_OK | os.X_OK


def nearest(path: Path) -> Path:
    """Return the path itself, or its nearest parent that exists and can be reached."""
    found = str(path)
    while not _is_reachable(found):
        found = os.path.dirname(found)
    return path if found == str(path) else Path(found)


def _is_reachable(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return path == os.path.dirname(path) or not os.path.dirname(path)
    return True


def owner(path: Path) -> str:
    """Return the name of a file's owner."""
    return _user(os.lstat(path).st_uid)


def owner_and_mode(path: Path) -> str:
    """Return a file's owner and mode in words.

    >>> owner_and_mode(Path("/"))  # doctest: +ELLIPSIS
    'it belongs to ... with mode d...'
    """
    status = os.lstat(path)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"it belongs to {_user(status.st_uid)}:{group} with mode {stat.filemode(status.st_mode)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


# A path that this user cannot see, because a directory above it is closed, counts as absent; `pathlib` raises an error instead.


def exists(path: Path | str) -> bool:
    """True if there is something that this user can see."""
    return os.path.exists(path)


def is_directory(path: Path | str) -> bool:
    """True if there is a directory that this user can see."""
    return os.path.isdir(path)


def is_link(path: Path | str) -> bool:
    """True if there is a symbolic link that this user can see."""
    return os.path.islink(path)


def leads_elsewhere(path: str, straight: set[str]) -> str | None:
    """Return where an absolute path leads if a part of it is a link; else None, and note it and its parent as `straight`.

    Of a path in a directory that is known to be straight, only the last part is looked at.
    """
    parent, name = os.path.split(path)
    if parent not in straight or name == ".." or os.path.islink(path):
        if (real := os.path.realpath(path)) != path:
            return real
        straight.add(parent)
    straight.add(path)
    return None


# -- reading --------------------------------------------------------------------------------------------------------


def check_readable(paths: Iterable[Path | str], fix: str) -> None:
    """Check that files and directories can be read; missing ones are fine.

    Raises:
        UnreadableInput: one cannot be read; names its owner and mode, and the fix.
    """
    for path in paths:
        try:
            status = os.stat(path)
        except PermissionError:
            raise unreadable(Path(path), fix) from None
        except OSError:
            continue
        if not os.access(path, os.R_OK | os.X_OK if stat.S_ISDIR(status.st_mode) else os.R_OK):
            raise unreadable(Path(path), fix)


def unreadable(path: Path, fix: str) -> UnreadableInput:
    """Return the error for a file that this user may not read."""
    found = nearest(path)
    why = owner_and_mode(found) if found == path else f"{found}: {owner_and_mode(found)}"
    return UnreadableInput(f"{path} cannot be read: {why}", fix=fix)


# -- changing -------------------------------------------------------------------------------------------------------


def check_writable(directory: Path, fix: str) -> None:
    """Check that files can be created in a directory, or that the directory and its parents can be created.

    Raises:
        NotWritable: they cannot; names the nearest directory that exists, its owner and mode, and the fix.
    """
    found = nearest(directory)
    if not found.is_dir():
        raise NotWritable(f"{found} is a file, not a directory", fix="choose another target")
    if not os.access(found, _DIRECTORY_CHANGE):
        raise _not_writable(found, fix)


def check_replaceable(file: Path, fix: str) -> None:
    """Check that a file can be created, replaced or removed.

    Raises:
        NotWritable: it cannot; names the path, its owner and mode, and the fix.
    """
    check_writable(file.parent, fix)
    try:
        status = os.lstat(file)
    except OSError:
        return
    _check_sticky(file.parent, os.stat(file.parent), file, status, fix)
    may_write = os.geteuid() in (0, status.st_uid) and status.st_mode & stat.S_IWUSR
    if stat.S_ISREG(status.st_mode) and may_write and not os.access(file, os.W_OK):
        raise NotWritable(f"{file} cannot be replaced or removed: it is immutable", fix=fix)


def check_removable(path: Path, fix: str) -> None:
    """Check that a file, or a directory with all its content, can be removed; a missing one is fine.

    Only directories are examined, and files only in directories with a sticky bit.

    Raises:
        NotWritable: something cannot be removed; names the path, its owner and mode, and the fix.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotWritable(f"{path} cannot be removed: {error.strerror}", fix=fix) from None
    check_replaceable(path, fix)
    if not stat.S_ISDIR(status.st_mode):
        return
    for mounted in mounted_below(path):
        raise NotWritable(f"{path} cannot be removed: {mounted} is a mount point", fix="unmount it, or choose another target")
    _check_tree(path, status, fix)


def _check_tree(directory: Path, status: os.stat_result, fix: str) -> None:
    if not os.access(directory, _DIRECTORY_CHANGE | os.R_OK):
        raise _not_writable(directory, fix)
    is_sticky = _is_sticky(status)
    with os.scandir(directory) as entries:
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if not is_sticky and not is_directory:
                continue
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            _check_sticky(directory, status, Path(entry.path), found, fix)
            if is_directory:
                _check_tree(Path(entry.path), found, fix)


def _is_sticky(status: os.stat_result) -> bool:
    """True if only their owners may remove the entries of a directory, and this user is neither root nor its owner."""
    return bool(status.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, status.st_uid)


def _check_sticky(directory: Path, of_directory: os.stat_result, path: Path, of_path: os.stat_result, fix: str) -> None:
    if _is_sticky(of_directory) and of_path.st_uid != os.geteuid():
        raise NotWritable(f"{path} cannot be replaced or removed: {owner_and_mode(path)}, and {directory} has the sticky bit", fix=fix)


def _not_writable(directory: Path, fix: str) -> NotWritable:
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return NotWritable(f"{directory} is not writable: its file system is mounted read-only ({owner_and_mode(directory)})", fix=fix)
    return NotWritable(f"{directory} is not writable: {owner_and_mode(directory)}", fix=fix)
