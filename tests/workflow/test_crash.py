"""Pull the plug at any moment: the same command goes on, keeps what was finished, and ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.workflow.workflow_helpers import (
    SHARDS,
    convert_command,
    data_files,
    identities,
    kill_tree,
    proven,
    registered_mags,
    run,
    snakemake_command,
)

SEED = int(os.environ.get("WKPIPE_TEST_SEED", "20261121"))


@pytest.mark.parametrize("way", ["wkpipe", "snakemake"])
@pytest.mark.parametrize("attempt", range(3))
def test_killed_runs_go_on(stack: Path, undisturbed: Path, tmp_path: Path, way: str, attempt: int) -> None:
    rng = random.Random(f"{SEED}-{way}-{attempt}")
    print("seed", SEED)
    target = tmp_path / "dataset"
    command = convert_command(stack, target, *SHARDS) if way == "wkpipe" else snakemake_command(stack, target, shard_shape="64,64,64")
    whole = registered_mags(undisturbed)
    finished: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        process = psutil.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_work(process, target, len(finished) + rng.randrange(1, 12))
        kill_tree(process)
        for layer, mags in registered_mags(target).items():
            assert mags == whole[layer], "only whole layers may be visible"
        now = proven(target)
        assert finished.items() <= now.items()
        finished = now
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert data_files(target) == data_files(undisturbed)
    assert finished
    assert finished.items() <= identities(target).items()
    assert not list(target.rglob("*.tmp"))


def _wait_for_work(process: psutil.Popen, target: Path, files: int) -> None:
    """Return as soon as so many shard files have their final names, or the process is done."""
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


def test_a_second_run_is_turned_away_while_the_first_one_works(stack: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    first = psutil.Popen(convert_command(stack, target, *SHARDS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (target / ".wkpipe" / "locks" / "run.lease").exists():
            assert first.poll() is None
            time.sleep(0.01)
        second = run("convert", stack, target, "--voxel-size", "11,11,25", *SHARDS)
        plain = subprocess.run(
            snakemake_command(stack, target, shard_shape="64,64,64"), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if first.poll() is None:
            assert second.returncode == 75, second.stderr
            assert f"process {first.pid}" in second.stderr
            assert plain.returncode == 75, plain.stderr
    finally:
        first.wait(60)
    assert first.returncode == 0
