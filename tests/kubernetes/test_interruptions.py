"""Parts of the cluster, or wkpipe's own processes, are away for a while or for ever: no work is done twice, and no job is forgotten."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, coarse_files, wait_until
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.ground import Ground
from tests.kubernetes.kubernetes_helpers import ENDED
from tests.kubernetes.run_helpers import events
from tests.workflow.workflow_helpers import kill_tree, send

pytestmark = [pytest.mark.timeout(900), pytest.mark.sampled(every=2)]

AWAY_SECONDS = 60


def test_kubelet_restarted(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        cluster.kill("kubelet")
        frozen.thaw()
        run.ends_with(0)
    assert len(ground.pods(dataset)) == 1
    ground.assert_finished(dataset, pyramid, frozen)


def test_api_server_restarted(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        cluster.kill("apiserver")
        frozen.thaw()
        run.ends_with(0)
    assert len(ground.pods(dataset)) == 1
    ground.assert_finished(dataset, pyramid, frozen)


def test_api_server_away(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """It is away for a minute, while pods end and new ones must be submitted."""
    with ground.started(ground.downsample(dataset, "--jobs", "2"), tmp_path / "out", **MANY_JOBS) as run:
        frozen = ground.freeze(run, dataset)
        with cluster.without("apiserver"):
            gone = time.monotonic()
            frozen.thaw()
            wait_until(lambda: "Kubernetes does not answer" in run.text, "the run to notice")
            time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - gone)))
            assert run.process.poll() is None
        output = run.ends_with(0)
    assert "Kubernetes answers again" in output
    assert {event["event"] for event in events(dataset)} == {"submitted", "done"}
    ground.assert_finished(dataset, pyramid, frozen)


def test_api_server_silent(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """It accepts connections and never answers, which must not stop the run from seeing records."""
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        with cluster.frozen("apiserver"):
            frozen.thaw()
            run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


def test_api_server_away_from_the_beginning(cluster: Cluster, ground: Ground, dataset: Path, tmp_path: Path) -> None:
    with cluster.without("apiserver"), ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        output = run.ends_with(75)
    assert "Kubernetes does not answer" in output
    assert "try again later" in output
    assert not list(dataset.glob(".wkpipe/runs/*/kubernetes-jobs"))


def test_host_of_the_main_process_lost(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """All processes of the submitting host are gone, the pods continue: the same command ends them first."""
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        kill_tree(run.process)
    assert ground.live(dataset) == [frozen.pod.metadata.name]
    frozen.thaw_at_its_end()
    with ground.started(command, tmp_path / "again") as run:
        output = run.ends_with(0)
    assert "cancelled 1 Kubernetes job of an earlier run" in output
    assert frozen.job not in [job.metadata.name for job in ground.jobs(dataset)]
    ground.assert_finished(dataset, pyramid, frozen)


def test_orphan_that_nobody_finds(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A pod of a dead run continues after another strategy has taken over: it cannot harm a file."""
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        kill_tree(run.process)
    local = [*ground.downsample(dataset)[:-4], "--distribution-strategy", "sequential"]
    with ground.started(local, tmp_path / "again") as run:
        run.ends_with(0)
    frozen.thaw()
    pod = ground.space.wait_for_phase(frozen.job, *ENDED)
    assert pod.status.container_statuses[0].state.terminated.exit_code == 75
    ground.assert_finished(dataset, pyramid, frozen)


def test_main_process_killed_alone(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """Snakemake notices that its parent is gone, and cancels the jobs."""
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        run.process.kill()
        frozen.thaw_at_its_end()
        wait_until(lambda: not ground.live(dataset), "the pods to be deleted")
    with ground.started(command, tmp_path / "again") as run:
        run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


def test_snakemake_killed_alone(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The main process notices, and cancels the jobs."""
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        frozen.thaw_at_its_end()
        next(child for child in run.process.children() if "snakemake_process" in " ".join(child.cmdline())).kill()
        assert "Snakemake was killed by signal 9 (SIGKILL)" in run.ends_with(1)
    assert not ground.live(dataset)
    with ground.started(command, tmp_path / "again") as run:
        run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT,) * 3], ids=["Ctrl-C", "SIGTERM", "impatient"])
def test_stopped(signals: tuple[signal.Signals, ...], ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2")
    with ground.started(command, tmp_path / "out", **MANY_JOBS) as run:
        frozen = ground.freeze(run, dataset)
        frozen.thaw_at_its_end()
        for number in signals:
            send(number, [run.process])
            time.sleep(0.2)
        output = run.ends_with(130)
    assert "the same command" in output
    assert not ground.live(dataset)
    with ground.started(command, tmp_path / "again", **MANY_JOBS) as run:
        run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


def test_stopped_while_the_api_server_is_away(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A job that cannot be cancelled becomes an orphan, which the same command cancels."""
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        with cluster.without("apiserver"):
            run.process.send_signal(signal.SIGINT)
            output = run.ends_with(130)
    assert "cancelled by the next run of this command" in output
    wait_until(ground.space.access.has_answered, "the API server")
    assert ground.live(dataset) == [frozen.pod.metadata.name]
    frozen.thaw_at_its_end()
    with ground.started(command, tmp_path / "again") as run:
        assert "cancelled 1 Kubernetes job of an earlier run" in run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


def test_stopped_but_the_jobs_left(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--leave-jobs-running")
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        run.process.send_signal(signal.SIGINT)
        run.ends_with(130)
    assert ground.live(dataset) == [frozen.pod.metadata.name]
    with ground.started(command, tmp_path / "again") as run:
        wait_until(lambda: f"waiting for Kubernetes job {frozen.job}" in run.text, "the run to find the job")
        assert len(ground.jobs(dataset)) == 1, "it waits for the job that is there"
        frozen.thaw()
        run.ends_with(0)
    assert coarse_files(dataset) == coarse_files(pyramid)
    ground.assert_finished(dataset, pyramid, frozen)


def test_two_runs_on_one_dataset(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as first:
        frozen = ground.freeze(first, dataset)
        with ground.started(command, tmp_path / "second") as second:
            second.ends_with(75)
        assert ground.live(dataset) == [frozen.pod.metadata.name], "the second run must not touch the jobs of the first"
        frozen.thaw()
        first.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)
