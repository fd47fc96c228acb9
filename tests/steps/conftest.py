"""Syncs are left out here: what a crash leaves behind is the subject of the tests of storage, and a busy disk makes them slow."""

from __future__ import annotations

import pytest

from wkpipe.storage import disk


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn the three syncs off; all else of the commit protocol stays."""
    for name in ("sync", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
