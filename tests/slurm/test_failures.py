"""Real failures of a cluster: the run succeeds or reports the cause, and finished storage shards stay as they are."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, assert_kept, assert_same, coarse_files, damage, profile_with, wait_until
from tests.slurm.cluster.cluster import Cluster
from tests.slurm.cluster.configuration import CGROUP
from tests.slurm.slurm_helpers import IMPATIENT, Frozen, downsample, events, freeze_a_job, impatient, jobs_of, live, start, started
from tests.workflow.workflow_helpers import REPOSITORY, kill_tree, proven, send

pytestmark = pytest.mark.timeout(900)
ONE_CORE = ["--job-resources", "cpus-per-task=1"]
KILLED_AFTER_A_COMMIT = """
import os, signal
from wkpipe.storage.commits import Commits
note = Commits.note
def noted_and_killed(commits, writer, records):
    note(commits, writer, records)
    if commits._units >= 4:
        commits.flush()
        os.kill(os.getpid(), signal.SIGKILL)
Commits.note = noted_and_killed
"""
"""A sitecustomize: the process is killed after its first commit, which is a small one."""


def test_too_little_memory_to_begin(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with started(slurm, downsample(dataset, "--job-resources", '{"mem": "10M"}'), tmp_path / "out") as run:
        output = run.ends_with(0)
    assert "more than the 10 MiB that --job-resources asks for" in output
    assert "it is tried again with" in output
    first, *_, last = jobs_of(slurm, dataset)
    assert (first.memory, first.state) == ("10M", "OUT_OF_MEMORY" if slurm.by_kernel else "FAILED")
    assert last.state == "COMPLETED"
    assert_same(dataset, pyramid)


def test_out_of_memory_in_the_middle(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    if not slurm.by_kernel:
        pytest.skip("the kernel cannot enforce memory here")
    with started(slurm, impatient(dataset, "--job-resources", "cpus-per-task=2"), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        _take_memory_away(frozen)
        frozen.thaw()
        output = run.ends_with(0)
    assert "ran out of memory" in output
    assert [event["event"] for event in events(dataset)][:3] == ["submitted", "memory", "submitted"]
    first, second = jobs_of(slurm, dataset)[:2]
    assert int(second.memory.rstrip("M")) >= 2 * int(first.memory.rstrip("M"))
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def _take_memory_away(frozen: Frozen) -> None:
    """Lower the limit of a job to its present memory, so that its next request is too much."""
    group = next(CGROUP.glob(f"memory/slurm_{frozen.job.node}/uid_0/job_{frozen.job.id}"))
    limit = group / "step_batch" / "memory.limit_in_bytes"
    size = int((limit.parent / "memory.usage_in_bytes").read_text())
    while size > 0:
        try:
            limit.write_text(str(size))
        except OSError:
            return
        size -= 256 << 10


def test_time_limit(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with started(slurm, impatient(dataset, "--job-resources", "time=1,cpus-per-task=1"), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        output = run.ends_with(0, 360)
    assert "ran out of time" in output
    first, second = jobs_of(slurm, dataset)[:2]
    assert (first.state, first.time_limit) == ("TIMEOUT", "1:00")
    assert second.time_limit == "2:00"
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_scancel(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = impatient(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.client("scancel", frozen.job.id)
        output = run.ends_with(1)
    assert f"Slurm job {frozen.job.id}" in output
    assert "was cancelled" in output
    assert len(jobs_of(slurm, dataset)) == 1, "a user cancelled it: it must not be submitted again"
    with started(slurm, command, tmp_path / "again") as run:
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_lost_node(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with started(slurm, impatient(dataset, *ONE_CORE), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.kill_node(frozen.job.node)
        wait_until(lambda: jobs_of(slurm, dataset)[-1].state != "RUNNING", "Slurm to notice the lost node")
        assert run.process.poll() is None
        _start_now(slurm, dataset)
        run.ends_with(0)
    assert jobs_of(slurm, dataset)[-1].node != frozen.job.node
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def _start_now(slurm: Cluster, dataset: Path) -> None:
    """Slurm waits for two minutes before it starts such jobs again; an admin need not."""
    for job in live(slurm, dataset):
        slurm.client("scontrol", "update", f"jobid={job.id}", "starttime=now", check=False)


def test_requeued(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """An admin, or preemption, puts the job back into the queue."""
    with started(slurm, impatient(dataset, *ONE_CORE), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.client("scontrol", "requeue", frozen.job.id)
        wait_until(lambda: jobs_of(slurm, dataset)[-1].state == "PENDING", "the job to be in the queue again")
        time.sleep(1.5)  # a job that starts again within the second has no valid credential
        _start_now(slurm, dataset)
        output = run.ends_with(0)
    assert [event["event"] for event in events(dataset)] == ["submitted", "done"], output
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_lost_node_without_requeue(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with started(slurm, impatient(dataset, "--job-resources", "cpus-per-task=1,no-requeue"), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.kill_node(frozen.job.node)
        output = run.ends_with(0)
    assert "lost its node" in output
    assert "it is tried again" in output
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


@pytest.mark.parametrize("accounting", [False, True], ids=["alone", "accounting"])
def test_controller_away(accounting: bool, request: pytest.FixtureRequest, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """It is away for longer than the time between two questions, while jobs end and new ones must be submitted."""
    slurm: Cluster = request.getfixturevalue("slurm_accounting" if accounting else "slurm")
    with started(slurm, impatient(dataset, "--jobs", "2"), tmp_path / "out", **MANY_JOBS) as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.stop_controller()
        frozen.thaw()
        wait_until(lambda: "Slurm does not answer" in run.text, "the run to notice", 120)
        assert run.process.poll() is None
        slurm.start_controller()
        output = run.ends_with(0)
    assert "Slurm answers again" in output
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_controller_away_from_the_beginning(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    slurm.stop_controller()
    with started(slurm, downsample(dataset), tmp_path / "out") as run:
        output = run.ends_with(75)
    assert "Slurm does not answer" in output
    assert "try again later" in output
    assert not list(dataset.glob(".wkpipe/runs/*/slurm-jobs"))


def test_controller_forgets_jobs(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """It is killed before it has saved the last submission: then nobody knows the job."""
    with started(slurm, impatient(dataset, *ONE_CORE), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.lose_state()
        end_frozen(frozen)
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def end_frozen(frozen: Frozen) -> None:
    send(signal.SIGKILL, frozen.processes)


def test_reboot_of_the_login_node(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """All processes on the submitting host are gone, the jobs continue: the same command ends them first."""
    command = downsample(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        kill_tree(run.process)
    assert [job.id for job in live(slurm, dataset)] == [frozen.job.id]
    with started(slurm, command, tmp_path / "again") as run:
        output = run.ends_with(0)
    assert "cancelled 1 Slurm job of an earlier run" in output
    assert next(job for job in jobs_of(slurm, dataset) if job.id == frozen.job.id).state == "CANCELLED"
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_orphan_that_nobody_finds(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A job of a dead run continues after another strategy has taken over: it cannot harm a file."""
    with started(slurm, downsample(dataset, *ONE_CORE), tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        kill_tree(run.process)
    local = downsample(dataset)
    local[local.index("slurm")] = "multiprocessing"
    with started(slurm, local, tmp_path / "again") as run:
        run.ends_with(0)
    frozen.thaw()
    wait_until(lambda: not live(slurm, dataset), "the orphan to end")
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_main_process_killed_alone(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """Snakemake notices that its parent is gone, and cancels the jobs."""
    command = downsample(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        run.process.kill()
        wait_until(lambda: not live(slurm, dataset), "the jobs to be cancelled")
    with started(slurm, command, tmp_path / "again") as run:
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_snakemake_killed_alone(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The main process notices, and cancels the jobs."""
    command = downsample(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        next(child for child in run.process.children() if "snakemake_process" in " ".join(child.cmdline())).kill()
        assert "Snakemake was killed by signal 9 (SIGKILL), perhaps because of its memory; the same command resumes" in run.ends_with(1)
    assert not live(slurm, dataset)
    with started(slurm, command, tmp_path / "again") as run:
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT,) * 3], ids=["Ctrl-C", "SIGTERM", "impatient"])
def test_stopped(signals: tuple[signal.Signals, ...], slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = downsample(dataset, "--jobs", "2")
    with started(slurm, command, tmp_path / "out", **MANY_JOBS) as run:
        frozen = freeze_a_job(slurm, run, dataset)
        for number in signals:
            send(number, [run.process])
            time.sleep(0.2)
        output = run.ends_with(130)
    assert "the same command" in output
    assert not live(slurm, dataset)
    with started(slurm, command, tmp_path / "again", **MANY_JOBS) as run:
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_plain_snakemake_stopped(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """After SIGTERM, Snakemake does not wait for all jobs, as it would by default."""
    (tmp_path / "config.yaml").write_text(f"target: {dataset}\ncompression_level: 19\n")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", str(tmp_path / "config.yaml")),
        *("--profile", str(REPOSITORY / "profiles" / "slurm"), "--directory", str(dataset / ".wkpipe")),
    ]
    with started(slurm, command, tmp_path / "out", **MANY_JOBS) as run:
        frozen = freeze_a_job(slurm, run, dataset)
        run.process.send_signal(signal.SIGTERM)
        run.ends_with(1)
    assert not live(slurm, dataset)
    with started(slurm, command, tmp_path / "again", **MANY_JOBS) as run:
        run.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_stopped_while_the_controller_is_away(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A job that cannot be cancelled becomes an orphan, which the same command cancels."""
    command = impatient(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        slurm.stop_controller()
        run.process.send_signal(signal.SIGINT)
        output = run.ends_with(130)
    assert "cancelled by the next run of this command" in output
    slurm.start_controller()
    assert [job.id for job in live(slurm, dataset)] == [frozen.job.id]
    with started(slurm, command, tmp_path / "again") as run:
        run.ends_with(0)
    assert next(job for job in jobs_of(slurm, dataset) if job.id == frozen.job.id).state == "CANCELLED"
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_stopped_but_the_jobs_left(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = impatient(dataset, *ONE_CORE, "--leave-jobs-running")
    with started(slurm, command, tmp_path / "out") as run:
        frozen = freeze_a_job(slurm, run, dataset)
        run.process.send_signal(signal.SIGINT)
        run.ends_with(130)
    assert [job.id for job in live(slurm, dataset)] == [frozen.job.id]
    with started(slurm, command, tmp_path / "again") as run:
        wait_until(lambda: f"waiting for Slurm job {frozen.job.id}" in run.text, "the run to find the job")
        slurm.stop_controller()
        wait_until(lambda: "Slurm does not answer" in run.text, "the run to notice")
        slurm.start_controller()
        assert len(jobs_of(slurm, dataset)) == 1, "it waits for the job that is there"
        frozen.thaw()
        run.ends_with(0)
    assert next(job for job in jobs_of(slurm, dataset) if job.id == frozen.job.id).state == "COMPLETED"
    assert coarse_files(dataset) == coarse_files(pyramid)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)


def test_a_tasks_own_error(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A source shard is damaged: the job that needs it fails once, with its log; all other units are made."""
    damage(next(path for path in sorted((dataset / "em" / "1").rglob("c/*/*/*/*")) if path.is_file()))
    with started(slurm, downsample(dataset, "--jobs", "4"), tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(4)
    failed = [event for event in events(dataset) if event["event"] == "error"]
    assert len(failed) == 1
    submitted = [event for event in events(dataset) if event["event"] == "submitted" and event["task"] == failed[0]["task"]]
    assert len(submitted) == 1, "a second try would fail again"
    assert str(submitted[0]["log"]) in output
    others = [event for event in events(dataset) if event["event"] == "done"]
    assert len(others) >= 2
    assert coarse_files(dataset) >= coarse_files(pyramid) // 3


def test_jobs_that_cannot_start(slurm: Cluster, dataset: Path, tmp_path: Path) -> None:
    """The setup command of every job fails: the run stops and reports the output of the first job."""
    profile = profile_with("slurm", tmp_path / "profile", IMPATIENT | {"wkpipe-slurm-setup": "echo no module named python >&2; exit 3"})
    with started(slurm, downsample(dataset, "--jobs", "2", *profile), tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(1)
    assert "could not start: no module named python; its log is " in output
    assert len(jobs_of(slurm, dataset)) <= 2, "those that were submitted together"
    assert coarse_files(dataset) == 0


def test_killed_every_time(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The cause is unknown: the job is tried twice again with more of everything; the finished units of each try are kept."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(KILLED_AFTER_A_COMMIT)
    profile = profile_with("slurm", tmp_path / "profile", IMPATIENT | {"wkpipe-slurm-setup": f"export PYTHONPATH={site}"})
    with started(slurm, downsample(dataset, *ONE_CORE, *profile), tmp_path / "out") as run:
        output = run.ends_with(1)
    assert "was killed" in output
    assert "this was try 3 of 3" in output
    jobs = jobs_of(slurm, dataset)
    assert [job.state for job in jobs] == ["FAILED"] * 3
    assert [job.time_limit for job in jobs] == ["10:00", "20:00", "40:00"]
    kept = proven(dataset)
    assert len(kept) >= 4 * len(jobs)
    with started(slurm, downsample(dataset), tmp_path / "again") as run:
        run.ends_with(0)
    assert_kept(kept, dataset)
    assert_same(dataset, pyramid)


def test_two_runs_on_one_dataset(slurm: Cluster, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = downsample(dataset, *ONE_CORE)
    with started(slurm, command, tmp_path / "out") as first:
        frozen = freeze_a_job(slurm, first, dataset)
        second = start(slurm, command, tmp_path / "second")
        second.ends_with(75)
        assert [job.id for job in live(slurm, dataset)] == [frozen.job.id], "the second run must not touch the jobs of the first"
        frozen.thaw()
        first.ends_with(0)
    assert_kept(frozen.proven, dataset)
    assert_same(dataset, pyramid)
