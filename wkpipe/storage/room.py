"""The room on the file systems of this host. Quotas and what other programs are about to write cannot be seen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wkpipe.storage.access import nearest

_FEW_INODES: Final = 64


def free_bytes(path: Path) -> int | None:
    """Return how many bytes this user may still write on the file system of a path, which need not exist.

    None if the file system does not report it, as some network file systems.
    """
    found = os.statvfs(nearest(path))
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def has_no_inodes(path: Path) -> bool:
    """True if the file system of a path has a fixed number of inodes and almost none is free (a failed write may release some)."""
    with contextlib.suppress(OSError):
        found = os.statvfs(nearest(path))
        return found.f_files > 0 and found.f_favail < _FEW_INODES
    return False


def taken_below(path: Path) -> Iterator[int]:
    """Yield the bytes that each file below a directory takes on its disk; links are not followed."""
    for parent, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(Path(parent, name))
            except OSError:  # the file was deleted meanwhile
                continue
            yield found.st_blocks * 512
