"""Snakemake with one of wkpipe's executors, from end to end, on a cluster of processes; and how it reads an executor's options."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from snakemake.settings.types import ResourceSettings

from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, convert_command, data_files, registered_mags, snakemake_command, write_stack
from wkpipe.cluster.executor import ClusterExecutorSettings
from wkpipe.cluster.local_cluster import LocalCluster
from wkpipe.cluster.news import job_events
from wkpipe.plan.cost.resources import Sizing
from wkpipe.run.snakemake_settings import ExecutorChoice
from wkpipe.run.strategy import Strategy

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (70, 90, 100))


def _run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    given = os.environ | {"PYTHONPATH": str(PLUGIN), "WKPIPE_RANGE_SECONDS": "0.01"} | environment
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=240, check=False)


def test_jobs_leave_results_and_the_executor_makes_the_markers(stack: Path, tmp_path: Path) -> None:
    local, target, cluster = tmp_path / "local", tmp_path / "dataset", tmp_path / "cluster"
    subprocess.run(convert_command(stack, local, *SHARDS), check=True, capture_output=True)
    options = ["--executor", "wkpipe-processes", "--jobs", "3", "--wkpipe-processes-status-seconds", "1"]
    done = _run(snakemake_command(stack, target, *options, profile="slurm", shard_shape="64,64,64"), tmp_path, LOCAL_CLUSTER=str(cluster))
    assert done.returncode == 0, done.stderr
    assert data_files(target) == data_files(local)
    assert registered_mags(target) == registered_mags(local)
    (run,) = target.glob(".wkpipe/runs/*")
    results = {path.name for path in (run / "results").iterdir()}
    assert len(results) == len(LocalCluster(cluster).requests()) >= 2
    markers = {path.stem for rule in ("convert", "downsample") for path in (run / rule).glob("*.done")}
    assert markers == results
    assert (run / "publish").is_dir(), "which ran on this host, and made its marker itself"
    assert job_events(run, "local-cluster")


@pytest.mark.parametrize(
    "asked, code, said", [("mem=10M", 0, "more than the 10 MiB that --job-resources asks for"), ("partiton=x", 2, "partiton is not known")]
)
def test_a_dry_run_knows_the_options_of_the_executor(asked: str, code: int, said: str, stack: Path, tmp_path: Path) -> None:
    """Also with another working directory, where the profile's relative path does not exist."""
    command = snakemake_command(stack, tmp_path / "dataset", "-n", "--directory", str(tmp_path), profile="slurm")
    profile = REPOSITORY / "profiles" / "slurm"
    command[command.index(str(profile))] = os.path.relpath(profile, stack)
    done = _run([*command, "--wkpipe-slurm-job-resources", asked], stack)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "dataset").exists()


def test_wkpipe_and_snakemake_cut_alike() -> None:
    asked = "mem=4G,cpus-per-task=3,time=30"
    sizing = Strategy.chosen("slurm", 20, asked, may_run=False).sizing
    choice = ExecutorChoice.of("wkpipe-slurm", ClusterExecutorSettings(job_resources=asked))
    assert Sizing.of(choice.slots(ResourceSettings(nodes=20))) == sizing
    assert (sizing.cores, sizing.threads) == (20, 3)
    assert Sizing.of(ExecutorChoice.of("wkpipe-slurm", ClusterExecutorSettings()).slots(ResourceSettings(nodes=20))) != sizing
