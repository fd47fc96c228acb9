"""wkpipe's main process in the cluster: its output and exit code, restarts, Ctrl-C, and clear refusals. With the least rights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from tests.cluster.cluster_helpers import MANY_JOBS, assert_same, copy_of, wait_until
from tests.kubernetes.ground import grant
from tests.kubernetes.kubernetes_helpers import CLAIM, ENDED, SUBMITTER, Space
from tests.kubernetes.run_helpers import command, let_the_pods_in, requested
from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, VOXEL_SIZE, registered_mags, run, write_stack
from wkpipe import __version__

pytestmark = pytest.mark.timeout(900)

MAIN = "app.kubernetes.io/component=main"
DATA = Path("/data")
"""Where pods see the volume; on this host, it has another path."""


@pytest.fixture(scope="session")
def finest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two layers without coarser mags."""
    base = tmp_path_factory.mktemp("finest")
    done = run(
        "convert", write_stack(base / "stack", (100, 300, 340)), base / "set", "--voxel-size", VOXEL_SIZE, *SHARDS, "--no-downsample"
    )
    assert done.returncode == 0, done.stderr
    return base / "set"


@pytest.fixture(scope="session")
def pyramid(finest: Path) -> Path:
    """The result of `downsample` on this host."""
    target = Path(shutil.copytree(finest, finest.parent / "pyramid"))
    done = run("downsample", target)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def dataset(finest: Path, shared: Path) -> Path:
    """A copy of `finest` on the volume."""
    target = Path(shutil.copytree(finest, shared / "set"))
    let_the_pods_in(target)
    return target


@pytest.fixture
def rights(space: Space) -> Mapping[str, str]:
    """The environment of a user with the rights of rbac.yaml, and no more; the service account has the same."""
    access = space.access
    if access.user_kubeconfig is None:
        pytest.skip("KUBECONFIG is set: the cluster has no user without rights")
    grant(space, "wkpipe")
    return os.environ | {"KUBECONFIG": str(access.user_kubeconfig)}


def options(space: Space, **more: Any) -> list[str]:
    usual = {"run_as_user": SUBMITTER, "cpu": "100m", "main_cpu": "100m"}  # so that they fit beside those of other tests
    given = requested(space, DATA, **usual | more)
    return ["--distribution-strategy", "kubernetes", "--in-cluster", "--jobs", "3", "--job-resources", json.dumps(given)]


def in_cluster(environment: Mapping[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=300, check=False)


def started(environment: Mapping[str, str], *arguments: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*arguments), env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def main_pods(space: Space) -> list[client.V1Pod]:
    pods = space.access.core.list_namespaced_pod(space.namespace, label_selector=MAIN).items
    return sorted(pods, key=lambda pod: pod.metadata.creation_timestamp)


def jobs(space: Space, selector: str = "app.kubernetes.io/name=wkpipe") -> list[client.V1Job]:
    return list(space.access.batch.list_namespaced_job(space.namespace, label_selector=selector).items)


def has_a_step(space: Space) -> bool:
    """True if a pod of a task waits or runs."""
    pods = space.access.core.list_namespaced_pod(space.namespace, label_selector="wkpipe/task").items
    return any(pod.status.phase not in ENDED for pod in pods)


def test_convert_and_downsample_with_the_least_rights(space: Space, shared: Path, pyramid: Path, rights: Mapping[str, str]) -> None:
    """The same bytes as on this host, and nothing of this host in the Job; the second command finds nothing to do."""
    shutil.copytree(pyramid.parent / "stack", shared / "stack")
    convert = ["convert", DATA / "stack", DATA / "set", "--voxel-size", VOXEL_SIZE, *SHARDS, *options(space)]
    environment = rights | MANY_JOBS | {"WK_TOKEN": "secret-of-a-server", "WKPIPE_RUN": "of-another-run"}
    done = in_cluster(environment, *convert)
    assert done.returncode == 0, done.stderr
    assert f"converted {DATA / 'stack'} to {DATA / 'set'}" in done.stdout
    assert "Kubernetes jobs of up to" in done.stderr
    assert_same(shared / "set", pyramid)
    (job,) = jobs(space, MAIN)
    text = json.dumps(space.access.api.sanitize_for_serialization(job))
    assert not any(hidden in text for hidden in ("secret-of-a-server", "of-another-run", str(shared)))
    done = in_cluster(environment, *convert)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing to do")


def resumed_after(end: Callable[[client.V1Pod], None], space: Space, rights: Mapping[str, str], *more: str) -> str:
    """End the pod of a main process while a pod of a task is there, check that another one completes the run, and return stderr."""
    process = started(rights | MANY_JOBS, "downsample", DATA / "set", *more, *options(space))
    wait_until(lambda: has_a_step(space), "a pod of a task")
    (pod,) = main_pods(space)
    end(pod)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "was ended by the cluster, and resumes in pod" in errors
    return errors


def test_a_killed_main_process_resumes(space: Space, dataset: Path, pyramid: Path, rights: Mapping[str, str], tmp_path: Path) -> None:
    """Its pod is deleted without time to end anything: the next one takes over the lease at once, and ends the jobs that are left."""
    resumed_after(space.delete, space, rights, "--compression-level", "19")
    expected = copy_of(pyramid.parent / "set", tmp_path / "expected")
    assert run("downsample", expected, "--compression-level", "19").returncode == 0
    assert_same(dataset, expected)


def test_an_evicted_main_process_cancels_its_jobs_and_resumes(
    space: Space, dataset: Path, pyramid: Path, rights: Mapping[str, str]
) -> None:
    """As by `kubectl drain`: it gets SIGTERM and some time, and another pod resumes the run."""
    assert "cannot" not in resumed_after(space.evict, space, rights)
    assert_same(dataset, pyramid)


def test_another_version_in_the_image_is_one_line(space: Space, dataset: Path, rights: Mapping[str, str]) -> None:
    newer = "import runpy, wkpipe; wkpipe.__version__ = '99.0'; runpy.run_module('wkpipe', run_name='__main__')"
    arguments = ["downsample", DATA / "set", *options(space)]
    done = subprocess.run([sys.executable, "-c", newer, *map(str, arguments)], env=rights, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    said = f"the image has wkpipe {__version__}, and wkpipe 99.0 has submitted this; use the same version"
    assert said in done.stderr.splitlines()[-1]
    assert all(mags == [[1, 1, 1]] for mags in registered_mags(dataset).values())


def test_ctrl_c_cancels_the_run_and_the_same_command_resumes(space: Space, dataset: Path, pyramid: Path, rights: Mapping[str, str]) -> None:
    arguments = ["downsample", DATA / "set", *options(space)]
    process = started(rights | MANY_JOBS, *arguments)
    wait_until(lambda: has_a_step(space), "a pod of a task")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "the same command resumes" in errors.splitlines()[-1]
    assert main_pods(space) == []
    assert [job for job in jobs(space) if job.status.active] == []
    done = in_cluster(rights | MANY_JOBS, *arguments)
    assert done.returncode == 0, done.stderr
    assert_same(dataset, pyramid)


def test_leave_jobs_running_detaches_and_the_same_command_attaches(
    space: Space, dataset: Path, pyramid: Path, rights: Mapping[str, str]
) -> None:
    """Another command on the same dataset is refused meanwhile. The run cannot end before, because its tasks get no pods."""
    space.quota(pods="1")
    arguments = ["downsample", DATA / "set", *options(space), "--leave-jobs-running"]
    process = started(rights | MANY_JOBS, *arguments)
    wait_until(lambda: any(pod.status.phase == "Running" for pod in main_pods(space)), "the main process")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the run goes on in the cluster, the same command attaches to it" in errors.splitlines()[-1]
    other = in_cluster(rights, "downsample", DATA / "set", "--layer-name", "cells", *options(space))
    assert other.returncode == 75
    assert f"another command works on {DATA / 'set'} in the cluster" in other.stderr.splitlines()[-1]
    process = started(rights | MANY_JOBS, *arguments)
    assert process.stderr is not None
    assert any("attached to the run that is in the cluster already" in line for line in process.stderr)
    space.lift_quota()
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert f"downsampled {DATA / 'set'}" in out
    assert_same(dataset, pyramid)
    assert len(main_pods(space)) == 1


def test_its_error_and_exit_code_are_the_commands(space: Space, dataset: Path, rights: Mapping[str, str]) -> None:
    assert dataset.exists()
    done = in_cluster(rights, "downsample", DATA / "nothing", *options(space))
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("wkpipe: /data/nothing")
    done = in_cluster(rights, "downsample", DATA / "set", "--dry-run", *options(space))
    assert done.returncode == 0, done.stderr
    assert "2-2-1" in done.stdout
    assert not (dataset / "layer" / "2-2-1").exists()


@pytest.mark.parametrize(
    "path, more, code, said",
    [
        ("set", {}, 2, "TARGET: set is not on a volume; with --in-cluster, mounted are /data; give the path as pods see it"),
        ("/elsewhere/set", {}, 2, "TARGET: /elsewhere/set is not on a volume"),
        ("/data/set", {"volume": f"pvc:{CLAIM}:/data:ro"}, 2, "is on the volume shared, which is only read; leave out its :ro"),
        ("/data/set", {"main_service_account": "nobody"}, 2, 'serviceaccount "nobody" not found'),
        ("/data/set", {"namespace": "kube-system"}, 2, "the cluster refuses --in-cluster: jobs.batch is forbidden"),
        ("/data/set", {"image": "Not/An/Image:1"}, 2, "is not the name of an image"),
        ("/data/set", {"volume": "pvc:no-such-claim:/data", "start_minutes": 0}, 2, '"no-such-claim" not found'),
    ],
)
def test_what_cannot_run_is_one_line(
    space: Space, dataset: Path, rights: Mapping[str, str], path: str, more: dict[str, Any], code: int, said: str
) -> None:
    assert dataset.exists()
    done = in_cluster(rights, "downsample", path, *options(space, **more))
    assert done.returncode == code, done.stderr
    assert said in done.stderr.splitlines()[-1]
    wait_until(lambda: jobs(space) == [], "the end of the Job")


def test_a_job_of_another_tool_is_left_alone(space: Space, dataset: Path, rights: Mapping[str, str]) -> None:
    arguments = ["downsample", DATA / "set", *options(space)]
    assert in_cluster(rights, *arguments, "--dry-run").returncode == 0
    name = jobs(space, MAIN)[0].metadata.name.removesuffix("-plan")
    space.submit(name, ["sleep", "1000"])
    done = in_cluster(rights, *arguments)
    assert done.returncode == 2
    assert "exists, and wkpipe has not made it; delete or rename that Job" in done.stderr.splitlines()[-1]
    assert space.job(name).status.active == 1
    assert all(mags == [[1, 1, 1]] for mags in registered_mags(dataset).values())


def test_the_manifest_of_the_profile(space: Space, dataset: Path, pyramid: Path, rights: Mapping[str, str]) -> None:
    """Only its image is another one, and the name of the dataset."""
    assert rights
    text = (REPOSITORY / "profiles" / "kubernetes" / "run.yaml").read_text()
    text = text.replace("registry.example.org/wkpipe:0.1.0", space.access.image).replace("/data/my_dataset", str(DATA / "set"))
    text = text.replace('"pvc:shared:/data"', f'"pvc:{CLAIM}:/data", "cpu": "100m"').replace("cpu: 500m", "cpu: 100m")
    body = yaml.safe_load(text)
    name = body["metadata"]["name"]
    space.access.batch.create_namespaced_job(space.namespace, body)
    wait_until(lambda: space.job(name).status.succeeded == 1, "the end of the Job", 240)
    assert_same(dataset, pyramid)


def test_a_user_without_rights_is_told_so(space: Space, dataset: Path) -> None:
    if space.access.user_kubeconfig is None:
        pytest.skip("KUBECONFIG is set: the cluster has no user without rights")
    assert dataset.exists()
    done = in_cluster(os.environ | {"KUBECONFIG": str(space.access.user_kubeconfig)}, "downsample", DATA / "set", *options(space))
    assert done.returncode == 2
    assert 'cannot create resource "jobs"' in done.stderr.splitlines()[-1]
