"""Start wkpipe with jobs on the cluster, stop a pod in the middle of its work, and look at what is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from kubernetes import client

from tests.cluster.cluster_helpers import Started, assert_kept, assert_same, stop_jobs, wait_until
from tests.kubernetes.bed import control_groups
from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.kubernetes_helpers import ENDED, SUBMITTER, Space
from tests.kubernetes.run_helpers import let_the_pods_in, requested
from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, kill_tree, proven, send
from wkpipe.cluster.kubernetes.names import DATASET, selector
from wkpipe.cluster.orphans import prefix_of
from wkpipe.runs.job_note import JOB_ID_VARIABLE, PROCESS_ID_VARIABLE

PROFILE = REPOSITORY / "profiles" / "kubernetes"
ON_KUBERNETES = ["--distribution-strategy", "kubernetes"]
AS_SUBMITTER = [
    *("setpriv", f"--reuid={SUBMITTER}", f"--regid={SUBMITTER}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]
"""Run a command as the user of the pods, who may nevertheless read this repository and its environment, wherever these are."""


@dataclass
class Ground:
    """A namespace with a directory that its pods mount under the same path, and the configuration of a user who may run jobs there."""

    space: Space
    directory: Path
    kubeconfig: Path
    cluster: Cluster | None

    def downsample(self, dataset: Path, *more: str, **resources: Any) -> list[str]:
        """The command that makes the coarser mags of a dataset on the cluster, slowly enough to be caught."""
        return [*WKPIPE, "downsample", str(dataset), "--compression-level", "19", *ON_KUBERNETES, *self.asked(**resources), *more]

    def asked(self, **resources: Any) -> list[str]:
        """The option with the resources of this ground, and others; an underscore in a name becomes a dash."""
        usual = {"cpu": "100m", "pull_policy": "IfNotPresent"}
        return ["--job-resources", json.dumps(requested(self.space, self.directory, **usual | resources))]

    def start(self, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Started:
        """Start a command as the user of the pods."""
        own = os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        with output.open("ab") as file:
            process = psutil.Popen([*AS_SUBMITTER, *command], env=own | environment, cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
        return Started(process, output)

    @contextlib.contextmanager
    def started(self, command: list[str], output: Path, cwd: Path | None = None, **environment: str) -> Iterator[Started]:
        """Start a command; after a failed test, its processes are killed."""
        run = self.start(command, output, cwd, **environment)
        try:
            yield run
        finally:
            kill_tree(run.process)

    def copied(self, dataset: Path) -> Path:
        """Return a copy of a dataset on the volume, under the same name; it belongs to the user of the pods."""
        target = self.directory / "work" / dataset.name
        shutil.copytree(dataset, target)
        let_the_pods_in(self.directory)
        return target

    # -- what is on the cluster ----------------------------------------------------------------------------------

    def jobs(self, dataset: Path) -> list[client.V1Job]:
        """Return the Jobs on a dataset from the oldest to the newest, also ended ones."""
        return self._sorted(self.space.access.batch.list_namespaced_job, dataset)

    def pods(self, dataset: Path) -> list[client.V1Pod]:
        """Return the pods on a dataset from the oldest to the newest, also ended ones."""
        return self._sorted(self.space.access.core.list_namespaced_pod, dataset)

    def live(self, dataset: Path) -> list[str]:
        """Return the names of the pods that have not ended."""
        return [pod.metadata.name for pod in self.pods(dataset) if pod.status.phase not in ENDED]

    def assert_finished(self, dataset: Path, expected: Path, frozen: Frozen | None = None) -> None:
        """All is there, as the local strategy makes it; what was finished before is still the same, and nothing runs any more."""
        if frozen is not None:
            assert_kept(frozen.proven, dataset)
        assert_same(dataset, expected)
        wait_until(lambda: not self.live(dataset) and all(job.status.conditions for job in self.jobs(dataset)), "the end of all Jobs")
        assert all(job.spec.ttl_seconds_after_finished for job in self.jobs(dataset))

    def _sorted(self, listed: Any, dataset: Path) -> list[Any]:
        label = selector(prefix_of(dataset / ".wkpipe"))
        assert DATASET in label
        wait_until(self.space.access.has_answered, "the API server")  # a run whose records are there ends without it
        return sorted(listed(self.space.namespace, label_selector=label).items, key=lambda thing: thing.metadata.creation_timestamp)

    def _state(self, dataset: Path) -> str:
        """Return what the cluster says about the Jobs and pods on a dataset, and the ends of its logs: why nothing goes on."""
        events = self.space.access.core.list_namespaced_event(self.space.namespace).items
        parts = [f"{thing.metadata.name}: {thing.status}" for thing in (*self.jobs(dataset), *self.pods(dataset))]
        parts += [f"{event.last_timestamp} {event.involved_object.name}: {event.reason}: {event.message}" for event in events]
        return "\n".join([*parts, self.cluster.log_ends() if self.cluster else ""])

    def step_processes(self, dataset: Path) -> list[psutil.Process]:
        """Return the processes of pods that work on a dataset, as this host sees them."""
        assert self.cluster is not None
        found = []
        for pid in control_groups.processes(self.cluster.layout.control_group):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                command = process.cmdline()
                if PROCESS_ID_VARIABLE in process.environ() and any(str(dataset) in word for word in command) and process.name() != "bash":
                    found.append(process)
        return found

    def freeze(self, run: Started, dataset: Path, files: int = 3, processes_of_pod: int = 1) -> Frozen:
        """Stop all pods on a dataset (SIGSTOP) as soon as some shards are finished and that number of processes run; return one."""
        try:
            processes = stop_jobs(run, dataset, files, lambda: self.step_processes(dataset), processes_of_pod)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._state(dataset)}") from None
        environment = processes[0].environ()
        uid = environment[PROCESS_ID_VARIABLE]
        pod = next(pod for pod in self.pods(dataset) if pod.metadata.uid == uid)
        return Frozen(environment[JOB_ID_VARIABLE], pod, processes, proven(dataset))


@dataclass
class Frozen:
    """A pod that was stopped in the middle of its work, and the storage shards that were proven by then."""

    job: str
    pod: client.V1Pod
    processes: list[psutil.Process]
    proven: dict[str, tuple[int, int]]

    def thaw(self) -> None:
        send(signal.SIGCONT, self.processes)

    def thaw_at_its_end(self) -> None:
        """Let the pod go on as soon as its node has sent it SIGTERM, which ends only processes that run. Before, it could still finish."""

        def wait() -> None:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: any(map(_is_told_to_end, self.processes)), "the end of a pod")
            self.thaw()

        threading.Thread(target=wait, daemon=True).start()

    def kill(self) -> None:
        send(signal.SIGKILL, self.processes)


def _is_told_to_end(process: psutil.Process) -> bool:
    """True if SIGTERM waits for a stopped process, or it has ended."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        pending = re.findall(r"^S[hi][dg]Pnd:\s*([0-9a-f]+)", status, re.MULTILINE)
        return not process.is_running() or any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in pending)
    return True


def grant(space: Space, user: str) -> None:
    """Give a user, and the service account of a main process, the rights in a namespace that the profile's manifest names, and no more."""
    role, binding, account = (part for part in yaml.safe_load_all((PROFILE / "rbac.yaml").read_text()) if part)
    for subject in binding["subjects"]:
        subject["namespace"] = space.namespace
    binding["subjects"].append({"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"})
    rights = client.RbacAuthorizationV1Api(space.access.api)
    rights.create_namespaced_role(space.namespace, role)
    rights.create_namespaced_role_binding(space.namespace, binding)
    space.access.core.create_namespaced_service_account(space.namespace, account)
