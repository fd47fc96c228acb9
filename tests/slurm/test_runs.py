"""Whole runs on a real Slurm: the same bytes as on one host, few calls, and clear refusals."""

from __future__ import annotations

import itertools
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, assert_same, copy_of
from tests.slurm.cluster.cluster import Cluster, counting_programs
from tests.slurm.cluster.configuration import ACCOUNT
from tests.slurm.cluster.packages import Unavailable
from tests.slurm.slurm_helpers import ON_SLURM, downsample, events, jobs_of, started
from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, convert_command, snakemake_command

pytestmark = pytest.mark.timeout(900)
POLL_SECONDS = 15


def _assert_few_calls(log: Path, submissions: int, seconds: float) -> None:
    calls = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert calls.pop("sbatch") == submissions
    # sinfo reports the limits of the partition: at the beginning, and before a try with more resources.
    assert calls.pop("sinfo", 0) <= 2
    # One more at the beginning, for jobs that an earlier run has left, and one for accounting at the end.
    assert sum(calls.values()) <= seconds / POLL_SECONDS + 3, calls


@pytest.mark.parametrize("accounting", [False, True], ids=["alone", "accounting"])
def test_convert_makes_the_same_bytes(
    accounting: bool, request: pytest.FixtureRequest, stack: Path, expected: Path, tmp_path: Path
) -> None:
    slurm: Cluster = request.getfixturevalue("slurm_accounting" if accounting else "slurm")
    target, log, begin = tmp_path / "dataset", tmp_path / "calls", time.monotonic()
    path = counting_programs(tmp_path / "bin", log, slurm.environment)
    command = convert_command(stack, target, *SHARDS, *ON_SLURM, "--jobs", "4")
    with started(slurm, command, tmp_path / "out", **MANY_JOBS, PATH=path) as run:
        output = run.ends_with(0)
    seconds = time.monotonic() - begin
    assert_same(target, expected)
    jobs = jobs_of(slurm, target)
    assert len(jobs) >= 4
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert "median time" in output
    _assert_few_calls(log, len(jobs), seconds)


def test_one_job_where_the_work_is_small(slurm: Cluster, stack: Path, expected: Path, tmp_path: Path) -> None:
    """Without short ranges, all the work is worth one job."""
    target, log, begin = tmp_path / "dataset", tmp_path / "calls", time.monotonic()
    path = counting_programs(tmp_path / "bin", log, slurm.environment)
    with started(slurm, convert_command(stack, target, *SHARDS, *ON_SLURM), tmp_path / "out", PATH=path) as run:
        run.ends_with(0)
    assert_same(target, expected)
    assert len(jobs_of(slurm, target)) == 1
    _assert_few_calls(log, 1, time.monotonic() - begin)


def test_snakemake_with_the_profile(slurm: Cluster, stack: Path, expected: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    (tmp_path / "config.yaml").write_text(f'source: {stack}\ntarget: {target}\nvoxel_size: "11,11,25"\nshard_shape: "64,64,64"\n')
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles" / "slurm"), "--configfile", str(tmp_path / "config.yaml")),
    ]
    with started(slurm, command, tmp_path / "out", tmp_path, **MANY_JOBS) as run:
        run.ends_with(0)
    assert_same(target, expected)
    assert len([job for job in slurm.jobs() if job.directory == tmp_path]) + len(jobs_of(slurm, target)) >= 2


def _documented_options() -> list[str]:
    """Return the options of the command for the plugin `slurm` in the profile's README."""
    text = (REPOSITORY / "profiles" / "slurm" / "README.md").read_text(encoding="utf-8")
    words = shlex.split(text.partition("## The plugin `slurm` instead")[2].split("```sh")[1].split("```")[0].replace("\\\n", " "))
    assert words[:3] == ["snakemake", "--profile", "slurm"]
    assert words[-4::2] == ["--snakefile", "--configfile"]
    return words[3:-4]


def test_the_stock_executor_works_too(slurm: Cluster, stack: Path, expected: Path, tmp_path: Path) -> None:
    """With the command from the README; the last options keep the test short."""
    target = tmp_path / "dataset"
    options = [*_documented_options(), "--slurm-init-seconds-before-status-checks", "4", "--jobs", "4"]
    assert ("--executor", "slurm") in itertools.pairwise(options)
    command = snakemake_command(stack, target, *options, profile="slurm", shard_shape="64,64,64")
    try:
        command = slurm.as_etc(command)
    except Unavailable as reason:
        pytest.skip(str(reason))
    with started(slurm, command, tmp_path / "out", tmp_path) as run:
        run.ends_with(0, 360)
    assert_same(target, expected)


def test_two_datasets_at_once(slurm: Cluster, finest: Path, pyramid: Path, tmp_path: Path) -> None:
    one, other = (copy_of(finest, tmp_path / name) for name in ("one", "other"))
    with (
        started(slurm, downsample(one, "--jobs", "3"), tmp_path / "out1", **MANY_JOBS) as first,
        started(slurm, downsample(other, "--jobs", "3"), tmp_path / "out2", **MANY_JOBS) as second,
    ):
        first.ends_with(0)
        second.ends_with(0)
    for dataset in (one, other):
        assert_same(dataset, pyramid)
        assert {job.state for job in jobs_of(slurm, dataset)} == {"COMPLETED"}
        assert {event["event"] for event in events(dataset)} == {"submitted", "done"}


@pytest.mark.parametrize("accounting", [False, True], ids=["alone", "accounting"])
def test_wrong_partition(accounting: bool, request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> None:
    slurm: Cluster = request.getfixturevalue("slurm_accounting" if accounting else "slurm")
    _assert_refused(slurm, dataset, tmp_path, "partition=nowhere", "partition")


def test_wrong_account(slurm_accounting: Cluster, dataset: Path, tmp_path: Path) -> None:
    _assert_refused(slurm_accounting, dataset, tmp_path, "account=nobody", "account")


@pytest.mark.parametrize("resources, word", [("cpus-per-task=64", "more than 2"), ("mem=6000M", "more than 5000")])
def test_more_than_any_node_has(resources: str, word: str, slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    _assert_refused(slurm, dataset, tmp_path, resources, word)


def test_as_much_as_the_largest_node_has(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    with started(slurm, downsample(dataset, "--job-resources", "mem=5000M"), tmp_path / "out") as run:
        run.ends_with(0)
    assert {job.node for job in jobs_of(slurm, dataset)} == {slurm.names[-1]}


def test_more_time_than_the_partition_gives(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    """Slurm accepts such jobs and never starts them: after the first ones, no more are submitted."""
    _assert_refused(slurm, dataset, tmp_path, "partition=small,time=2:00:00", "it can never start (partitiontimelimit)", jobs=4)
    assert len(jobs_of(slurm, dataset)) == 4


def _assert_refused(slurm: Cluster, dataset: Path, tmp_path: Path, resources: str, word: str, jobs: int = 50) -> None:
    command = downsample(dataset, "--job-resources", resources, "--jobs", str(jobs))
    with started(slurm, command, tmp_path / "out", WKPIPE_RANGE_SECONDS="0.01") as run:
        output = run.ends_with(2)
    errors = [line for line in output.splitlines() if word in line.lower() and "--job-resources" in line]
    assert len(errors) == 1, output
    assert not [job for job in jobs_of(slurm, dataset) if not job.ended]


def test_the_right_account(slurm_accounting: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """Accounting reports the resources that the jobs used."""
    with started(slurm_accounting, downsample(dataset, "--job-resources", f"account={ACCOUNT},cpus-per-task=1"), tmp_path / "out") as run:
        output = run.ends_with(0)
    assert_same(dataset, pyramid)
    assert " MiB " in output
    job = jobs_of(slurm_accounting, dataset)[0].id
    assert ACCOUNT in slurm_accounting.client("sacct", "--noheader", f"--jobs={job}", "--format=Account")
