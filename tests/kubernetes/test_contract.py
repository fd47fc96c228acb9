"""A real Kubernetes fulfils the contract of backends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import wait_until
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.kubernetes_helpers import SUBMITTER, Space
from tests.kubernetes.run_helpers import requested
from wkpipe.cluster.backend import Backend, Request
from wkpipe.cluster.kubernetes.backend import Kubernetes
from wkpipe.cluster.kubernetes.options import job_resources
from wkpipe.cluster.testing import BackendContract

pytestmark = pytest.mark.timeout(420)


class TestKubernetes(BackendContract):
    IMPOSSIBLE = Request(options=(("run-as-user", "1000"), ("volume", "[]")))  # pods that need more than a node has just wait
    MOST_CALLS_OF_TWO_LOOKS = 4

    @pytest.fixture(autouse=True)
    def _place(self, space: Space, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("KUBECONFIG", str(space.access.kubeconfig))
        self._space, self._work = space, shared / "work"
        self._resources = job_resources(requested(space, shared, run_as_user=SUBMITTER))
        self.REQUEST = Request(cpus=1, memory_mib=50, options=tuple(sorted(self._resources.options.items())))
        before = os.umask(0)  # so that pods may write into root's files
        self._work.mkdir()
        yield
        os.umask(before)

    def backend(self) -> Backend:
        return Kubernetes(self._resources)

    def directory(self) -> Path:
        return self._work

    def test_it_may_be_away(self, cluster: Cluster) -> None:  # type: ignore[override]
        self._cluster = cluster
        super().test_it_may_be_away()

    def take_away(self) -> None:
        self._cluster.stop("apiserver")

    def bring_back(self) -> None:
        self._cluster.start("apiserver")
        wait_until(self._space.access.has_answered, "the API server")
