"""Globs: sources that are given as a path with wildcards, like ``scans/*_C1.tif`` or ``scans/**/*.tif``."""

from __future__ import annotations

import glob
from pathlib import Path


def is_glob(path: Path) -> bool:
    """True if a path has wildcards."""
    return glob.has_magic(str(path))


def root_of(path: Path) -> Path:
    """Return the directory that all matches are below: the path up to its first part with a wildcard."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def matches(path: Path) -> list[Path]:
    """Return the files and directories that match, sorted; hidden ones only if the wildcards say so.

    Raises:
        FileNotFoundError: nothing matches.
    """
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 (a whole path)
    if not found:
        raise FileNotFoundError(path)
    return found
