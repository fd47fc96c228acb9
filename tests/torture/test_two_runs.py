"""Two runs on one dataset: one works, the other says who does; leases of dead runs are taken over, broken ones end their run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from tests.users import ADA, BEN, LAB, Child, User, act, mounted, work
from tests.workflow.workflow_helpers import SHARDS, Held, convert_command, data_files, kill_tree, send, snakemake_command, write_stack
from wkpipe.storage import disk
from wkpipe.storage.holder import Holder

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


def start(arguments: Sequence[str], place: Path, held: Held) -> psutil.Popen:
    """Start a command whose jobs wait in the middle of their work until they are let go."""
    place.mkdir()
    with (place / "output").open("wb") as output:
        return psutil.Popen(arguments, cwd=place, env=os.environ | held.environment, stdout=output, stderr=subprocess.STDOUT)


def wait_for(condition: Callable[[], bool], process: psutil.Popen) -> None:
    while not condition():
        assert process.poll() is None, "the run has ended before it could be disturbed"
        time.sleep(0.005)


def lease(target: Path) -> Path:
    return target / ".wkpipe" / "locks" / "run.lease"


def holder_of(target: Path) -> int | None:
    """Return the process that has the lease, None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads(lease(target).read_bytes())["pid"])
    return None


def has_shards(target: Path) -> Callable[[], bool]:
    return lambda: any(target.glob("*/1/c/*/*/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_the_second_is_told_who_works_and_since_when(first: str, second: str, images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    target, held = tmp_path / "dataset", Held.after(1, tmp_path / "held")
    process = start(command(first, images, target), tmp_path / "first", held)
    try:
        wait_for(has_shards(target), process)
        holder = json.loads(lease(target).read_bytes())
        refused = subprocess.run(command(second, images, target), cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        held.let_go()
        process.wait(500)
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
    process = start(command(first, images, target), tmp_path / "first", Held.after(1, tmp_path / "held"))
    wait_for(has_shards(target), process)
    kill_tree(process)
    assert lease(target).exists()
    subprocess.run(command(second, images, target), cwd=tmp_path, check=True, capture_output=True)
    assert data_files(target) == whole
    assert not lease(target).exists()


def leave_foreign_lease(target: Path, age: float) -> None:
    """Leave the lease of a process on another host that was renewed `age` seconds ago."""
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
    """The first run is made to look like one on another host, stopped as by a slow network, and loses its lease."""
    target, held = tmp_path / "dataset", Held.after(1, tmp_path / "held")
    output = tmp_path / "first" / "output"
    started = [process := start(command(way, images, target), tmp_path / "first", held)]
    try:
        wait_for(has_shards(target), process)
        family = [process, *process.children(recursive=True)]
        send(signal.SIGSTOP, family)
        values = json.loads(lease(target).read_bytes()) | {"host": "elsewhere", "machine_id": "other"}
        lease(target).write_text(json.dumps(values))
        started.append(breaker := start([*command("wkpipe", images, target), "--break-lock"], tmp_path / "second", held))
        wait_for(lambda: holder_of(target) == breaker.pid, breaker)
        held.let_go()
        send(signal.SIGCONT, family)
        assert process.wait(500) == 75, output.read_text()
        assert breaker.wait(500) == 0, (tmp_path / "second" / "output").read_text()
    finally:
        for left in started:
            kill_tree(left)
    said = [line for line in output.read_text().splitlines() if line.startswith("wkpipe:") and "another run has taken over" in line]
    assert said, output.read_text()
    assert "Traceback" not in output.read_text()
    assert data_files(target) == whole
    assert list(target.rglob("*.tmp")) == []


# -- 30 pairs that start together ------------------------------------------------------------------------------------
#
# Both share a dataset, but not always a state directory, a user, or the path to the dataset. The run that gets to its first
# task waits there until the other has ended. So exactly one may work, however busy the machine is.


@dataclass(frozen=True)
class Way:
    """How one run of a pair uses the dataset: `state` and `mount` are names of directories, `user` is the user of the process."""

    state: str = ""
    mount: str = ""
    user: User | None = None


WAYS_OF_PAIRS = {
    "states": (Way("one"), Way("two")),
    "one inside": (Way(), Way("two")),
    "same state": (Way("one"), Way("one")),
    "mounts": (Way(mount="other"), Way()),
    "states and mounts": (Way("one", "other"), Way("two")),
    "same state by other mounts": (Way("one", "other"), Way("one")),
    "users": (Way(user=ADA.with_umask(0o002)), Way(user=BEN.with_umask(0o002))),
    "users and states": (Way("one", user=ADA.with_umask(0o002)), Way("two", user=BEN.with_umask(0o007))),
    "users, states and mounts": (Way("one", "other", ADA.with_umask(0o002)), Way("two", user=BEN.with_umask(0o002))),
    "root and a user": (Way("one", user=User(0, LAB, 0o002)), Way(user=BEN.with_umask(0o002))),
}
NEW, COARSER, AGAIN = "a target that does not exist", "coarser mags", "mags again"
FORBIDDEN = ("overwrite", "remove", "delete", "not empty", "Traceback", "defect")
PAIR = {"voxel_size": "1,1,1", "shard_shape": 32, "chunk_shape": 16}


@pytest.fixture(scope="module")
def small() -> Iterator[tuple[Path, dict[str, dict[str, str]]]]:
    """Images that all users reach, and the result of each kind of work, which also loads all modules."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        images, made = Path(name) / "em", {}
        images.mkdir()
        for z, plane in enumerate(np.random.default_rng(0).integers(0, 255, (40, 60, 70), "u1")):
            tifffile.imwrite(images / f"{z:02}.tif", plane)
        for kind in (NEW, COARSER, AGAIN):
            target = Path(name) / f"ds-{kind}"
            prepare(kind, images, target)
            work(**values_of(kind, images, target))
            made[kind] = data_files(target)
        yield images, made


def prepare(kind: str, images: Path, target: Path) -> None:
    if kind != NEW:
        work(source=images, target=target, **PAIR, downsample=kind == AGAIN)


def values_of(kind: str, images: Path, target: Path) -> dict[str, object]:
    if kind == NEW:
        return {"source": images, "target": target, **PAIR}
    return {"target": target, "interpolation_mode": "max", "overwrite_existing": kind == AGAIN, "shard_shape": 32, "chunk_shape": 16}


def shared_directory(name: str, *, is_root: bool) -> Path:
    lab = Path(name) / "lab"
    lab.mkdir()
    if is_root:
        os.chown(lab, 0, LAB)
    lab.chmod(0o2775)
    return lab


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("kind", [NEW, COARSER, AGAIN])
@pytest.mark.parametrize("ways", WAYS_OF_PAIRS)
def test_of_two_that_start_together_one_wins_and_the_other_comes_back(
    ways: str, kind: str, small: tuple[Path, dict[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_root = os.geteuid() == 0
    pair = WAYS_OF_PAIRS[ways]
    if any(way.user or way.mount for way in pair) and not is_root:
        pytest.skip("only root can act as other users and mount")
    for name in ("sync", "sync_closed", "sync_directory", "sync_file_system"):
        monkeypatch.setattr(disk, name, lambda *_: None)
    images, made = small
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        Path(name).chmod(0o755)
        lab = shared_directory(name, is_root=is_root)
        places = {"": lab}
        if any(way.mount for way in pair):
            places["other"] = Path(name) / "other"
            places["other"].mkdir()
            stack.enter_context(mounted("--bind", lab, places["other"]))
        before = act(lambda: prepare(kind, images, lab / "ds"), ADA.with_umask(0o002) if is_root else None)
        assert before.code == 0, before
        start_read, start_write = os.pipe()  # closed: go
        end_read, end_write = os.pipe()  # closed: the loser has ended

        def run_one(way: Way) -> None:
            os.close(start_write)
            os.close(end_write)
            os.read(start_read, 1)
            state = {"state_dir": lab / way.state} if way.state else {}

            def wait_for_the_other(_: object) -> None:
                os.read(end_read, 1)

            work(wait_for_the_other, **values_of(kind, images, places[way.mount] / "ds"), **state)

        children = [Child(lambda way=way: run_one(way), way.user) for way in pair]  # type: ignore[misc]
        os.close(start_write)
        loser = first_to_end(children)
        os.close(end_write)
        outcomes = [loser.outcome(), *(child.outcome() for child in children if child is not loser)]
        for descriptor in (start_read, end_read):
            os.close(descriptor)
        assert [outcome.code for outcome in outcomes] == [75, 0], outcomes
        assert not [word for word in FORBIDDEN if word in outcomes[0].said], outcomes
        assert len([line for line in outcomes[0].said.splitlines() if "state of it" not in line]) == 1, outcomes
        assert data_files(lab / "ds") == made[kind]
        assert not lease(lab / "ds").exists()


def first_to_end(children: Sequence[Child]) -> Child:
    """Wait until one of the children has ended; its outcome stays available."""
    while True:
        for child in children:
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return child
        time.sleep(0.005)
