"""The benchmark's measurements of a process tree are right."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.measure import Measurement, measure

MEGABYTE = 10**6
CHILD = "import time; data = b'x' * 150_000_000; time.sleep(1.5)"
TREE = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"
BURN = "import time\nwhile time.process_time() < 0.6: pass"


def _measure(code: str, directory: Path, timeout: float = 60, sample: bool = False) -> Measurement:
    return measure([sys.executable, "-c", code], directory, os.environ, timeout, sample)


def test_memory_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    found = _measure(TREE, tmp_path, sample=True)
    assert found.error is None
    assert found.peak_memory is not None
    assert 150 * MEGABYTE < found.peak_memory < 250 * MEGABYTE
    assert found.memory_samples >= 2
    assert found.wall_s > 1.5


def test_cpu_is_that_of_the_whole_tree_and_memory_is_looked_at_only_on_demand(tmp_path: Path) -> None:
    found = _measure(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True)", tmp_path)
    assert 0.6 <= found.cpu_s < 3
    assert found.wall_s >= 0.6
    assert (found.peak_memory, found.memory_samples) == (None, 0)


def test_failure_is_reported_with_its_last_words(tmp_path: Path) -> None:
    found = _measure("import sys; print('no such slice\\n'); sys.exit(3)", tmp_path)
    assert found.error == "exit code 3: no such slice"


def test_tree_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(number)!r}).write_text(str(os.getpid())); time.sleep(120)"
    found = _measure(f"import subprocess, sys; subprocess.run([sys.executable, '-IS', '-c', {child!r}])", tmp_path, timeout=5)
    assert found.error == "timed out after 5 s"
    assert found.wall_s < 120, "the child would have ended by itself"
    pid = int(number.read_text())
    for _ in range(1000):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")


def test_command_that_is_not_there_can_not_be_measured(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        measure([str(tmp_path / "nothing")], tmp_path, os.environ, 60, sample=False)
