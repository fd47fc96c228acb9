"""Run pods on the cluster as wkpipe's must run, disturb them, and look at what became of them."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client, config

from tests.cluster.cluster_helpers import wait_until

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
PRIORITIES = {"wkpipe-low": 10, "wkpipe-high": 1000}
CLAIM = "shared"
SUBMITTER = 1000
"""The user of pods and of the files that they share with the tests."""

ENDED = ("Succeeded", "Failed")


@dataclass
class Access:
    """A cluster as its administrator reaches it, and the name of the image that its pods run.

    `user_kubeconfig` is the configuration of the user `wkpipe`, who has only the rights that a test gives; None if there is no such user.
    """

    kubeconfig: Path
    image: str
    user_kubeconfig: Path | None = None
    core: client.CoreV1Api = field(init=False)
    batch: client.BatchV1Api = field(init=False)

    def __post_init__(self) -> None:
        self.api = config.new_client_from_config(str(self.kubeconfig))
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands that use the cluster."""
        return os.environ | {"KUBECONFIG": str(self.kubeconfig)}

    def create_priorities(self) -> None:
        """Create two priority classes, so that pods of one can be preempted by pods of the other."""
        scheduling = client.SchedulingV1Api(self.api)
        for name, value in PRIORITIES.items():
            body = {"metadata": {"name": name}, "value": value}
            with contextlib.suppress(client.ApiException):  # it exists
                scheduling.create_priority_class(body)

    def node_is_ready(self) -> bool:
        conditions = [condition for node in self.core.list_node().items for condition in node.status.conditions]
        return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)

    @contextlib.contextmanager
    def cordoned(self) -> Iterator[None]:
        """Let no pod start on any node in this block."""
        nodes = [node.metadata.name for node in self.core.list_node().items]
        for node in nodes:
            self.core.patch_node(node, {"spec": {"unschedulable": True}})
        try:
            yield
        finally:
            for node in nodes:
                self.core.patch_node(node, {"spec": {"unschedulable": False}})

    def taint_nodes(self, key: str) -> None:
        """Have the pods on all nodes evicted, as the cluster does on a lost node. A cluster that has lost all nodes at once does not."""
        for node in self.core.list_node().items:
            taints = [*self.api.sanitize_for_serialization(node.spec.taints or []), {"key": key, "effect": "NoExecute"}]
            self.core.patch_node(node.metadata.name, {"spec": {"taints": taints}})

    def has_answered(self) -> bool:
        """True if the API server answers now."""
        with contextlib.suppress(Exception):
            client.VersionApi(self.api).get_code(_request_timeout=2)
            return True
        return False


@dataclass
class Space:
    """A namespace of one test, in which Pod Security enforces `restricted`."""

    access: Access
    namespace: str

    def share(self, directory: Path, claim: str = CLAIM) -> None:
        """Make a directory of the host a volume of this namespace, which many pods can mount, and wait until it is bound."""
        name = f"{self.namespace}-{claim}"
        volume = {
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(directory), "type": "Directory"},
                "claimRef": {"namespace": self.namespace, "name": claim},
            },
        }
        self.access.core.create_persistent_volume(volume)
        spec = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        self.access.core.create_namespaced_persistent_volume_claim(self.namespace, {"metadata": {"name": claim}, "spec": spec})

        def is_bound() -> bool:
            return self.access.core.read_namespaced_persistent_volume_claim(claim, self.namespace).status.phase == "Bound"

        wait_until(is_bound, "the volume")

    def quota(self, **hard: str) -> None:
        """Limit the resources of this namespace, such as `pods="2"` or `requests.memory`, and wait until the limit is in force."""
        self.access.core.create_namespaced_resource_quota(self.namespace, {"metadata": {"name": "quota"}, "spec": {"hard": hard}})

        def is_known() -> bool:
            return bool(self.access.core.read_namespaced_resource_quota("quota", self.namespace).status.hard)

        wait_until(is_known, "the quota")

    def lift_quota(self) -> None:
        """Remove the limit of `quota`."""
        self.access.core.delete_namespaced_resource_quota("quota", self.namespace)

    def submit(self, name: str, command: Sequence[str], **options: Any) -> None:
        """Create a Job of one pod; the options are those of `job_body`."""
        self.access.batch.create_namespaced_job(self.namespace, job_body(name, self.access.image, command, **options))

    def job(self, name: str) -> client.V1Job:
        return self.access.batch.read_namespaced_job(name, self.namespace)

    def pods(self, job: str) -> list[client.V1Pod]:
        return self.access.core.list_namespaced_pod(self.namespace, label_selector=f"job-name={job}").items

    def wait(self, job: str, condition: Callable[[client.V1Pod], bool], seconds: float = 300) -> client.V1Pod:
        """Wait until a pod of a job meets a condition, and return it."""
        found: list[client.V1Pod] = []

        def is_found() -> bool:
            found[:] = [pod for pod in self.pods(job) if condition(pod)]
            return bool(found)

        wait_until(is_found, f"a pod of {job}", seconds, lambda: "\n".join(str(pod.status) for pod in self.pods(job)))
        return found[0]

    def wait_for_phase(self, job: str, *phases: str) -> client.V1Pod:
        return self.wait(job, lambda pod: pod.status.phase in phases)

    def log(self, pod: client.V1Pod) -> str:
        return self.access.core.read_namespaced_pod_log(pod.metadata.name, self.namespace)

    def evict(self, pod: client.V1Pod) -> None:
        """Evict a pod through the API, as `kubectl drain` does."""
        body = client.V1Eviction(metadata=client.V1ObjectMeta(name=pod.metadata.name))
        self.access.core.create_namespaced_pod_eviction(pod.metadata.name, self.namespace, body)

    def delete(self, pod: client.V1Pod) -> None:
        """Delete a pod by hand, at once."""
        self.access.core.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)

    def remove(self) -> None:
        """Delete the namespace with all that is in it; the cluster does that later."""
        self.access.core.delete_namespace(self.namespace)
        for volume in self.access.core.list_persistent_volume().items:
            if volume.spec.claim_ref is not None and volume.spec.claim_ref.namespace == self.namespace:
                self.access.core.delete_persistent_volume(volume.metadata.name)


def new_space(access: Access, test: str) -> Space:
    """Create a namespace for a test, and wait until pods can be created in it."""
    slug = re.sub(r"[^a-z0-9]+", "-", test.lower()).strip("-")[:40].strip("-")
    name = f"{slug}-{uuid.uuid4().hex[:8]}"
    access.core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})

    def has_account() -> bool:
        return any(account.metadata.name == "default" for account in access.core.list_namespaced_service_account(name).items)

    wait_until(has_account, "the namespace")
    return Space(access, name)


def job_body(
    name: str,
    image: str,
    command: Sequence[str],
    *,
    memory: str = "64Mi",
    cpu: str = "50m",
    shared: Path | None = None,
    priority: str | None = None,
    survives_disruption: bool = True,
    arguments: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return a Job whose pod passes Pod Security `restricted` and whose root is read-only. `shared` is where it mounts the volume."""
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    if shared:
        mounts.append({"name": CLAIM, "mountPath": str(shared)})
        volumes.append({"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}})
    container = {
        "name": "step",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": mounts,
    }
    container |= {"command": list(command)} if command else {}
    container |= {"args": list(arguments)} if arguments else {}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": SUBMITTER,
            "runAsGroup": SUBMITTER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    pod |= {"priorityClassName": priority} if priority else {}
    spec: dict[str, Any] = {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": "wkpipe-test"}}, "spec": pod}}
    if survives_disruption:
        rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        spec["podFailurePolicy"] = {"rules": [rule]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def ended(pod: client.V1Pod) -> tuple[str, int]:
    """Return why the container of a pod ended, and its exit code."""
    state = pod.status.container_statuses[0].state.terminated
    return state.reason, state.exit_code


def waits_for(pod: client.V1Pod) -> str:
    """Return why the container of a pod has not started, empty if it has."""
    waiting = [status.state.waiting for status in pod.status.container_statuses or [] if status.state.waiting]
    return waiting[0].reason if waiting else ""


def condition(pod: client.V1Pod, kind: str) -> str:
    """Return the reason of a condition of a pod, empty if it has no such condition."""
    return next((found.reason or "" for found in pod.status.conditions or [] if found.type == kind), "")
