"""Read notes: files that only inform. They are written in place (`wkpipe.storage.disk.note`), so a reader may see a part of one."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import Any, Final

from wkpipe.errors import WkpipeError
from wkpipe.storage.opened import Damage
from wkpipe.storage.place import Place

_MOST_BYTES: Final = 1 << 28
"""More than any note has."""

_FULL_CHARACTERS: Final = 1 << 14
"""A note of a series that has more is not written again."""


class NoteSeries:
    """Text that grows by lines, as a series of notes in one directory: a place need not be able to append.

    Any number of processes may write, on any host. Each rewrites its own last note until that is full. Notes are sorted by the time
    at which they were begun.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._key, self._text = "", ""

    def add(self, lines: str) -> None:
        """Add whole lines; as for every note, they may be lost, and a failed write is not an error."""
        if not self._key or len(self._text) >= _FULL_CHARACTERS:
            self._key, self._text = f"{time.time_ns():019d}-{secrets.token_hex(4)}", ""
        self._text += lines
        self._place.note(self._key, self._text)


def series_text(place: Place) -> str:
    """Return the text of a series of notes; an empty one if there is none, or if it cannot be read."""
    return "".join(note_text(place, key) for key in series_keys(place))


def series_keys(place: Place) -> list[str]:
    """Return the keys of the notes of a series, in order; none if they cannot be listed."""
    with contextlib.suppress(WkpipeError):  # a disk that does not answer
        return sorted(place.names())
    return []


def note_text(place: Place, key: str) -> str:
    """Return the text of a note; an empty one if there is none, or if it cannot be read."""
    with contextlib.suppress(WkpipeError):  # it may be being written
        return (place.content(key, _MOST_BYTES) or b"").decode(errors="replace")
    return ""


def note_values(place: Place, key: str) -> dict[str, Any]:
    """Return the JSON object in a note; an empty one if there is none, or if it cannot be read."""
    with contextlib.suppress(ValueError):
        values = json.loads(note_text(place, key))
        if isinstance(values, dict):
            return values
    return {}


def text_from(place: Place, key: str, start: int, most: int = _MOST_BYTES) -> bytes:
    """Return what was appended to a file after its first `start` bytes, at most the last `most` bytes; empty if it cannot be read."""
    with contextlib.suppress(WkpipeError, OSError, Damage):
        opened = place.open(key)
        if opened is not None:
            first = max(start, opened.size - most)
            return opened.read(first, max(0, opened.size - first))
    return b""
