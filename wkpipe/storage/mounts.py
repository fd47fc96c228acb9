"""The file systems that are mounted on this host."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def mounted_below(path: Path) -> Iterator[str]:
    """Yield the mount points below a directory; they cannot be renamed or removed."""
    root = os.path.realpath(path) + "/"
    for fields in _lines(Path("/proc/self/mountinfo")):
        point = _unescaped(fields[4])
        if (point + "/").startswith(root):
            yield point


def file_system_of(path: Path) -> str:
    """Return the type of the file system of a resolved path; an empty text if it is not known.

    >>> file_system_of(Path("/proc"))
    'proc'
    """
    # Of several file systems mounted at the same place, the last one is visible.
    found = {Path(_unescaped(point)): kind for _, point, kind, *_ in _lines(Path("/proc/self/mounts"))}
    around = [point for point in found if path.is_relative_to(point)]
    return found[max(around, key=lambda point: len(point.parts))] if around else ""


def _lines(table: Path) -> list[list[str]]:
    """Return the fields of each line of a table of the kernel; no lines on systems that do not have it."""
    try:
        return [line.split(" ") for line in table.read_text(errors="surrogateescape").splitlines()]
    except OSError:  # not Linux
        return []


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
