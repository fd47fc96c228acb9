"""Upload as a step of the workflow, with plain `snakemake`: killed and resumed, done once, without the token in any job."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.server.workflow.watched import (
    TOKEN,
    Command,
    Server,
    in_phase,
    no_token_in,
    until,
)
from tests.workflow.workflow_helpers import REPOSITORY, kill_tree, run
from wkpipe.errors import ServerError

pytestmark = pytest.mark.sampled(every=6)


def snakemake(stack: Path, work: Path, url: str, *more: str, profile: str = "multiprocessing", **config: str) -> Command:
    """Return the command of plain Snakemake with a config file; `config` are more of its keys."""
    work.mkdir(exist_ok=True)
    values = {"source": stack, "target": work / "stack", "voxel_size": "[11, 11, 25]", "shard_shape": "[64, 64, 64]", "webknossos_url": url}
    (work / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in (values | config).items()))
    files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(REPOSITORY / "profiles" / profile)]
    return Command([sys.executable, "-m", "snakemake", *files, "--configfile", str(work / "config.yaml"), *more], work, is_snakemake=True)


@pytest.mark.parametrize("profile", ["multiprocessing", "sequential"])
def test_snakemake_uploads_and_does_it_once(stack: Path, local: dict[str, str], tmp_path: Path, server: Server, profile: str) -> None:
    command = snakemake(stack, tmp_path / "work", server.url, profile=profile)
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]
    assert f"uploaded: {server.page}" in errors
    assert all(any(f" {rule}" in job or f"/{rule}" in job for job in command.jobs) for rule in ("upload", "00000-em-1"))
    (marker,) = (tmp_path / "work" / "stack" / ".wkpipe" / "runs").glob("*/upload/upload.done")
    assert json.loads(marker.read_text())["url"] == server.page
    assert server.page.endswith(json.loads(marker.read_text())["dataset_id"])
    no_token_in(tmp_path / "work", out, errors)
    code, out, errors = command.run()
    assert code == 0, errors
    assert "nothing to do" in errors
    assert f"uploaded already: {server.page}" in errors
    assert len(server.trees()) == 1
    # `wkpipe upload` knows of it too.
    result = run("upload", tmp_path / "work" / "stack", "--webknossos-url", server.url, "--dataset-name", "stack", WK_TOKEN=TOKEN)
    assert "--again" in result.stdout, result.stderr
    assert result.stdout.rstrip().endswith(f": {server.page}"), result.stdout


@pytest.mark.parametrize("phase", ["convert", "upload"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_any_phase_snakemake_goes_on(
    stack: Path, local: dict[str, str], tmp_path: Path, server: Server, phase: str, number: signal.Signals
) -> None:
    command = snakemake(stack, tmp_path / "work", server.url)
    process = command.start()
    until(process, in_phase(phase, tmp_path / "work", server))
    if number == signal.SIGKILL:
        kill_tree(process)
    else:
        process.send_signal(number)
    no_token_in(tmp_path / "work", *process.communicate(timeout=500))
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]
    no_token_in(tmp_path / "work", out, errors)


def test_an_existing_dataset_is_uploaded_alone(stack: Path, local: dict[str, str], tmp_path: Path, server: Server) -> None:
    target = tmp_path / "work" / "stack"
    assert run("convert", stack, target, "--voxel-size", "11,11,25", "--shard-shape", "64,64,64").returncode == 0
    command = snakemake(stack, tmp_path / "work", server.url, source="", downsample="false", upload_layers="[em]", dataset_name="part")
    dry = replace(command, words=[*command.words, "-n"])
    code, out, errors = dry.run()
    assert code == 0, errors
    assert f"upload: to {server.url} as part" in errors
    assert "convert" not in out.split("Job stats:")[1].split("total")[0]
    assert not server.trees()
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [{name: found for name, found in local.items() if name.startswith("em/")}]


def test_changed_images_are_uploaded_as_another_dataset(stack: Path, tmp_path: Path, server: Server) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for z in range(4):
        (images / f"{z}.tif").write_bytes((stack / "em" / f"{z}.tif").read_bytes())
    command = snakemake(images, tmp_path / "work", server.url)
    assert command.run()[0] == 0
    (images / "2.tif").write_bytes((stack / "em" / "9.tif").read_bytes())
    code, _, errors = command.run()
    assert code == 0, errors
    first, second = server.trees()
    assert first != second
    assert first.keys() == second.keys()


def test_without_a_token_nothing_is_begun(stack: Path, tmp_path: Path, server: Server) -> None:
    command = snakemake(stack, tmp_path / "work", server.url)
    command.environment["WK_TOKEN"] = ""
    code, _, errors = command.run()
    assert code == 2, errors
    assert "a token is needed" in errors
    assert not (tmp_path / "work" / "stack").exists()


def test_a_wrong_token_is_reported_before_anything_is_made(stack: Path, tmp_path: Path, server: Server) -> None:
    command = snakemake(stack, tmp_path / "work", server.url)
    command.environment["WK_TOKEN"] = "another-secret"
    code, out, errors = command.run()
    assert code == ServerError.exit_code, errors
    assert "another-secret" not in errors + out
    assert not (tmp_path / "work" / "stack").exists()


def test_a_file_with_the_token_does_for_snakemake(stack: Path, local: dict[str, str], tmp_path: Path, server: Server) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    command = snakemake(stack, tmp_path / "work", server.url, token_file=str(tmp_path / "token"))
    command.environment["WK_TOKEN"] = "that of another server"
    code, _, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]


def test_a_name_that_no_server_takes_is_refused_by_planning(stack: Path, tmp_path: Path, server: Server) -> None:
    command = snakemake(stack, tmp_path / "work", server.url, "-n", dataset_name="'my stack'")
    code, _, errors = command.run()
    assert code == 3, errors
    assert "my stack" in errors
    assert not (tmp_path / "work" / "stack").exists()
