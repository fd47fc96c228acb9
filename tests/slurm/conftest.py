"""A real Slurm for the tests that request one, with or without accounting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import converted_here, copy_of, downsampled_here, write_finest
from tests.slurm.cluster.cluster import Cluster, running
from tests.slurm.cluster.packages import Unavailable
from tests.workflow.workflow_helpers import write_stack

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here belong to `make test-slurm`."""
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
    """Slurm without accounting: three idle nodes. What the test breaks is restored after it."""
    yield _slurm
    _slurm.restore()


@pytest.fixture
def slurm_accounting(_slurm_accounting: Cluster) -> Iterator[Cluster]:
    """Slurm with slurmdbd, which knows the account `lab`."""
    yield _slurm_accounting
    _slurm_accounting.restore()


@pytest.fixture(scope="session")
def finest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one layer of 256 storage shards that has no coarser mags yet."""
    return write_finest(tmp_path_factory.mktemp("finest"), (64, 1024, 1024))


@pytest.fixture(scope="session")
def pyramid(finest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of `downsample` on this host."""
    return downsampled_here(finest, tmp_path_factory.mktemp("pyramid") / "local")


@pytest.fixture
def dataset(finest: Path, tmp_path: Path) -> Path:
    """A copy of `finest` for one test."""
    return copy_of(finest, tmp_path / "work")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of slices."""
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 300, 340))


@pytest.fixture(scope="session")
def expected(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the local strategy for the slices."""
    return converted_here(stack, tmp_path_factory.mktemp("local") / "dataset")
