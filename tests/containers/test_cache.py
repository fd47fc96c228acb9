"""The cache of expensive directories: complete or not there, and made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from containers import cache

MAKE = """
import sys, time
from pathlib import Path
from containers.cache import made_once

def make(target):
    (target / "begun").touch()
    with open(sys.argv[1], "a") as log:
        log.write("made\\n")
    time.sleep(float(sys.argv[2]))
    (target / "complete").touch()

assert (made_once("group/thing", make) / "complete").exists()
"""


def _maker(directory: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MAKE, str(directory / "log"), str(seconds)]
    return subprocess.Popen(command, env=os.environ | {"XDG_CACHE_HOME": str(directory), "PYTHONPATH": os.getcwd()})  # noqa: PTH109


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    makers = [_maker(tmp_path, 0.5) for _ in range(2)]
    assert [maker.wait(60) for maker in makers] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_build_leaves_nothing(tmp_path: Path) -> None:
    killed = _maker(tmp_path, 60)
    log = tmp_path / "log"
    while not (log.exists() and log.read_text()):
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    assert not (tmp_path / "wkpipe" / "group" / "thing").exists()
    assert _maker(tmp_path, 0).wait(60) == 0
    assert (tmp_path / "log").read_text() == "made\nmade\n"


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)

    def fail(target: Path) -> None:
        (target / "begun").touch()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.made_once("thing", fail)
    assert cache.cached("thing") is None
    assert cache.made_once("thing", lambda target: None) == cache.cached("thing") == tmp_path / "thing"
    assert not list((tmp_path / "thing").iterdir())
