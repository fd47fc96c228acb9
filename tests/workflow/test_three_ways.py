"""The command line, plain Snakemake and the library make the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import (
    REPOSITORY,
    SHARDS,
    VOXEL_SIZE,
    convert_command,
    data_files,
    registered_mags,
    run,
    snakemake_command,
)

pytestmark = pytest.mark.sampled(every=6)


def test_two_commands_make_what_one_makes(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    assert run("convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS, "--no-downsample").returncode == 0
    assert registered_mags(target) == {"em": [[1, 1, 1]], "labels": [[1, 1, 1]]}
    result = run("downsample", target)
    assert result.returncode == 0, result.stderr
    assert data_files(target) == data_files(undisturbed)
    assert registered_mags(target) == registered_mags(undisturbed)


@pytest.mark.parametrize("profile", ["multiprocessing", "sequential"])
def test_plain_snakemake_makes_the_same_bytes(stack: Path, undisturbed: Path, tmp_path: Path, profile: str) -> None:
    target = tmp_path / "dataset"
    command = snakemake_command(stack, target, profile=profile, shard_shape="64,64,64")
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    assert data_files(target) == data_files(undisturbed)
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "nothing to do" in again.stderr


def test_a_config_file_drives_snakemake(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    config = (REPOSITORY / "config" / "config.yaml").read_text()
    given = {"target": tmp_path / "dataset", "source": stack, "voxel_size": "[11, 11, 25]", "shard_shape": "[64, 64, 64]"}
    for key, value in given.items():
        assert f"\n{key}:\n" in config
        config = config.replace(f"\n{key}:\n", f"\n{key}: {value}\n")
    (tmp_path / "config.yaml").write_text(config)
    files = ["--snakefile", REPOSITORY / "Snakefile", "--profile", REPOSITORY / "profiles" / "multiprocessing"]
    subprocess.run(
        [sys.executable, "-m", "snakemake", *files, "--configfile", "config.yaml"], cwd=tmp_path, check=True, capture_output=True
    )
    assert data_files(tmp_path / "dataset") == data_files(undisturbed)


def test_the_library_makes_the_same_bytes(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from wkpipe import Dataset\n"
        "dataset = Dataset.from_images(sys.argv[1], sys.argv[2], voxel_size=(11, 11, 25), shard_shape=(64, 64, 64), downsample=False)\n"
        "dataset.downsample()\n"
    )
    target = tmp_path / "dataset"
    subprocess.run(
        [sys.executable, "-c", script, stack, target], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert data_files(target) == data_files(undisturbed)


@pytest.mark.parametrize("jobs", ["1", "2", "5"])
def test_any_number_of_jobs_makes_the_same_bytes(stack: Path, undisturbed: Path, tmp_path: Path, jobs: str) -> None:
    target = tmp_path / "dataset"
    subprocess.run(convert_command(stack, target, *SHARDS, "--jobs", jobs), check=True, capture_output=True)
    assert data_files(target) == data_files(undisturbed)


def test_the_sequential_strategy_makes_the_same_bytes(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    subprocess.run(convert_command(stack, target, *SHARDS, "--distribution-strategy", "sequential"), check=True, capture_output=True)
    assert data_files(target) == data_files(undisturbed)


def test_nothing_is_done_twice(stack: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    assert run("convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS).returncode == 0
    for command in (["downsample", target], ["convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS]):
        result = run(*command)
        assert result.returncode == 0
        assert "nothing to do" in result.stdout


def test_dry_runs_show_the_plan_and_write_nothing(stack: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    result = run("convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS, "--dry-run")
    assert result.returncode == 0
    assert "2-2-1" in result.stdout
    assert "jobs" in result.stdout
    plain = subprocess.run(snakemake_command(stack, target, "-n"), capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "publish" in plain.stdout + plain.stderr
    assert not target.exists()
