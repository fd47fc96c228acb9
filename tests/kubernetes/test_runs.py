"""Whole runs on a real Kubernetes: the same bytes as on one host, few calls, and clear refusals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import MANY_JOBS, assert_same
from tests.kubernetes.kubernetes_helpers import SUBMITTER, Space
from tests.kubernetes.run_helpers import calls, events, let_the_pods_in, on_kubernetes, run_here
from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, VOXEL_SIZE, run
from wkpipe import __version__

pytestmark = pytest.mark.timeout(420)


def _assert_few_calls(dataset: Path) -> None:
    """Beside one list and one watch of each kind, a job that succeeds costs one call."""
    jobs, counted = sum(event["event"] == "submitted" for event in events(dataset)), calls(dataset)
    assert counted.pop("create job") == jobs
    assert counted == {"list jobs": 1, "list pods": 1, "watch jobs": 1, "watch pods": 1}


def test_convert_and_downsample_make_the_same_bytes(space: Space, shared: Path, stack: Path, expected: Path) -> None:
    images, target = shared / "stack", shared / "dataset"
    shutil.copytree(stack, images)
    done = run_here(
        space, "convert", images, target, "--voxel-size", VOXEL_SIZE, *SHARDS, "--no-downsample", "--jobs", "3",
        *on_kubernetes(space, shared), **MANY_JOBS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _assert_few_calls(target)
    done = run_here(space, "downsample", target, "--jobs", "3", *on_kubernetes(space, shared, mem="2G"), **MANY_JOBS)
    assert done.returncode == 0, done.stderr
    _assert_few_calls(target)
    assert_same(target, expected)
    assert {path.stat().st_uid for path in target.glob("*/2-2-*/c/**/*") if path.is_file()} == {SUBMITTER}
    assert "median time" in done.stderr


def test_snakemake_with_the_profile(space: Space, shared: Path, stack: Path, expected: Path) -> None:
    images, target = shared / "stack", shared / "dataset"
    shutil.copytree(stack, images)
    (shared / "config.yaml").write_text(f'source: {images}\ntarget: {target}\nvoxel_size: "11,11,25"\nshard_shape: "64,64,64"\n')
    command = [
        *("bash", "-c", 'umask 0; exec "$@"', "snakemake", sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles" / "kubernetes"), "--configfile", str(shared / "config.yaml")),
        *("--wkpipe-kubernetes-job-resources", on_kubernetes(space, shared)[-1]),
    ]
    done = subprocess.run(
        command, cwd=shared, env=space.access.environment | MANY_JOBS, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_same(target, expected)


def test_less_memory_than_a_thread_needs_is_raised(space: Space, shared: Path, stack: Path, expected: Path) -> None:
    target = shared / "dataset"
    done = run("convert", stack, target, "--voxel-size", VOXEL_SIZE, *SHARDS, "--no-downsample")
    assert done.returncode == 0, done.stderr
    let_the_pods_in(target)
    options = on_kubernetes(space, shared, mem="10M")
    done = run_here(space, "downsample", target, "--dry-run", *options)
    assert "more than the 10 MiB that --job-resources asks for, so they request what they need" in done.stderr
    done = run_here(space, "downsample", target, *options)
    assert done.returncode == 0, done.stderr
    assert all(event["memory_mib"] > 60 for event in events(target) if event["event"] == "submitted")
    assert_same(target, expected)


@pytest.mark.parametrize(
    "more, said",
    [
        ({"volume": "pvc:shared:/elsewhere"}, "no volume holds"),
        ({"namespace": "nowhere"}, 'namespaces "nowhere" not found'),
        ({"image": "Not/An/Image:1"}, "is not the name of an image"),
        ({"env": {"WKPIPE_NOTHING": "1"}}, "set by wkpipe itself"),
    ],
)
def test_what_cannot_run_is_one_line(space: Space, shared: Path, stack: Path, more: dict[str, str], said: str) -> None:
    images, target = shared / "stack", shared / "dataset"
    shutil.copytree(stack, images)
    done = run_here(space, "convert", images, target, "--voxel-size", VOXEL_SIZE, *SHARDS, *on_kubernetes(space, shared, **more))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    jobs = space.access.batch.list_namespaced_job(space.namespace).items
    assert [job for job in jobs if job.metadata.deletion_timestamp is None] == []


def test_another_version_in_the_image_is_one_line(space: Space, shared: Path, stack: Path, tmp_path: Path) -> None:
    """As if this command were newer than the image: in the pods, its version is another one."""
    images, target = shared / "stack", shared / "dataset"
    shutil.copytree(stack, images)
    profile = Path(shutil.copytree(REPOSITORY / "profiles" / "kubernetes", tmp_path / "profile"))
    with (profile / "config.yaml").open("a") as file:
        file.write('\nwkpipe-kubernetes-setup: "export WKPIPE_VERSION=99.0"\n')
    options = [*on_kubernetes(space, shared), "--profile", profile]
    done = run_here(space, "convert", images, target, "--voxel-size", VOXEL_SIZE, *SHARDS, *options)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert f"the job's environment has wkpipe {__version__}, and wkpipe 99.0 has submitted it: use the same version" in last
