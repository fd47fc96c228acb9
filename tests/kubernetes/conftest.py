"""A real Kubernetes for the tests that request one: the bed's, or that of KUBECONFIG."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers.build import build_image
from tests.cluster.cluster_helpers import converted_here, downsampled_here, wait_until, write_finest
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.bed.host import Unavailable, check_host
from tests.kubernetes.bed.parts import built_parts
from tests.kubernetes.ground import Ground, grant
from tests.kubernetes.kubernetes_helpers import ENDED, SUBMITTER, Access, Space, new_space
from tests.workflow.workflow_helpers import VOXEL_SIZE, run, write_stack

HERE = Path(__file__).parent
IMAGE_VARIABLE = "WKPIPE_KUBERNETES_IMAGE"
"""With KUBECONFIG: the name of an image that the nodes of that cluster can pull, as `make image` builds it."""

DIRECTORY_VARIABLE = "WKPIPE_KUBERNETES_DIRECTORY"
"""With KUBECONFIG: a directory that all nodes of that cluster and this host have under the same path, such as one on NFS."""

VOLUMES = (Path("/srv"), Path("/opt"), Path("/usr/local"))
"""Directories that every user can reach and that are not for temporary files, which other hosts do not see. The first one is used."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here belong to `make test-kubernetes`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def _meeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the workers of a test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def image(_meeting: Path) -> tuple[str, Path]:
    """The image of the code that is tested: its name and its archive. It is built once for a test run."""
    output = _meeting / "image"
    note = _meeting / "image-name"
    with (_meeting / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(build_image(output))
    return note.read_text(), output / "wkpipe.oci.tar"


@pytest.fixture(scope="session")
def _cluster(request: pytest.FixtureRequest) -> Iterator[Cluster | None]:
    """A cluster of this process alone, which its tests may break; None if KUBECONFIG names one."""
    if os.environ.get("KUBECONFIG"):
        yield None
        return
    try:
        check_host()
        parts = built_parts()
    except Unavailable as reason:
        pytest.skip(f"no Kubernetes can run here: {reason}")
    cluster = Cluster.started(parts, [request.getfixturevalue("image")[1]])
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def kubernetes(_cluster: Cluster | None, request: pytest.FixtureRequest) -> Iterator[Access]:
    if _cluster is None:
        yield _foreign_access()
        return
    with _cluster.network():
        access = Access(_cluster.kubeconfig, request.getfixturevalue("image")[0], _cluster.layout.user_kubeconfig)
        access.create_priorities()
        yield access


@pytest.fixture
def cluster(_cluster: Cluster | None, kubernetes: Access) -> Iterator[Cluster]:
    """The bed's cluster for a test that breaks it. What the test breaks is restored after it, until pods run as before."""
    if _cluster is None:
        pytest.skip("KUBECONFIG is set: a cluster that is not the tests' own is not broken")
    yield _cluster
    _cluster.start_all()
    wait_until(kubernetes.has_answered, "the API server")
    wait_until(kubernetes.node_is_ready, "the node")
    space = new_space(kubernetes, "afterwards")
    try:
        _see_a_pod_run(_cluster, space)
    finally:
        space.remove()


def _see_a_pod_run(cluster: Cluster, space: Space) -> None:
    """Wait until a pod has run: a daemon that lost its API server may wait for minutes. Then it is started again."""
    for number in range(3):
        space.submit(f"probe-{number}", ["true"])
        with contextlib.suppress(AssertionError):
            space.wait(f"probe-{number}", lambda pod: pod.status.phase in ENDED, 60)
            return
        for daemon in ("controllers", "scheduler", "kubelet"):
            cluster.kill(daemon)
        cluster.start_all()
    raise AssertionError(f"no pod runs any more; the ends of the daemons' logs:\n{cluster.log_ends()}")


@pytest.fixture
def space(kubernetes: Access, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace of the test's own."""
    space = new_space(kubernetes, request.node.name)
    yield space
    wait_until(kubernetes.has_answered, "the API server")
    space.remove()


@pytest.fixture
def shared(_cluster: Cluster | None, space: Space) -> Iterator[Path]:
    """A directory that the test's pods can mount as the volume `shared`. It belongs to their user, who can also reach it on this host."""
    base = next(place for place in VOLUMES if place.is_dir() and os.access(place, os.W_OK))
    if _cluster is None:
        if DIRECTORY_VARIABLE not in os.environ:
            pytest.skip(f"KUBECONFIG is set, and {DIRECTORY_VARIABLE} is not: a directory that this host and all nodes share")
        base = Path(os.environ[DIRECTORY_VARIABLE])
    with tempfile.TemporaryDirectory(dir=base, prefix="wkpipe-shared-") as directory:
        os.chown(directory, SUBMITTER, SUBMITTER)
        space.share(Path(directory))
        yield Path(directory)


@pytest.fixture
def ground(_cluster: Cluster | None, space: Space, shared: Path) -> Ground:
    """A namespace and a volume for whole runs. On the bed's cluster, the runs have no more rights than wkpipe needs."""
    if _cluster is None:
        return Ground(space, shared, space.access.kubeconfig, None)
    grant(space, "wkpipe")
    return Ground(space, shared, _cluster.layout.user_kubeconfig, _cluster)


@pytest.fixture(scope="session")
def finest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one layer of 384 storage shards that has no coarser mags yet."""
    return write_finest(tmp_path_factory.mktemp("finest"), (96, 1024, 1024))


@pytest.fixture(scope="session")
def pyramid(finest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of `downsample` on this host."""
    return downsampled_here(finest, tmp_path_factory.mktemp("pyramid") / "local")


@pytest.fixture
def dataset(finest: Path, ground: Ground) -> Path:
    """A copy of `finest` on the volume of one test."""
    return ground.copied(finest)


@pytest.fixture(scope="session")
def large_shards(finest: Path) -> tuple[Path, Path]:
    """The same voxels in storage shards so large that several processes make one; and the result of `downsample` on this host."""
    source = finest.parent / "large" / "dataset"
    done = run("convert", finest.parent / "images", source, "--voxel-size", VOXEL_SIZE, "--shard-shape", "256,256,64", "--no-downsample")
    assert done.returncode == 0, done.stderr
    return source, downsampled_here(source, finest.parent / "large-pyramid")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of slices."""
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 300, 340))


@pytest.fixture(scope="session")
def expected(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the local strategy for the slices."""
    return converted_here(stack, tmp_path_factory.mktemp("local") / "dataset")


def _foreign_access() -> Access:
    image = os.environ.get(IMAGE_VARIABLE)
    if not image:
        pytest.skip(f"KUBECONFIG is set, and {IMAGE_VARIABLE} is not: the name of an image that its nodes can pull")
    access = Access(Path(os.environ["KUBECONFIG"]), image)
    access.create_priorities()
    return access
