"""RecordCount: how many records a ledger gains while a run is watched."""

from __future__ import annotations

from pathlib import Path

from wkpipe.storage.ledger import SEGMENT_SUFFIX, is_folded
from wkpipe.storage.lines import lines_of
from wkpipe.storage.local import as_place
from wkpipe.storage.opened import Damage
from wkpipe.storage.place import Place


class RecordCount:
    """Counts the records that were added to a ledger since this object was made.

    A segment never changes, so each is read once. While a writer merges its segments, a record may be counted twice.
    """

    def __init__(self, where: Place | Path) -> None:
        self._place = as_place(where)
        self._before = frozenset(self._place.names())
        self._lines: dict[str, int] = {}

    def added(self) -> int | None:
        """Return the number of records that were added; None if the ledger was folded since, as when its mag is published."""
        segments = [name for name in self._place.names() if name.endswith(SEGMENT_SUFFIX) and name not in self._before]
        if any(map(is_folded, segments)):
            return None
        return sum(map(self._count, segments))

    def _count(self, segment: str) -> int:
        if segment not in self._lines:
            opened = self._place.open(segment)
            if opened is None:  # merged meanwhile
                return 0
            try:
                self._lines[segment] = sum(1 for _ in lines_of(opened))
            except Damage:
                return 0
        return self._lines[segment]
