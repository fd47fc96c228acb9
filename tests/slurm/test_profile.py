"""The installed profile on a real Slurm: a site's values in it apply to plain Snakemake and to wkpipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import LAYER, MANY_JOBS, assert_same
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.configuration import SMALL_PARTITION
from tests.slurm.slurm_helpers import ON_SLURM, started
from tests.workflow.workflow_helpers import WKPIPE, run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def home(slurm: Cluster, tmp_path: Path) -> Path:
    """A home directory with the profile, to which its owner has added a partition and a command for each job."""
    home = tmp_path / "home"
    done = run("profile", "install", "slurm", HOME=str(home), XDG_CONFIG_HOME="")
    assert done.returncode == 0, done.stderr
    file = home / ".config" / "snakemake" / "slurm" / "config.yaml"
    more = f'wkpipe-slurm-job-resources: "partition={SMALL_PARTITION},time=9"\nwkpipe-slurm-setup: "echo setup of the site"\n'
    file.write_text(file.read_text() + more)
    return home


def _requests(slurm: Cluster, dataset: Path) -> set[str]:
    """Return partition and time limit (minutes:seconds) of all jobs of a dataset."""
    lines = slurm.client("squeue", "--noheader", "--states=all", "--format=%Z|%P %l").splitlines()
    return {request for directory, _, request in (line.partition("|") for line in lines) if Path(directory).is_relative_to(dataset.parent)}


def _logs(dataset: Path) -> str:
    return "".join(path.read_text() for path in dataset.glob(".wkpipe/runs/*/logs/*/*.log"))


def test_snakemake_from_any_directory(slurm: Cluster, home: Path, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    elsewhere = dataset.parent / "else where"
    elsewhere.mkdir()
    (elsewhere / "run.yaml").write_text(f"target: {dataset}\ncompression_level: 19\nlayer_name: {LAYER}\n")
    snakefile = subprocess.run([*WKPIPE, "snakefile"], capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--snakefile", snakefile, "--configfile", "run.yaml"]
    with started(slurm, command, tmp_path / "out", elsewhere, **MANY_JOBS, HOME=str(home), XDG_CONFIG_HOME="") as running:
        running.ends_with(0)
    assert_same(dataset, pyramid)
    assert _requests(slurm, dataset) == {f"{SMALL_PARTITION} 9:00"}
    assert "setup of the site" in _logs(dataset)


def test_wkpipe_takes_it_by_its_name(slurm: Cluster, home: Path, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The command line overrides the profile; the other values stay."""
    command = [
        *(*WKPIPE, "downsample", str(dataset), "--compression-level", "19", *ON_SLURM),
        *("--profile", "slurm", "--job-resources", "time=0:08:00"),
    ]
    with started(slurm, command, tmp_path / "out", HOME=str(home), XDG_CONFIG_HOME="") as running:
        running.ends_with(0)
    assert_same(dataset, pyramid)
    assert _requests(slurm, dataset) == {f"{SMALL_PARTITION} 8:00"}
    assert "setup of the site" in _logs(dataset)
