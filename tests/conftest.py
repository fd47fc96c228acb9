"""Fixtures that every test may use, and the profiles of hypothesis."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# `ci` draws the same examples every time, so that a red build can be repeated; `explore` looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        # A shell starts what it runs in the background with SIGINT ignored, nohup with SIGHUP: every process that a test starts would
        # inherit that, but what has a handler here is as usual there.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else lambda *_: None)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the directory of reference data beside the repository, or skip the test."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no reference data: the directory `shared` is not beside the repository")
    return path


@pytest.fixture(scope="session")
def reference_python() -> Path:
    """Return the Python that has the reference package, or skip the test."""
    python = os.environ.get("WKPIPE_REFERENCE_PYTHON")
    if not python:
        pytest.skip("WKPIPE_REFERENCE_PYTHON is not set; `make test-reference` sets it")
    return Path(python)


@pytest.fixture
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn the syncs off, for tests in which no power is cut."""
    from wkpipe.storage import disk

    for name in ("sync", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
