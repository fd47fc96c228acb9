"""Runs on unusual file systems, and on one that is really full."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.workflow.workflow_helpers import convert_command, data_files, identities, kill_tree, proven, run, snakemake_command, write_stack

SHARDS = ("--shard-shape", "64,64,64")


def mounted(place: Path, *arguments: str) -> Path:
    """Mount a file system on a new directory, or skip the test with the reason."""
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip(f"only root may mount: mount {' '.join(arguments)}")
    result = subprocess.run(["mount", *arguments, str(place)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"mount {' '.join(arguments)}: {result.stderr.strip()}")
    return place


@pytest.fixture
def unmount(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for mount in reversed([line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]):
        if Path(mount).is_relative_to(tmp_path):
            subprocess.run(["umount", "--lazy", mount], check=True)


def small_disk(kind: str, tmp_path: Path, megabytes: int) -> Path:
    """Mount a small file system of a kind."""
    place = tmp_path / "disk"
    if kind == "tmpfs":
        return mounted(place, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs")
    if shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"mkfs.{kind} is not installed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    return mounted(place, "-t", kind, "-o", "loop", str(image))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 150, 170))


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("whole") / "dataset"
    subprocess.run(convert_command(images, target, *SHARDS), check=True, capture_output=True)
    return data_files(target)


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("way", ["wkpipe", "snakemake"])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("room", [1500, 150])
def test_a_full_disk(kind: str, way: str, room: int, images: Path, whole: dict[str, str], unmount: Path) -> None:
    """`room` kB are left: enough for some shards, or for little more than the plan."""
    disk = small_disk(kind, unmount, 32)
    target, ballast = disk / "dataset", disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - (room << 10))
    command = convert_command(images, target, *SHARDS, "--ignore-disk-space")
    if way == "snakemake":
        command = snakemake_command(images, target, shard_shape="64,64,64", ignore_disk_space="true")
    full = subprocess.run(command, cwd=unmount, capture_output=True, text=True, check=False)
    assert full.returncode == 3, full.stderr
    said = [line for line in full.stderr.splitlines() if line.startswith("wkpipe: ") and "disk" in line]
    assert len(said) == 1 or way == "snakemake", full.stderr  # snakemake shows the job's log too
    assert "free some space" in said[-1]
    assert str(disk) in said[-1]
    assert "Traceback" not in full.stderr
    finished = proven(target)
    ballast.unlink()
    subprocess.run(command, cwd=unmount, check=True, capture_output=True)
    assert data_files(target) == whole
    assert finished.items() <= identities(target).items()
    assert list(target.rglob("*.tmp")) == []


def weak_file_system(kind: str, tmp_path: Path) -> Path:
    """Mount a directory as a file system that promises less than a local disk."""
    behind = tmp_path / "behind"
    behind.mkdir()
    if kind == "overlay":
        (tmp_path / "upper").mkdir()
        (tmp_path / "work").mkdir()
        return mounted(
            tmp_path / "disk", "-t", "overlay", "-o", f"lowerdir={behind},upperdir={tmp_path}/upper,workdir={tmp_path}/work", "overlay"
        )
    if kind == "fuse":
        if shutil.which("bindfs") is None:
            pytest.skip("bindfs is not installed: no FUSE file system to try")
        (tmp_path / "disk").mkdir()
        subprocess.run(["bindfs", str(behind), str(tmp_path / "disk")], check=True)
        return tmp_path / "disk"
    if "\tnfs4\n" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no NFS client: nothing can be tried on NFS")
    if shutil.which("exportfs") is None:
        pytest.skip("there is no NFS server here (nfs-kernel-server is not installed)")
    subprocess.run(["exportfs", "-o", "rw,sync,no_root_squash,insecure,fsid=77", f"127.0.0.1:{behind}"], check=True)
    return mounted(tmp_path / "disk", "-t", "nfs4", f"127.0.0.1:{behind}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["overlay", "fuse", "nfs"])
def test_killed_on_a_weak_file_system(kind: str, images: Path, whole: dict[str, str], unmount: Path) -> None:
    target = weak_file_system(kind, unmount) / "dataset"
    command = convert_command(images, target, *SHARDS)
    finished: dict[str, tuple[int, int]] = {}
    for shards in (1, 12):
        process = psutil.Popen(command, cwd=unmount, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and sum(1 for _ in target.glob("*/*/c/*/*/*/*")) < shards:
            time.sleep(0.01)
        kill_tree(process)
        finished = proven(target)
    second = run("convert", images, target, "--voxel-size", "11,11,25", *SHARDS)
    assert second.returncode == 0, second.stderr
    assert data_files(target) == whole
    assert {name: when for name, (_, when) in finished.items()}.items() <= {
        name: when for name, (_, when) in identities(target).items()
    }.items()
    assert list(target.rglob("*.tmp")) == []
