"""`wkpipe profile install`: plain Snakemake then works from any directory by the names of profiles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, data_files


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has installed wkpipe from a wheel, far from the repository."""
    site = tmp_path / "site"
    shutil.copytree(REPOSITORY / "wkpipe", site / "wkpipe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("workflow", "config", "profiles"):
        shutil.copytree(REPOSITORY / name, site / "wkpipe" / "_workflow" / name)
    shutil.copy(REPOSITORY / "Snakefile", site / "wkpipe" / "_workflow")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_CONFIG")}
    return kept | {"PYTHONPATH": str(site), "HOME": str(tmp_path / "home")}


def test_snakemake_runs_from_any_directory(installed: dict[str, str], stack: Path, undisturbed: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=elsewhere, env=installed, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run(*WKPIPE, "profile", "install", "multiprocessing", "--name", "here")
    assert str(tmp_path / "home" / ".config" / "snakemake" / "here" / "config.yaml") in said
    assert "snakemake --profile here --snakefile" in said
    snakefile = run(*WKPIPE, "snakefile").strip()
    assert Path(snakefile).is_relative_to(tmp_path / "site")
    (elsewhere / "my run.yaml").write_text(f'source: {stack}\ntarget: dataset\nvoxel_size: "11,11,25"\nshard_shape: "64,64,64"\n')
    run(sys.executable, "-m", "snakemake", "--profile", "here", "--snakefile", snakefile, "--configfile", "my run.yaml")
    assert data_files(elsewhere / "dataset") == data_files(undisturbed)


def test_a_profile_is_not_replaced_unasked(installed: dict[str, str], tmp_path: Path) -> None:
    install = [*WKPIPE, "profile", "install", "sequential"]
    subprocess.run(install, env=installed, check=True, capture_output=True)
    file = tmp_path / "home" / ".config" / "snakemake" / "sequential" / "config.yaml"
    file.write_text("cores: 3\n")
    refused = subprocess.run(install, env=installed, capture_output=True, text=True, check=False)
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"wkpipe: {file} exists and differs")
    assert file.read_text() == "cores: 3\n"
    subprocess.run([*install, "--force"], env=installed, check=True, capture_output=True)
    assert file.read_bytes() == (REPOSITORY / "profiles" / "sequential" / "config.yaml").read_bytes()
