"""Fixtures that every test may use, and the profiles of hypothesis."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.material import GOLDEN
from tests.outcome import write_outcome
from tests.sample import header, sampled
from tests.summary import skip_lines

ROOT = Path(__file__).resolve().parent.parent

# `ci` draws the same examples every time, so that a red build can be repeated; `explore` looks for new ones.
settings.register_profile("ci", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2000, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        # A shell starts background processes with SIGINT ignored, nohup with SIGHUP ignored. Every process that a test starts would
        # inherit that; a signal with a handler here has its default there.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else lambda *_: None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Report why tests were skipped, with one line for each reason; the cache gets the outcome of all tests."""
    write_outcome(config, exitstatus, terminalreporter.stats)
    for line in skip_lines(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def pytest_report_header(config: pytest.Config) -> str:
    return header(ROOT, config.args)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of large families that are not in this commit's sample."""
    items[:], others = sampled(items, ROOT, config.args)
    if others:
        config.hook.pytest_deselected(items=others)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory for temporary files, where tests that draw many examples put a directory for each."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on another file system than `tmp_path`."""
    for place in ("/dev/shm", tempfile.gettempdir(), ROOT):
        if os.access(place, os.W_OK) and Path(place).stat().st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=place, prefix="wkpipe-test-") as directory:
                yield Path(directory)
            return
    pytest.skip("there is no second file system to write to")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the directory of the datasets that the reference package made."""
    return GOLDEN


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

    for name in ("sync", "sync_closed", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
