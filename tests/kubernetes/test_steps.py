"""Repairs run as jobs too, uploads run where the command runs, and all of it works from an installed wheel in an empty directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster_helpers import LAYER, MANY_JOBS, assert_same, damage, profile_with
from tests.kubernetes.ground import ON_KUBERNETES, Ground
from tests.kubernetes.run_helpers import events, let_the_pods_in
from tests.server.wk_server.server import WkServer
from tests.server.workflow.watched import TOKEN, Server, no_token_in
from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, VOXEL_SIZE, WKPIPE, data_files, identities

pytestmark = pytest.mark.timeout(600)


def test_verify_repairs_by_jobs(ground: Ground, pyramid: Path, tmp_path: Path) -> None:
    dataset = ground.copied(pyramid)
    before = identities(dataset)
    shards = [sorted(path for path in (dataset / LAYER / mag).rglob("c/*/*/*/*") if path.is_file()) for mag in ("2-2-1", "4-4-2")]
    lost, damaged = shards[0][1], shards[1][0]
    lost.unlink()
    damage(damaged)
    command = [*WKPIPE, "verify", str(dataset), *ON_KUBERNETES, *ground.asked(), "--repair", "--jobs", "2"]
    with ground.started(command, tmp_path / "out", **MANY_JOBS) as run:
        output = run.ends_with(0)
    assert output.count("found: ") == 2
    assert_same(dataset, pyramid)
    after = identities(dataset)
    assert {dataset / name for name in before if before[name] != after[name]} == {lost, damaged}
    assert ground.jobs(dataset)
    assert {event["event"] for event in events(dataset)} == {"submitted", "done"}
    assert not ground.live(dataset)


def test_remote_convert_uploads_from_here(ground: Ground, stack: Path, expected: Path, tmp_path: Path) -> None:
    """Pods make the dataset, the command itself sends it: no pod sees the token, nor anything else of the submitter's environment."""
    seen, work, images = (ground.directory / name for name in ("seen", "work", "images"))
    shutil.copytree(stack, images)
    for directory in (seen, work):
        directory.mkdir()
    let_the_pods_in(ground.directory)
    profile = profile_with("kubernetes", tmp_path / "profile", {"wkpipe-kubernetes-setup": f"env > {seen}/$WKPIPE_JOB_ID"})
    command = [
        *(*WKPIPE, "remote-convert", str(images), "--voxel-size", VOXEL_SIZE, *SHARDS, "--work-dir", str(work), "--jobs", "3"),
        *(*ON_KUBERNETES, *ground.asked(), *profile),
    ]
    arrays = {name: found for name, found in data_files(expected).items() if name.count("/") > 1}
    with WkServer(tmp_path / "server", TOKEN) as wk:
        server = Server(wk)
        command += ["--webknossos-url", server.url]
        with ground.started(command, tmp_path / "out", WK_TOKEN=TOKEN, PROBE="stays-here", **MANY_JOBS) as run:
            output = run.ends_with(0)
        assert server.trees() == [arrays]
        assert f"uploaded: {server.page}" in output
        wk.check()
    environments = {path.name: path.read_text() for path in seen.iterdir()}
    assert len(environments) >= 3
    assert not any("PROBE" in text for text in environments.values())
    no_token_in(seen, output)
    assert not any(work.iterdir())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository; its build needs a network, which the tests here do not have."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", directory, REPOSITORY], check=True, capture_output=True)
    return next(directory.glob("*.whl"))


def test_snakemake_from_a_wheel_in_an_empty_directory(ground: Ground, wheel: Path, finest: Path, pyramid: Path, tmp_path: Path) -> None:
    dataset = ground.copied(finest)
    installed, empty = ground.directory / "installed", ground.directory / "empty"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, wheel]
    subprocess.run(install, check=True, capture_output=True)
    empty.mkdir()
    let_the_pods_in(ground.directory)
    workflow = _output(installed, "-m", "wkpipe", "snakefile")
    assert Path(workflow).is_relative_to(installed)
    settings = json.dumps(json.loads(ground.asked()[-1]))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", workflow, "--profile", str(Path(workflow).parent / "profiles" / "kubernetes")),
        *("--jobs", "3", "--wkpipe-kubernetes-job-resources", settings),
        *("--config", f"target={dataset}", "compression_level=19"),
    ]
    with ground.started(command, tmp_path / "out", empty, **MANY_JOBS, PYTHONPATH=str(installed)) as run:
        run.ends_with(0)
    assert str(installed) in _output(installed, "-c", "import wkpipe; print(wkpipe.__file__)")
    assert {path.name for path in empty.iterdir()} <= {".snakemake"}
    ground.assert_finished(dataset, pyramid)


def _output(installed: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True).stdout.strip()
