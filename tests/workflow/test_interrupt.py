"""Ctrl-C stops a run in order. (What a kill or a second run does: tests/torture.)"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

from tests.workflow.workflow_helpers import (
    SHARDS,
    Held,
    convert_command,
    data_files,
    identities,
    proven,
)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    command = convert_command(stack, target, *SHARDS)
    held = Held.after(4, tmp_path / "held")
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | held.environment)
    while len(proven(target)) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 130
    assert "the same command" in errors
    assert "Traceback" not in errors
    before = proven(target)
    assert len(before) >= 4
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert data_files(target) == data_files(undisturbed)
    assert before.items() <= identities(target).items()
