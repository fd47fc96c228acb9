"""A real Slurm fulfils the contract of backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.cluster.cluster import Cluster
from wkpipe.cluster.backend import Backend, Request
from wkpipe.cluster.slurm.backend import Slurm
from wkpipe.cluster.testing import BackendContract

pytestmark = pytest.mark.timeout(420)


class TestSlurm(BackendContract):
    IMPOSSIBLE = Request(options=(("partition", "nowhere"),))  # Slurm accepts a job with more cores than there are, and never starts it

    @pytest.fixture(autouse=True)
    def _place(self, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in slurm.environment.items():
            monkeypatch.setenv(key, value)
        self._slurm, self._work = slurm, tmp_path / "work"
        self._work.mkdir()

    def backend(self) -> Backend:
        return Slurm()

    def directory(self) -> Path:
        return self._work

    def take_away(self) -> None:
        self._slurm.stop_controller()

    def bring_back(self) -> None:
        self._slurm.start_controller()
