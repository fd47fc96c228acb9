"""The outcome of a session, test by test, for `.ci/run`: make reports only that something failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
DIRECTORY = "outcome"


def write_outcome(config: pytest.Config, exit_code: int, stats: Mapping[str, Sequence[Any]]) -> None:
    """Write the names of the tests that passed, and of those that failed, into pytest's cache.

    A session that did not run all its tests, because of an error at collection for example, writes nothing.
    """
    failed = [*stats.get("failed", ()), *stats.get("error", ())]
    is_whole = exit_code in ENDED and not any(isinstance(report, pytest.CollectReport) for report in failed)
    cache: pytest.Cache | None = getattr(config, "cache", None)  # `-p no:cacheprovider` takes it away
    if cache is None or not is_whole:
        return
    directory = cache.mkdir(DIRECTORY)
    _write(directory / "passed", stats.get("passed", ()))
    _write(directory / "failed", failed)


def _write(file: Path, reports: Sequence[Any]) -> None:
    file.write_text("".join(f"{name}\n" for name in sorted({report.nodeid for report in reports})), encoding="utf-8")
