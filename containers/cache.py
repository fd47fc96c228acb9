"""Directories that are expensive to make, kept outside of the repository."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wkpipe"


def cached(name: str) -> Path | None:
    """Return a directory of the cache, None if it has not been made."""
    path = CACHE / name
    return path if path.is_dir() else None


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return a directory of the cache; if it does not exist, `make` fills it.

    It gets its name when it is complete, so a build that is killed leaves nothing that is taken for a result. Of builds at the same
    time, one works and the others wait for it.
    """
    path = CACHE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(path)
    return path
