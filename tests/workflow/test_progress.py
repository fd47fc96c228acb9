"""What a user sees during a run."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from pathlib import Path

from tests.workflow.workflow_helpers import SHARDS, convert_command
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.run.progress import RunProgress
from wkpipe.runs.progress_note import ProgressNote
from wkpipe.runs.run import run_here


def test_shards_voxels_and_time_left_are_counted(stack: Path, tmp_path: Path) -> None:
    config = load_config(
        {"source": str(stack), "target": str(tmp_path / "dataset"), "voxel_size": [11, 11, 25], "shard_shape": [64, 64, 64]}, "test"
    )
    plan = make_plan(config, Sizing.local(2))
    (tmp_path / "run").mkdir()
    progress = RunProgress(plan, tmp_path / "run", stream=io.StringIO())
    assert re.fullmatch(r"em 1: 0 of (\d+) storage shards, 0 voxels/s", progress.line(10.0))
    voxels = sum(mag.box.size.prod() for layer in plan.layers for mag in layer.mags)
    ProgressNote(tmp_path / "run", "some-task").add(voxels // 2)
    assert re.search(rf"{voxels / 2 / 10.0 / 1e3:.3g} kvoxels/s, 10 s left", progress.line(10.0))
    run_here(plan)
    progress._show()
    assert re.match(r"publishing: (\d+) of \1 storage shards", progress.line(10.0))


def test_on_a_terminal_one_line_lives(stack: Path, tmp_path: Path) -> None:
    reader, terminal = pty.openpty()
    command = convert_command(stack, tmp_path / "dataset", *SHARDS)
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(reader, 4096)
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0
    os.close(reader)
    lines = shown.decode().split("\r")
    assert any(re.search(r"\d+ of \d+ storage shards", line) for line in lines)
    assert shown.endswith(b"\r\n")
