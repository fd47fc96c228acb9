"""Fixtures of the comparing tests; all workers of a test run share their results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reference.sources import make_source
from tests.reference.workshop import Reference, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    base = tmp_path_factory.getbasetemp()
    return Workshop((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workshop")


@pytest.fixture(scope="session")
def reference(workshop: Workshop, reference_python: Path) -> Reference:
    return Reference(reference_python, workshop.root / "reference.lock")


@pytest.fixture(scope="session")
def source(workshop: Workshop) -> Callable[[str], Path]:
    """Return a function that returns the directory of a source's images."""
    return lambda name: workshop.once(f"source-{name}", lambda path: make_source(name, path)) / name
