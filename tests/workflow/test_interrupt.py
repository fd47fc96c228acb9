"""Ctrl-C stops a run in order. (What a kill or a second run does: tests/torture.)"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil

from tests.workflow.workflow_helpers import (
    SHARDS,
    convert_command,
    data_files,
    identities,
    proven,
)


def _wait_for_work(process: psutil.Popen, target: Path, files: int) -> None:
    """Return as soon as this many shard files have their final names, or the process has ended."""
    while process.poll() is None:
        if sum(1 for layer in ("em", "labels") for _ in (target / layer).rglob("c/*/*/*/*")) >= files:
            return
        time.sleep(0.01)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    command = convert_command(stack, target, *SHARDS)
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for_work(process, target, 4)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command" in errors
    assert "Traceback" not in errors
    before = proven(target)
    assert len(before) >= 3
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert data_files(target) == data_files(undisturbed)
    assert before.items() <= identities(target).items()
