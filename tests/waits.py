"""Count how often the program waits for the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from wkpipe.storage import barrier, disk


class Waits:
    """Counts the waits for the disk that follow each other; all syncs of one barrier are one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.syncs = 0
        self._is_waiting = False
        self._at_once = barrier.at_once
        monkeypatch.setattr(barrier, "at_once", self._wait)
        monkeypatch.setattr(os, "fsync", self._sync)
        monkeypatch.setattr(disk, "_syncfs", self._sync)

    def _wait(self, calls: Sequence[Callable[[], None]]) -> None:
        self.count += bool(calls)
        self._is_waiting = True
        self._at_once(calls)
        self._is_waiting = False

    def _sync(self, _: int) -> None:
        self.syncs += 1
        self.count += not self._is_waiting
