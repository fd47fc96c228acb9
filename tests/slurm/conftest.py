"""A real Slurm for every test that asks for one: without accounting, or with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.slurm.cluster.cluster import Cluster, running
from tests.slurm.cluster.packages import Unavailable
from tests.slurm.slurm_helpers import LAYER, copy_of
from tests.workflow.workflow_helpers import SHARDS, VOXEL_SIZE, run, write_stack

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


@pytest.fixture(scope="session")
def finest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one layer of 256 storage shards that has no coarser mags yet."""
    directory = tmp_path_factory.mktemp("finest")
    images = directory / "images" / LAYER
    images.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for z in range(64):
        tifffile.imwrite(images / f"{z:03d}.tif", rng.integers(100, 140, size=(1024, 1024), dtype="u1"))
    done = run("convert", images.parent, directory / "dataset", "--voxel-size", VOXEL_SIZE, *SHARDS, "--no-downsample")
    assert done.returncode == 0, done.stderr
    return directory / "dataset"


@pytest.fixture(scope="session")
def pyramid(finest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `downsample` makes of it on this host."""
    target = copy_of(finest, tmp_path_factory.mktemp("pyramid") / "local")
    done = run("downsample", target, "--compression-level", "19")
    assert done.returncode == 0, done.stderr
    return target


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
    """What the local strategy makes of the slices."""
    target = tmp_path_factory.mktemp("local") / "dataset"
    done = run("convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS)
    assert done.returncode == 0, done.stderr
    return target
