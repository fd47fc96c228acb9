"""Why a file system refuses a change, in words that tell what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from wkpipe.errors import NotWritable
from wkpipe.storage.access import nearest, owner_and_mode

_REASONS = {
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: (
        "the file system is read-only; choose a target that is writable, or if it became read-only just now, "
        "have the disk checked and mounted again, then run the same command again"
    ),
    errno.EIO: "the disk reports an input/output error; check it, then run the same command again",
    errno.ESHUTDOWN: "the disk was shut down; check it, then run the same command again",
}
_FULL = "the disk is full; free some space and run the same command again"
_NO_INODES = "the file system has no inodes left; remove some files (or choose larger shards) and run the same command again"
_FEW_INODES = 64


def refusal(path: Path, error: OSError) -> NotWritable:
    """Return the error for a path that could not be written."""
    if path.suffix == ".tmp":  # a temporary name means nothing to anybody
        path = path.parent
    if error.errno == errno.ENOSPC:
        reason = _NO_INODES if has_no_inodes(path) else _FULL
    elif error.errno in (errno.EACCES, errno.EPERM):
        reason = _denied(path)
    else:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
    return NotWritable(f"can not write {path}: {reason}")


def has_no_inodes(path: Path) -> bool:
    """True if the file system of a path has a fixed number of inodes and hardly any is free (what failed has given some back)."""
    with contextlib.suppress(OSError):
        found = os.statvfs(nearest(path))
        return found.f_files > 0 and found.f_favail < _FEW_INODES
    return False


def _denied(path: Path) -> str:
    """Say whose the directory is that may not be changed, or the file in it."""
    found = nearest(path)
    if not found.is_dir() and not os.access(found.parent, os.W_OK | os.X_OK):
        found = found.parent
    where = "" if found == path else f"{found}: "
    return f"permission denied ({where}{owner_and_mode(found)}); make it writable or choose another target"
