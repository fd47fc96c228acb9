"""A cluster ends with its users, however these end, and leaves no trace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.cluster_helpers import wait_until
from tests.kubernetes.bed import control_groups
from tests.kubernetes.bed.cluster import PREFIX, Cluster
from tests.kubernetes.bed.host import Unavailable, check_host
from tests.kubernetes.bed.layout import CONTROL_GROUPS, Layout
from tests.kubernetes.bed.parts import Parts, built_parts

pytestmark = pytest.mark.timeout(420)


def _traces() -> tuple[str, str]:
    """Return what a cluster could leave on the host: interfaces and mounts."""
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    return links, Path("/proc/self/mounts").read_text()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Parts]:
    """The programs of a cluster; clusters of this test are in a directory of their own."""
    try:
        check_host()
        parts = built_parts()
    except Unavailable as reason:
        pytest.skip(f"no Kubernetes can run here: {reason}")
    with tempfile.TemporaryDirectory(prefix="bed-") as directory:  # the paths of sockets must be short
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield parts


def _started_and_killed() -> Layout:
    """Start a cluster in another process, and kill that process."""
    command = [sys.executable, "-m", "tests.kubernetes.bed", "sleep", "1000"]
    user = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    found: list[Layout] = []

    def is_ready() -> bool:
        assert user.poll() is None
        found[:] = [layout for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if (layout := Layout(path)).ready.exists()]
        return bool(found)

    wait_until(is_ready, "the cluster", 300)
    os.killpg(user.pid, signal.SIGKILL)
    user.wait()
    return found[0]


def _is_gone(layout: Layout) -> bool:
    return not layout.directory.exists() and not list(CONTROL_GROUPS.glob(f"*/{layout.control_group}"))


def test_a_cluster_ends_with_its_killed_user(parts: Parts) -> None:
    layout = _started_and_killed()
    wait_until(lambda: _is_gone(layout), "the end of the cluster")


def test_the_next_cluster_removes_one_whose_keeper_was_killed(parts: Parts) -> None:
    before = _traces()
    with contextlib.ExitStack() as stack:
        first = Cluster.started(parts, [])
        stack.callback(first.close)
        os.kill(first.keeper, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(first.keeper) or psutil.Process(first.keeper).status() == psutil.STATUS_ZOMBIE, "its end")
        assert control_groups.processes(first.layout.control_group)
        second = Cluster.started(parts, [])
        stack.callback(second.close)
        assert _is_gone(first.layout)
    assert _is_gone(second.layout)
    assert _traces() == before
