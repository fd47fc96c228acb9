"""The wheel in an empty environment, from any directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, data_files


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment_from_any_directory(stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, REPOSITORY], check=True, capture_output=True)
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    command = [environment / "bin" / "wkpipe", "convert", stack, "data set {1}", "--voxel-size", "11,11,25", *SHARDS]
    result = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert data_files(elsewhere / "data set {1}") == data_files(undisturbed)
    verified = subprocess.run([environment / "bin" / "wkpipe", "verify", "data set {1}"], cwd=elsewhere, check=False)
    assert verified.returncode == 0
    assert {path.name for path in elsewhere.iterdir()} == {"data set {1}"}
    snakefile = subprocess.run([environment / "bin" / "wkpipe", "snakefile"], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(snakefile).is_relative_to(environment)
    assert (Path(snakefile).parent / "profiles" / "slurm" / "config.yaml").is_file()
