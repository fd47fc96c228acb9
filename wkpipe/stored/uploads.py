"""Where the journals of uploads are in the state of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wkpipe.stored.places import place_at

UPLOADS: Final = "uploads"


def uploads_directory(state: Path) -> Path:
    """Return the directory of the journals of uploads in a state directory."""
    return state / UPLOADS


def upload_directory(state: Path, key: str) -> Path:
    """Return the directory of the journal of one upload in a state directory.

    Raises:
        InputRefused: it is a link.
    """
    place_at(uploads_directory(state)).refuse_links(key)
    return uploads_directory(state) / key
