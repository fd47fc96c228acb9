"""Two runs on one dataset: one works, the other is told who does; leases of the dead go over, broken ones end their run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from tests.workflow.workflow_helpers import SHARDS, convert_command, data_files, kill_tree, snakemake_command, write_stack
from wkpipe.storage.lock import Holder

WAYS = ("wkpipe", "snakemake")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 150, 170))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an undisturbed run."""
    target = tmp_path_factory.mktemp("whole") / "dataset"
    subprocess.run(command("wkpipe", images, target), check=True, capture_output=True)
    return data_files(target)


def command(way: str, images: Path, target: Path) -> list[str]:
    if way == "wkpipe":
        return convert_command(images, target, *SHARDS)
    return snakemake_command(images, target, shard_shape="64,64,64")


def start(arguments: Sequence[str], place: Path) -> psutil.Popen:
    place.mkdir()
    output = (place / "output").open("wb")
    return psutil.Popen(arguments, cwd=place, stdout=output, stderr=subprocess.STDOUT)


def wait_for(condition: Callable[[], bool], process: psutil.Popen) -> None:
    while not condition():
        assert process.poll() is None, "the run has ended before it could be disturbed"
        time.sleep(0.005)


def suspend(family: list[psutil.Process]) -> None:
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.suspend()


def resume(family: list[psutil.Process]) -> None:
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.resume()


def lease(target: Path) -> Path:
    return target / ".wkpipe" / "locks" / "run.lease"


def has_shards(target: Path) -> Callable[[], bool]:
    return lambda: any(target.glob("*/1/c/*/*/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_the_second_is_told_who_works_and_since_when(first: str, second: str, images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    process = start(command(first, images, target), tmp_path / "first")
    family = [process]
    try:
        wait_for(has_shards(target), process)
        family += process.children(recursive=True)  # stopped, so that it is still at work when the second one is there
        suspend(family)
        holder = json.loads(lease(target).read_bytes())
        refused = subprocess.run(command(second, images, target), cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        resume(family)
        process.wait(120)
    assert refused.returncode == 75, refused.stderr
    lines = [line for line in refused.stderr.splitlines() if line.startswith("wkpipe:")]
    assert f"process {holder['pid']} on host {holder['host']} since {holder['since']}" in lines[-1]
    assert "Traceback" not in refused.stderr
    assert process.returncode == 0, (tmp_path / "first" / "output").read_text()
    assert data_files(target) == whole


@pytest.mark.slow
@pytest.mark.parametrize("first,second", [("wkpipe", "snakemake"), ("snakemake", "wkpipe")])
def test_the_lease_of_a_killed_run_is_taken_over(first: str, second: str, images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    process = start(command(first, images, target), tmp_path / "first")
    wait_for(has_shards(target), process)
    kill_tree(process)
    assert lease(target).exists()
    subprocess.run(command(second, images, target), cwd=tmp_path, check=True, capture_output=True)
    assert data_files(target) == whole
    assert not lease(target).exists()


def leave_foreign_lease(target: Path, age: float) -> None:
    """Leave the lease of a process on another host that was renewed so many seconds ago."""
    lease(target).parent.mkdir(parents=True)
    values = json.loads(Holder.myself().to_bytes()) | {"host": "elsewhere", "machine_id": "other"}
    lease(target).write_text(json.dumps(values))
    os.utime(lease(target), (time.time() - age,) * 2)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_lease_of_another_host_holds_until_it_is_old(way: str, images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    leave_foreign_lease(target, age=600)
    refused = subprocess.run(command(way, images, target), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 75
    assert "on host elsewhere since" in refused.stderr
    assert "--break-lock" in refused.stderr
    os.utime(lease(target), (time.time() - 1200,) * 2)
    subprocess.run(command(way, images, target), cwd=tmp_path, check=True, capture_output=True)
    assert data_files(target) == whole


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_whose_lease_is_broken_stops_with_75(way: str, images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """The first run is made to look like one of another host, stopped for a while as by a slow network, and robbed."""
    target = tmp_path / "dataset"
    process = start(command(way, images, target), tmp_path / "first")
    output = tmp_path / "first" / "output"
    try:
        wait_for(has_shards(target), process)
        family = [process, *process.children(recursive=True)]
        suspend(family)
        values = json.loads(lease(target).read_bytes()) | {"host": "elsewhere", "machine_id": "other"}
        lease(target).write_text(json.dumps(values))
        breaker = start([*command("wkpipe", images, target), "--break-lock"], tmp_path / "second")
        wait_for(lambda: json.loads(lease(target).read_bytes())["pid"] == breaker.pid if lease(target).exists() else False, breaker)
        resume(family)
        assert process.wait(120) == 75, output.read_text()
        assert breaker.wait(120) == 0, (tmp_path / "second" / "output").read_text()
    finally:
        for left in (process, breaker):
            if left.poll() is None:
                left.send_signal(signal.SIGKILL)
    said = [line for line in output.read_text().splitlines() if line.startswith("wkpipe:") and "another run has taken over" in line]
    assert said, output.read_text()
    assert "Traceback" not in output.read_text()
    assert data_files(target) == whole
    assert list(target.rglob("*.tmp")) == []
