"""How Snakemake is started: without the plugins of other strategies, and without a wait for timers at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import VOXEL_SIZE, run
from wkpipe.run.snakemake_process import cancel_timers


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """Make a cluster's commands that only note their calls; return the file of the notes."""
    calls = tmp_path / "calls"
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sinfo", "squeue", "sacct", "scontrol", "sbatch"):
        script = directory / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> "{calls}"\nexit 1\n')
        script.chmod(0o755)
    return calls


def path_with(slurm: Path) -> str:
    return f"{slurm.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"


def snakemake_help(strategy: str, slurm: Path) -> str:
    command = [sys.executable, "-m", "wkpipe.run.snakemake_process", strategy, "--help"]
    environment = os.environ | {"PATH": path_with(slurm)}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.parametrize("strategy", ["multiprocessing", "sequential"])
def test_local_strategies_leave_the_cluster_alone(stack: Path, tmp_path: Path, slurm: Path, strategy: str) -> None:
    options = ["--voxel-size", VOXEL_SIZE, "--distribution-strategy", strategy, "--max-mag", "2"]
    result = run("convert", stack, tmp_path / "dataset", *options, PATH=path_with(slurm))
    assert result.returncode == 0, result.stderr
    assert not slurm.exists(), slurm.read_text()


def test_the_plugin_of_the_strategy_is_there_and_no_other_one(slurm: Path) -> None:
    assert "slurm-" not in snakemake_help("multiprocessing", slurm)
    assert not slurm.exists()
    found = snakemake_help("slurm", slurm)
    assert "--wkpipe-slurm-" in found
    assert " --slurm-" not in found
    assert not slurm.exists()


def test_timers_that_wait_are_cancelled() -> None:
    fired = threading.Event()
    timer = threading.Timer(30.0, fired.set)
    timer.start()
    cancel_timers()
    timer.join(10.0)
    assert not timer.is_alive()
    assert not fired.is_set()
