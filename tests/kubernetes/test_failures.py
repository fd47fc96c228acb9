"""Real failures of jobs and their pods: the run succeeds or reports the cause, and finished storage shards stay as they are."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, coarse_files, damage, profile_with, wait_until
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.bed.layout import CONTROL_GROUPS
from tests.kubernetes.ground import Frozen, Ground
from tests.kubernetes.kubernetes_helpers import condition, ended
from tests.kubernetes.run_helpers import events

pytestmark = [pytest.mark.timeout(900), pytest.mark.sampled(every=2)]


def test_killed(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        frozen.kill()
        output = run.ends_with(0)
    assert "was killed, with" in output
    assert "it is tried again with" in output
    assert [event["event"] for event in events(dataset)] == ["submitted", "unknown", "submitted", "done"]
    ground.assert_finished(dataset, pyramid, frozen)


def test_out_of_memory(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        _take_memory_away(frozen)
        frozen.thaw()
        output = run.ends_with(0)
    _assert_more_memory(ground, dataset, output)
    ground.assert_finished(dataset, pyramid, frozen)


def test_out_of_memory_in_a_worker(cluster: Cluster, ground: Ground, large_shards: tuple[Path, Path], tmp_path: Path) -> None:
    """Only a process that the step has forked is killed; the step itself ends with an error of its own."""
    dataset = ground.copied(large_shards[0])
    with ground.started(ground.downsample(dataset, cpu="1500m"), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset, files=0, processes_of_pod=3)
        _take_memory_away(frozen)
        frozen.thaw()
        output = run.ends_with(0)
    _assert_more_memory(ground, dataset, output)
    ground.assert_finished(dataset, large_shards[1], frozen)


def _assert_more_memory(ground: Ground, dataset: Path, output: str) -> None:
    assert "ran out of memory, with" in output
    assert [event["event"] for event in events(dataset)] == ["submitted", "memory", "submitted", "done"]
    first, second = ground.pods(dataset)
    assert ended(first)[0] == "OOMKilled"
    assert _mib(second) >= 2 * _mib(first)


def _take_memory_away(frozen: Frozen) -> None:
    """Lower the limit of a pod to its present memory, and have a process in its control group ask for more."""
    groups = Path(f"/proc/{frozen.processes[0].pid}/cgroup").read_text().splitlines()
    (path,) = (line.split(":", 2)[2] for line in groups if line.split(":")[1] == "memory")
    group = CONTROL_GROUPS / "memory" / path.lstrip("/")
    size = int((group / "memory.usage_in_bytes").read_text())
    family = {process.pid for process in frozen.processes}
    forked = [process for process in frozen.processes if process.ppid() in family]
    for process in forked or frozen.processes:  # the kernel kills these first
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError):
        while size > 0:
            (group / "memory.limit_in_bytes").write_text(str(size))
            size -= 256 << 10
    ask = "import sys, time; open(sys.argv[1], 'w').write('0'); memory = bytearray(8 << 20); time.sleep(0.5)"
    subprocess.run([sys.executable, "-c", ask, group / "cgroup.procs"], check=False)


def _mib(pod: object) -> int:
    return int(pod.spec.containers[0].resources.limits["memory"].removesuffix("Mi"))  # type: ignore[attr-defined]


def test_evicted(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The Job controller makes another pod of the same try, which goes on."""
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        ground.space.evict(frozen.pod)
        frozen.thaw_at_its_end()
        run.ends_with(0)
    _assert_same_try(ground, dataset)
    ground.assert_finished(dataset, pyramid, frozen)


def test_drained(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """No pod may start while the node is drained; then it goes on."""
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        with ground.space.access.cordoned():
            ground.space.evict(frozen.pod)
            frozen.thaw_at_its_end()
            wait_until(lambda: "is pending: no node takes it" in run.text, "the run to notice")
        run.ends_with(0)
    _assert_same_try(ground, dataset)
    ground.assert_finished(dataset, pyramid, frozen)


def test_preempted(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset, cpu="1400m", priority_class="wkpipe-low"), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        ground.space.submit("urgent", ["sleep", "3"], cpu="1400m", priority="wkpipe-high")
        seen = ground.space.wait(frozen.job, lambda pod: bool(condition(pod, "DisruptionTarget")))
        assert condition(seen, "DisruptionTarget") == "PreemptionByScheduler"
        frozen.thaw_at_its_end()
        run.ends_with(0)
    _assert_same_try(ground, dataset)
    ground.assert_finished(dataset, pyramid, frozen)


def _assert_same_try(ground: Ground, dataset: Path) -> None:
    assert [event["event"] for event in events(dataset)] == ["submitted", "done"]
    assert len(ground.jobs(dataset)) == 1


def test_pod_deleted_by_hand(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        ground.space.delete(frozen.pod)
        output = run.ends_with(0)
    assert "was removed: " in output
    assert [event["event"] for event in events(dataset)] == ["submitted", "removed", "submitted", "done"]
    ground.assert_finished(dataset, pyramid, frozen)


def test_job_deleted_by_hand(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        ground.space.access.batch.delete_namespaced_job(frozen.job, ground.space.namespace, propagation_policy="Background")
        frozen.thaw_at_its_end()
        output = run.ends_with(1)
    assert f"Kubernetes job {frozen.job}" in output
    assert "was cancelled; the same command resumes" in output
    with ground.started(command, tmp_path / "again") as run:
        run.ends_with(0)
    ground.assert_finished(dataset, pyramid, frozen)


def test_suspended(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset), tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        _suspend(ground, frozen.job, True)
        frozen.thaw_at_its_end()
        wait_until(lambda: "is pending: its Job is suspended" in run.text, "the run to notice")
        _suspend(ground, frozen.job, False)
        run.ends_with(0)
    _assert_same_try(ground, dataset)
    ground.assert_finished(dataset, pyramid, frozen)


def _suspend(ground: Ground, job: str, is_suspended: bool) -> None:
    ground.space.access.batch.patch_namespaced_job(job, ground.space.namespace, {"spec": {"suspend": is_suspended}})


def test_image_missing(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2", image="localhost/none:9", image_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, "it can never start (its image localhost/none:9 cannot be pulled")


def test_a_pull_policy_that_never_pulls(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2", image="localhost/none:9", image_minutes=0, pull_policy="Never")
    _assert_refused(ground, dataset, command, tmp_path, "cannot be pulled: there is no such image")


def test_no_node_fits(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2", node_selector={"disk": "none"}, node_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, "it can never start (no node takes it: ")


def test_a_secret_is_missing(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2", env_secret="nowhere", start_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, 'it can never start (secret "nowhere" not found')


def test_a_volume_is_missing(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    command = ground.downsample(dataset, "--jobs", "2", volume=f"pvc:nowhere:{ground.directory}", start_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, 'persistentvolumeclaim "nowhere" not found')


def test_a_volume_that_cannot_be_mounted(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    """A node takes the pod and never starts it: only an event says why."""
    ground.space.share(ground.directory / "removed", "removed")
    volumes = [f"pvc:shared:{ground.directory}", "pvc:removed:/elsewhere"]
    command = ground.downsample(dataset, "--jobs", "2", volume=volumes, start_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, "it can never start (MountVolume.SetUp failed for volume ")


def test_a_service_account_is_missing(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    """The Job gets no pod: only an event says why."""
    command = ground.downsample(dataset, "--jobs", "2", service_account="nobody", start_minutes=0)
    _assert_refused(ground, dataset, command, tmp_path, 'serviceaccount "nobody" not found')


def _assert_refused(ground: Ground, dataset: Path, command: list[str], tmp_path: Path, word: str) -> None:
    with ground.started(command, tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(2)
    lines = [line for line in output.splitlines() if word in line and "refuses" in line]
    assert lines, output
    assert "change --job-resources" in lines[0]
    wait_until(lambda: not ground.live(dataset), "the pods to be deleted")
    assert len({event["task"] for event in events(dataset) if event["event"] == "submitted"}) <= 2


def test_quota(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """Pods of several Jobs at once exceed it: the others wait for their turn."""
    ground.space.quota(pods="1")
    with ground.started(ground.downsample(dataset, "--jobs", "3"), tmp_path / "out", **MANY_JOBS) as run:
        frozen = ground.freeze(run, dataset, files=1)
        wait_until(lambda: "exceeded quota: quota, requested: pods=1, limited: pods=1" in run.text, "the run to notice")
        frozen.thaw()
        run.ends_with(0)
    assert {event["event"] for event in events(dataset)} == {"submitted", "done"}
    ground.assert_finished(dataset, pyramid, frozen)


def test_quota_of_jobs(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """No Job can be created: they are submitted as others end and are deleted."""
    ground.space.quota(**{"count/jobs.batch": "2"})
    with ground.started(ground.downsample(dataset, "--jobs", "3"), tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(0)
    assert "Kubernetes takes no more jobs at once (" in output
    ground.assert_finished(dataset, pyramid)


def test_a_namespace_that_is_forbidden(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    with ground.started(ground.downsample(dataset, namespace="kube-system"), tmp_path / "out") as run:
        output = run.ends_with(2)
    (line,) = (line for line in output.splitlines() if "forbidden" in line)
    assert 'cannot list resource "jobs"' in line
    assert 'namespace "kube-system"' in line


def test_a_tasks_own_error(ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """A source shard is damaged: the job that needs it fails once, with its log; all other units are made."""
    damage(next(path for path in sorted((dataset / "em" / "1").rglob("c/*/*/*/*")) if path.is_file()))
    with ground.started(ground.downsample(dataset, "--jobs", "4"), tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(4)
    failed = [event for event in events(dataset) if event["event"] == "error"]
    assert len(failed) == 1
    submitted = [event for event in events(dataset) if event["event"] == "submitted" and event["task"] == failed[0]["task"]]
    assert len(submitted) == 1, "a second try would fail again"
    assert str(submitted[0]["log"]) in output
    assert coarse_files(dataset) >= coarse_files(pyramid) // 3


def test_pods_that_cannot_start(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    """The setup command of every pod fails: the run stops and reports the output of the first one."""
    profile = profile_with(
        "kubernetes", tmp_path / "profile", {"wkpipe-kubernetes-setup": "echo no such tool >&2; exit 3", "latency-wait": 5}
    )
    with ground.started(ground.downsample(dataset, "--jobs", "2", *profile), tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(1)
    assert "could not start: no such tool; its log is " in output
    assert len(ground.jobs(dataset)) <= 2, "those that were submitted together"
    assert coarse_files(dataset) == 0


def test_evicted_for_its_storage(ground: Ground, dataset: Path, tmp_path: Path) -> None:
    """The kubelet looks at the scratch space of pods once a minute."""
    setup = {"wkpipe-kubernetes-setup": "head -c 40M /dev/zero > /tmp/large; sleep 200", "latency-wait": 5}
    command = ground.downsample(dataset, *profile_with("kubernetes", tmp_path / "profile", setup), ephemeral_storage="16Mi")
    with ground.started(command, tmp_path / "out") as run:
        output = run.ends_with(1)
    assert "ask for more ephemeral-storage" in output


def test_node_lost(cluster: Cluster, ground: Ground, dataset: Path, pyramid: Path, tmp_path: Path) -> None:
    """The pod goes on where nobody can end it. Another one does the task as soon as there is a node."""
    soon = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}]
    command = ground.downsample(dataset, tolerations=json.dumps(soon), lost_minutes=0)
    with ground.started(command, tmp_path / "out") as run:
        frozen = ground.freeze(run, dataset)
        with cluster.without("kubelet"):
            wait_until(lambda: not ground.space.access.node_is_ready(), "the cluster to notice")
            ground.space.access.taint_nodes("node.kubernetes.io/unreachable")
            wait_until(lambda: "lost its node" in run.text, "the run to notice")
            frozen.thaw()
            time.sleep(5)
        output = run.ends_with(0)
    assert "it is tried again" in output
    ground.assert_finished(dataset, pyramid, frozen)
