"""One line for each reason of skipped tests, with their number, instead of pytest's line for each test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


def skip_lines(reports: Iterable[Any]) -> list[str]:
    """Return one line for each reason of skipped tests, the most frequent first."""
    return [f"SKIPPED {count}: {reason}" for reason, count in Counter(map(_reason, reports)).most_common()]


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
