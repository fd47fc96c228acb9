"""The native engine, if it is built here."""

from __future__ import annotations

import pytest

from wkpipe.native import library


@pytest.fixture(scope="session")
def engine() -> library.Library:
    """Return the native engine, whatever WKPIPE_NATIVE says; skip the test if it is absent."""
    found, reason = library.found()
    if found is None:
        pytest.skip(f"no native engine: {reason}")
    return found
