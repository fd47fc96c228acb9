"""A host that can run no cluster is recognised, with one reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kubernetes.bed import host
from tests.kubernetes.bed.host import Unavailable, check_builder, check_host


@pytest.fixture
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="need root"):
        check_host()


@pytest.mark.usefixtures("_as_root")
def test_missing_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"^ip, mount, openssl, unshare are not installed$"):
        check_host()
    with pytest.raises(Unavailable, match=r"^go, apt-get, dpkg-deb are not installed$"):
        check_builder()


@pytest.mark.usefixtures("_as_root")
def test_control_groups_of_version_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    monkeypatch.setattr(host, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(host, "PROGRAMS", ())
    with pytest.raises(Unavailable, match="only control groups of version 1"):
        check_host()


def test_an_old_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("go", "echo go1.19.8"), ("apt-get", ""), ("dpkg-deb", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(host, "SEARCH_PATH", os.environ["PATH"])
    with pytest.raises(Unavailable, match=r"Go 1\.24 or newer is needed, and this is go1\.19\.8"):
        check_builder()


def test_the_build_is_left_out_with_a_reason(root: Path, tmp_path: Path) -> None:
    """`make kubernetes-parts` succeeds where no cluster can run."""
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    code = """
import sys
from tests.kubernetes.bed import host, parts
host.SEARCH_PATH = ""
sys.exit(parts.main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith("no Kubernetes can run here, so its tests are skipped: ")
    assert not (tmp_path / "cache").exists()
