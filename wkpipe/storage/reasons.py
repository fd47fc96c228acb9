"""Why a file system refuses a change, with the fix."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from wkpipe.errors import DamagedShard, NotWritable, UnreadableInput
from wkpipe.storage.access import nearest, owner_and_mode
from wkpipe.storage.room import free_bytes, has_no_inodes

_FREE_SPACE = "free some space and run the same command again"
_CHECK_DISK = "check it, then run the same command again"
_MOUNT_AGAIN = (
    "choose a target that is writable, or if it became read-only just now, "
    "have the disk checked and mounted again, then run the same command again"
)
_REASONS = {  # each with its fix
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.EROFS: ("the file system is read-only", _MOUNT_AGAIN),
    errno.EIO: ("the disk reports an input/output error", _CHECK_DISK),
    errno.ESHUTDOWN: ("the disk was shut down", _CHECK_DISK),
}
_FULL = ("the disk is full", _FREE_SPACE)
_NO_INODES = ("the file system has no inodes left", "remove some files (or choose larger shards) and run the same command again")


def refusal(path: Path, error: OSError) -> NotWritable:
    """Return the error for a path that could not be written."""
    if path.suffix == ".tmp":  # a temporary name means nothing to users
        path = path.parent
    if error.errno == errno.ENOSPC:
        reason, fix = _NO_INODES if has_no_inodes(path) else _FULL
    elif error.errno in (errno.EACCES, errno.EPERM):
        reason, fix = f"permission denied ({_whose(path)})", "make it writable or choose another target"
    else:
        reason, fix = _REASONS.get(error.errno or 0) or (error.strerror or str(error), "")
    return NotWritable(f"cannot write {path}: {reason}", fix=fix)


def check_room(path: Path, least: int) -> None:
    """Check that the file system of a path has `least` bytes and some inodes free, if it reports them.

    Raises:
        NotWritable: it does not.
    """
    with contextlib.suppress(OSError):
        free = free_bytes(path)
        if free is not None and free < least:
            raise NotWritable(f"cannot write {path}: only {free} bytes are free", fix=_FREE_SPACE)
    if has_no_inodes(path):
        raise refusal(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def _whose(path: Path) -> str:
    """Return owner and mode of the directory that may not be changed, or of the file in it."""
    found = nearest(path)
    if not found.is_dir() and not os.access(found.parent, os.W_OK | os.X_OK):
        found = found.parent
    where = "" if found == path else f"{found}: "
    return f"{where}{owner_and_mode(found)}"


@contextlib.contextmanager
def read_refusals(path: Path) -> Iterator[None]:
    """Raise `NotWritable` if the block cannot read `path`, a file that decides if this process may write.

    Raises:
        NotWritable: the file system refused to read it.
    """
    try:
        yield
    except (UnreadableInput, DamagedShard) as error:
        if isinstance(error.__cause__, OSError):
            raise refusal(path, error.__cause__) from error
        raise


@contextlib.contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` in the block into `NotWritable`, which names `path` and the fix."""
    try:
        yield
    except OSError as error:
        raise refusal(Path(path), error) from error
