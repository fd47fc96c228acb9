"""Every module of the benchmarks can be imported: most of them run only by hand, and use what tests and the product may rename."""

from __future__ import annotations

import importlib

import pytest

from tests.workflow.workflow_helpers import REPOSITORY

ELSEWHERE = {"__init__", "alone_webknossos"}
"""The latter runs in the environment of the reference package."""

MODULES = sorted(path.stem for path in (REPOSITORY / "bench").glob("*.py") if path.stem not in ELSEWHERE)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_imported(name: str) -> None:
    assert importlib.import_module(f"bench.{name}").__doc__
