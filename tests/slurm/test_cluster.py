"""The cluster itself, on which the other tests here rely."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import wait_until
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.configuration import ACCOUNT

HOG = "a = bytearray(400 << 20)\nfor i in range(0, len(a), 4096): a[i] = 1\nimport time; time.sleep(60)"


def _submit(cluster: Cluster, directory: Path, script: str, *options: str) -> str:
    command = ["sbatch", "--parsable", "--time=10", "--mem=50", f"--chdir={directory}", *options, f"--wrap={script}"]
    return cluster.client(*command).strip()


def _wait_for_state(cluster: Cluster, job: str, wanted: Callable[[str], bool], seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while True:
        state = next(found.state for found in cluster.jobs() if found.id == job)
        if wanted(state) or time.monotonic() > end:
            return state
        time.sleep(0.2)


def test_jobs_run_on_every_node(slurm: Cluster, tmp_path: Path) -> None:
    jobs = [_submit(slurm, tmp_path, "echo $SLURMD_NODENAME > $SLURM_JOB_ID", f"--nodelist={name}") for name in slurm.names]
    for job in jobs:
        assert _wait_for_state(slurm, job, "COMPLETED".__eq__) == "COMPLETED"
    assert [(tmp_path / job).read_text().strip() for job in jobs] == slurm.names


def test_memory_is_enforced(slurm: Cluster, tmp_path: Path) -> None:
    job = _submit(slurm, tmp_path, f"exec python3 -c '{HOG}'", "--mem=100")
    state = _wait_for_state(slurm, job, lambda state: state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"))
    # If control groups cannot be used, Slurm polls, and reports only that the job failed.
    assert state == ("OUT_OF_MEMORY" if slurm.by_kernel else "FAILED"), (tmp_path / f"slurm-{job}.out").read_text()


def test_a_node_dies_alone(slurm: Cluster, tmp_path: Path) -> None:
    wait = "until [ -e go ]; do sleep 0.2; done"
    lost, other = (_submit(slurm, tmp_path, wait, f"--nodelist={name}", "--no-requeue") for name in slurm.names[:2])
    assert {_wait_for_state(slurm, job, "RUNNING".__eq__) for job in (lost, other)} == {"RUNNING"}
    slurm.kill_node(slurm.names[0])
    assert _wait_for_state(slurm, lost, "NODE_FAIL".__eq__) == "NODE_FAIL"
    assert _wait_for_state(slurm, other, "RUNNING".__eq__, 0) == "RUNNING"
    (tmp_path / "go").touch()
    assert _wait_for_state(slurm, other, "COMPLETED".__eq__) == "COMPLETED"
    slurm.restore()
    slurm.check()


def test_jobs_survive_the_controller(slurm: Cluster, tmp_path: Path) -> None:
    job = _submit(slurm, tmp_path, "until [ -e go ]; do sleep 0.2; done; touch done")
    assert _wait_for_state(slurm, job, "RUNNING".__eq__) == "RUNNING"
    slurm.stop_controller()
    assert subprocess.run(["squeue"], env=slurm.environment, capture_output=True, check=False).returncode != 0
    (tmp_path / "go").touch()
    wait_until((tmp_path / "done").exists, "the end of the job")
    slurm.start_controller()
    assert _wait_for_state(slurm, job, "COMPLETED".__eq__) == "COMPLETED"


def test_accounting_keeps_jobs_and_refuses_unknown_accounts(slurm_accounting: Cluster, tmp_path: Path) -> None:
    job = _submit(slurm_accounting, tmp_path, "true", f"--account={ACCOUNT}")
    assert _wait_for_state(slurm_accounting, job, "COMPLETED".__eq__) == "COMPLETED"
    end = time.monotonic() + 120
    while "COMPLETED" not in (shown := slurm_accounting.client("sacct", "--noheader", f"--jobs={job}", "--format=State")):
        assert time.monotonic() < end, shown
        time.sleep(0.2)
    with pytest.raises(Exception, match="Invalid account"):
        _submit(slurm_accounting, tmp_path, "true", "--account=nobody")
