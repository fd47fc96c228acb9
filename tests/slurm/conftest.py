"""A real Slurm for every test that asks for one: without accounting, or with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster.cluster import Cluster, running
from tests.slurm.cluster.packages import Unavailable

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are of `make test-slurm`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slurm)


def _cluster(accounting: bool) -> Iterator[Cluster]:
    try:
        with running(accounting=accounting) as cluster:
            yield cluster
    except Unavailable as reason:
        pytest.skip(f"no Slurm {'with accounting ' if accounting else ''}here: {reason}")


@pytest.fixture(scope="session")
def _slurm() -> Iterator[Cluster]:
    yield from _cluster(accounting=False)


@pytest.fixture(scope="session")
def _slurm_accounting() -> Iterator[Cluster]:
    yield from _cluster(accounting=True)


@pytest.fixture
def slurm(_slurm: Cluster) -> Iterator[Cluster]:
    """Slurm without accounting: three nodes, nothing runs; what the test breaks is mended after it."""
    yield _slurm
    _slurm.restore()


@pytest.fixture
def slurm_accounting(_slurm_accounting: Cluster) -> Iterator[Cluster]:
    """Slurm with slurmdbd, which knows the account `lab`."""
    yield _slurm_accounting
    _slurm_accounting.restore()
