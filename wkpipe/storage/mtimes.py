"""Mtimes as stamps: a file that replaces another one has a later mtime, even if mtimes are coarse."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from wkpipe.storage import disk
from wkpipe.storage.reasons import explained

_COARSE_NS = 1_000_000_000
_MOST_AHEAD_NS = 3600 * _COARSE_NS


def mtime_of(path: Path | str) -> int | None:
    """Return a file's mtime; None if there is no file."""
    with contextlib.suppress(OSError):
        return disk.steady(lambda: os.stat(path)).st_mtime_ns
    return None


def later_mtime(mtime_ns: int, replaced: int | None) -> int | None:
    """Return the mtime that a file must get to differ from the file that it replaces; None if its own already differs.

    Files that replace each other quickly have equal mtimes if the file system rounds these to seconds or kernel ticks. A later
    mtime than the last file's also differs from those of all earlier files.

    >>> later_mtime(1_000_000_005, None), later_mtime(1_000_000_005, 1_000_000_004), later_mtime(1_000_000_005, 1_000_000_005)
    (None, None, 1000000006)
    >>> later_mtime(5_000_000_000, 5_000_000_000)
    6000000000
    """
    if replaced is None or mtime_ns > replaced or (mtime_ns != replaced and replaced - mtime_ns > _MOST_AHEAD_NS):
        return None
    return replaced + (1 if replaced % _COARSE_NS else _COARSE_NS)


def distinct_mtime(temporary: Path | str, final: Path | str) -> int:
    """Make sure that a closed file has another mtime than the file that it replaces, and return its mtime.

    Raises:
        NotWritable: the file is gone: the run may have lost the dataset.
    """
    with explained(final):
        mtime_ns = os.stat(temporary).st_mtime_ns
        if (later := later_mtime(mtime_ns, mtime_of(final))) is None:
            return mtime_ns
        disk.set_mtime(temporary, later, final)
        return os.stat(temporary).st_mtime_ns
