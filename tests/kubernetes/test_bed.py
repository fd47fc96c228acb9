"""The cluster itself, on which the other tests here rely."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from kubernetes import client

from tests.cluster.cluster_helpers import wait_until
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.kubernetes_helpers import ENDED, Access, Space, condition, ended, job_body, waits_for
from wkpipe import __version__
from wkpipe.native.library import state

pytestmark = pytest.mark.timeout(900)

HOG = "b = bytearray(300_000_000); print('not reached')"


def test_the_node_is_ready(kubernetes: Access) -> None:
    assert kubernetes.node_is_ready()


def test_a_job_runs(space: Space) -> None:
    space.submit("hello", ["python3", "-c", "import os; print('hello from', os.getuid())"])
    pod = space.wait_for_phase("hello", *ENDED)
    assert (pod.status.phase, space.log(pod)) == ("Succeeded", "hello from 1000\n")


def test_the_image_runs_on_a_read_only_root(space: Space) -> None:
    space.submit("version", [], arguments=["--version"], memory="256Mi")
    pod = space.wait_for_phase("version", *ENDED)
    assert (pod.status.phase, space.log(pod)) == ("Succeeded", f"wkpipe {__version__} (native engine: {state()})\n")


def test_the_image_runs_as_any_user_and_writes_only_below_tmp(space: Space) -> None:
    script = """
import getpass, os, pathlib, subprocess, sys
import wkpipe.cli.app, kubernetes, snakemake
print(os.getuid(), getpass.getuser(), pathlib.Path.home())
pathlib.Path("/tmp/x").write_text("")
print(subprocess.run(["sh", "-c", ": > /x"], capture_output=True, text=True).stderr.strip().split(": ")[-1])
caches = [getattr(module, "__cached__", None) for module in list(sys.modules.values())]
print([cache for cache in caches if cache and not pathlib.Path(cache).exists()])
"""
    body = job_body("user", space.access.image, ["python3", "-c", script], memory="512Mi")
    body["spec"]["template"]["spec"]["securityContext"] |= {"runAsUser": 123456, "runAsGroup": 0}
    space.access.batch.create_namespaced_job(space.namespace, body)
    pod = space.wait_for_phase("user", *ENDED)
    assert space.log(pod).splitlines() == ["123456 wkpipe /tmp", "Read-only file system", "[]"]


def test_the_namespace_enforces_pod_security(space: Space) -> None:
    body = job_body("root", space.access.image, ["true"])["spec"]["template"]["spec"]
    body["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(client.ApiException, match="violates PodSecurity") as refused:
        space.access.core.create_namespaced_pod(space.namespace, {"metadata": {"name": "root"}, "spec": body})
    assert refused.value.status == 403


def test_the_user_has_only_the_rights_that_a_test_gives(space: Space) -> None:
    if space.access.user_kubeconfig is None:
        pytest.skip("KUBECONFIG is set: that cluster has no user without rights for the tests")
    user = Access(space.access.user_kubeconfig, space.access.image)
    with pytest.raises(client.ApiException) as refused:
        user.core.list_namespaced_pod(space.namespace)
    assert refused.value.status == 403
    rights = client.RbacAuthorizationV1Api(space.access.api)
    name = {"name": "reader"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    rights.create_namespaced_role(space.namespace, {"metadata": name, "rules": rules})
    binding = {
        "metadata": name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", **name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "wkpipe"}],
    }
    rights.create_namespaced_role_binding(space.namespace, binding)

    def may_list() -> bool:
        with contextlib.suppress(client.ApiException):
            return user.core.list_namespaced_pod(space.namespace).items == []
        return False

    wait_until(may_list, "the right to list pods")


def test_too_much_memory_is_reported(space: Space) -> None:
    space.submit("hog", ["python3", "-c", HOG])
    assert ended(space.wait_for_phase("hog", "Failed")) == ("OOMKilled", 137)
    # If only a child is killed, the reason is the same, and the exit code is that of the container's own process. The runtime hears of the
    # kill and of the container's end in two ways: the container lives on until the first has arrived, even on a busy host.
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {HOG!r}]); time.sleep(10); sys.exit(3)"
    space.submit("parent", ["python3", "-c", parent])
    assert ended(space.wait_for_phase("parent", "Failed")) == ("OOMKilled", 3)


def test_pods_and_the_host_share_a_volume(space: Space, shared: Path) -> None:
    (shared / "from-host").write_text("1")
    (shared / "from-host").chmod(0o644)
    space.submit("first", ["sh", "-c", f"cat {shared}/from-host; echo 2 > {shared}/from-pod"], shared=shared)
    pod = space.wait_for_phase("first", *ENDED)
    assert (pod.status.phase, space.log(pod)) == ("Succeeded", "1")
    assert (shared / "from-pod").read_text() == "2\n"
    assert (shared / "from-pod").stat().st_uid == 1000
    space.submit("second", ["cat", f"{shared}/from-pod"], shared=shared)
    assert space.log(space.wait_for_phase("second", *ENDED)) == "2\n"


def test_what_cannot_start_waits(space: Space) -> None:
    space.submit("large", ["true"], memory="900Gi")
    large = space.wait("large", lambda pod: condition(pod, "PodScheduled") == "Unschedulable")
    assert large.status.phase == "Pending"
    body = job_body("no-image", "localhost/none:9", ["true"])
    space.access.batch.create_namespaced_job(space.namespace, body)
    waiting = space.wait("no-image", lambda pod: waits_for(pod) in ("ErrImagePull", "ImagePullBackOff"))
    assert waiting.status.phase == "Pending"


def test_a_quota_keeps_pods_from_being_created(space: Space) -> None:
    space.quota(pods="0")
    space.submit("over", ["true"])
    wait_until(
        lambda: any("exceeded quota" in event.message for event in space.access.core.list_namespaced_event(space.namespace).items),
        "a refusal",
    )
    assert not space.pods("over")


def test_an_evicted_pod_is_replaced(cluster: Cluster, space: Space) -> None:
    space.submit("drained", ["sh", "-c", "trap 'exit 143' TERM; sleep 15 & wait"])
    first = space.wait_for_phase("drained", "Running")
    with space.access.cordoned():
        space.evict(first)
        space.wait("drained", lambda pod: pod.metadata.uid != first.metadata.uid and condition(pod, "PodScheduled") == "Unschedulable")
    second = space.wait_for_phase("drained", "Succeeded")
    assert second.metadata.uid != first.metadata.uid


def test_a_pod_is_preempted(cluster: Cluster, space: Space) -> None:
    cpus = space.access.core.list_node().items[0].status.allocatable["cpu"]
    most = f"{int(cpus) * 700}m"
    space.submit("low", ["sleep", "1000"], cpu=most, priority="wkpipe-low")
    first = space.wait_for_phase("low", "Running")
    space.submit("high", ["sleep", "1"], cpu=most, priority="wkpipe-high")
    preempted = space.wait("low", lambda pod: bool(condition(pod, "DisruptionTarget")))
    assert (preempted.metadata.uid, condition(preempted, "DisruptionTarget")) == (first.metadata.uid, "PreemptionByScheduler")
    space.wait_for_phase("high", "Succeeded")


@pytest.mark.parametrize("daemon", ["kubelet", "apiserver"])
def test_a_pod_survives_a_killed_daemon(cluster: Cluster, space: Space, daemon: str) -> None:
    space.submit("survivor", ["sleep", "15"])
    first = space.wait_for_phase("survivor", "Running")
    pid = cluster.pid(daemon)
    cluster.kill(daemon)
    wait_until(lambda: cluster.pid(daemon) != pid, f"a new {daemon}")
    wait_until(space.access.has_answered, "the API server")
    assert space.wait_for_phase("survivor", *ENDED).status.phase == "Succeeded"
    assert space.pods("survivor")[0].metadata.uid == first.metadata.uid


def test_the_api_server_is_away_and_comes_back(cluster: Cluster, space: Space) -> None:
    with cluster.without("apiserver"):
        time.sleep(2)
        assert not space.access.has_answered()
    wait_until(space.access.has_answered, "the API server")
    with cluster.frozen("apiserver"):
        begun = time.monotonic()
        assert not space.access.has_answered()
        assert time.monotonic() - begun > 1
    wait_until(space.access.has_answered, "the API server")
