"""Where the places of datasets and their states are made: the only spot that knows that they are directories of a disk."""

from __future__ import annotations

from pathlib import Path

from wkpipe.storage.local import Local
from wkpipe.storage.place import Place


def place_at(where: Path) -> Place:
    """Return the place of a dataset, of a state, or of a part of one."""
    return Local(where)
