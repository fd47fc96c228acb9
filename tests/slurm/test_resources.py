"""--job-resources on a real Slurm: jobs get what is requested, and impossible requests are reported at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, Started
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.configuration import ACCOUNT
from tests.slurm.slurm_helpers import ON_SLURM, events, jobs_of, started
from tests.workflow.workflow_helpers import WKPIPE

VARIABLE = "SNAKEMAKE_WKPIPE_SLURM_JOB_RESOURCES"


def _run(slurm: Cluster, dataset: Path, output: Path, resources: str, code: int = 0, **environment: str) -> Started:
    command = [*WKPIPE, "downsample", str(dataset), "--compression-level", "1", *ON_SLURM, "--job-resources", resources]
    with started(slurm, command, output, **environment) as run:
        run.ends_with(code, 60)
    return run


def _shown(slurm: Cluster, dataset: Path) -> dict[str, str]:
    """Return how Slurm describes the first job on a dataset."""
    text = slurm.client("scontrol", "show", "job", jobs_of(slurm, dataset)[0].id, "--oneliner")
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "resources,expected",
    [
        ('{"mem": "1.5G", "time": "1:30:00"}', {"MinMemoryNode": "1.50G", "TimeLimit": "01:30:00"}),
        ("mem=400000K,time=0-2,nice=100", {"MinMemoryNode": "391M", "TimeLimit": "02:00:00", "Nice": "100"}),
        ("mem-per-cpu=200,cpus_per_task=2", {"MinMemoryNode": "400M", "NumCPUs": "2"}),
        ("mem=0,exclusive,no-requeue", {"MinMemoryNode": "0", "OverSubscribe": "NO", "Requeue": "0"}),
        ("cpus-per-task=1,partition=small,account=mine", {"Partition": "small", "Account": "mine", "NumCPUs": "1", "Requeue": "1"}),
        ("extra=--hint=nomultithread", {"ReqB:S:C:T": "0:0:*:1"}),
    ],
)
def test_jobs_get_what_is_asked_for(resources: str, expected: dict[str, str], slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    _run(slurm, dataset, tmp_path / "out", resources)
    assert expected.items() <= _shown(slurm, dataset).items()


def test_nodes_are_chosen(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    first, second, third = slurm.names
    _run(slurm, dataset, tmp_path / "out", f"exclude={first},{third}")
    shown = _shown(slurm, dataset)
    assert (shown["ExcNodeList"], shown["NodeList"]) == (f"{first},{third}", second)


def test_environment_and_option_add_up(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    """A site may set the variable for all; the user's option overrides it."""
    _run(slurm, dataset, tmp_path / "out", "time=7", **{VARIABLE: "partition=small,time=9"})
    shown = _shown(slurm, dataset)
    assert (shown["Partition"], shown["TimeLimit"]) == ("small", "00:07:00")


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "resources,word",
    [
        ("tmp=1T", "Temporary disk specification"),
        ("nodelist=nowhere", "Invalid node name"),
        ("reservation=nope", "reservation"),
        ("constraint=nonesuch", "Invalid feature specification"),
        ("gres=gpu:1", "Invalid generic resource"),
        ("licenses=none", "Invalid license specification"),
    ],
)
def test_what_slurm_refuses_is_reported_at_once(resources: str, word: str, slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    """Each of many jobs is refused within milliseconds: the run must wait for none of them."""
    run = _run(slurm, dataset, tmp_path / "out", resources, 2, **MANY_JOBS)
    errors = [line for line in run.text.splitlines() if word in line]
    assert len(errors) == 1, run.text
    assert "change --job-resources" in errors[0]


def test_a_limit_on_submitted_jobs(slurm_accounting: Cluster, dataset: Path, tmp_path: Path) -> None:
    """Jobs that Slurm does not accept yet are submitted as others end, without useless calls and without a line for each."""
    limit = ("sacctmgr", "--immediate", "modify", "account", ACCOUNT, "set")
    slurm_accounting.client(*limit, "GrpSubmitJobs=2")
    try:
        run = _run(slurm_accounting, dataset, tmp_path / "out", f"account={ACCOUNT}", **MANY_JOBS)
    finally:
        slurm_accounting.client(*limit, "GrpSubmitJobs=-1")
    assert run.text.count("Slurm takes no more jobs at once") == 1, run.text
    assert "does not answer" not in run.text
    happened = [event["event"] for event in events(dataset)]
    assert happened.count("submitted") == happened.count("done") > 4
    most = running = 0
    for event in happened:
        running += {"submitted": 1, "done": -1}[str(event)]
        most = max(most, running)
    assert most == 2


def test_a_profile_with_a_mapping_is_refused(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    """Snakemake drops it silently."""
    (tmp_path / "config.yaml").write_text("wkpipe-slurm-job-resources: {partition: small}\n")
    with started(slurm, [*WKPIPE, "downsample", str(dataset), *ON_SLURM, "--profile", str(tmp_path)], tmp_path / "out") as run:
        assert "must be one text like" in run.ends_with(2)
