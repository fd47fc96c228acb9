"""The cluster of processes that stands in for real ones fulfils the contract of backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from wkpipe.cluster.backend import Backend
from wkpipe.cluster.local_cluster import LocalCluster
from wkpipe.cluster.testing import BackendContract


class TestLocalCluster(BackendContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self._cluster = LocalCluster(tmp_path / "cluster")
        self._work = tmp_path / "work"
        self._work.mkdir()

    def backend(self) -> Backend:
        return LocalCluster(self._cluster.directory, self._cluster.faults)

    def directory(self) -> Path:
        return self._work

    def take_away(self) -> None:
        self._cluster.faults.is_away = True

    def bring_back(self) -> None:
        self._cluster.faults.is_away = False
