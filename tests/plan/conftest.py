"""No syncs here: the tests of storage cover crashes, and a busy disk makes syncs slow."""

from __future__ import annotations

import pytest

from wkpipe.storage import disk


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the three syncs; the rest of the commit protocol stays."""
    for name in ("sync", "sync_closed", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
