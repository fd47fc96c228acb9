"""Barriers: one wait for all syncs of a step, errors with names, and directories whose names are durable."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wkpipe.errors import NotWritable
from wkpipe.storage import barrier as barrier_module
from wkpipe.storage import disk
from wkpipe.storage.barrier import MOST_SYNCED_ALONE, Barrier, Ways
from wkpipe.storage.group import PendingGroup
from wkpipe.storage.reasons import explained
from wkpipe.storage.scratch import Scratch


def refusing(which: str, real: Callable[..., None]) -> Callable[..., None]:
    """Return a sync that fails for one name, as a disk does whose block is broken."""

    def sync(what: int | Path, final: Path) -> None:
        if final.name == which:
            with explained(final):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(what, final)

    return sync


@pytest.mark.parametrize("count", [1, 5, MOST_SYNCED_ALONE + 1])
def test_the_file_that_fails_is_named(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = Barrier()
    for number in range(count):
        (tmp_path / f"{number}.tmp").write_bytes(b"1")
        barrier.add_closed(tmp_path / f"{number}.tmp", tmp_path / f"{number}")

    def failing(path: Path) -> None:
        with explained(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "sync_closed", refusing("0", disk.sync_closed))
    monkeypatch.setattr(disk, "sync_file_system", failing)  # a sync of the file system does not say which file failed
    for number in range(1):
        barrier.add_closed(tmp_path / f"{number}.tmp", tmp_path / "0")
    with pytest.raises(NotWritable, match=rf"{tmp_path}/0: .*error"):
        barrier.wait()
    barrier.wait()  # nothing is left of it


def test_syncs_are_made_side_by_side_and_no_thread_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of four syncs waits for the others: one after the other they would wait for ever."""
    together = threading.Barrier(4, timeout=20)
    monkeypatch.setattr(os, "fsync", lambda _: together.wait())
    barrier, before = Barrier(), threading.active_count()
    for number in range(3):
        (tmp_path / f"{number}").write_bytes(b"1")
        barrier.add_closed(tmp_path / f"{number}", tmp_path / f"{number}")
    for _ in range(2):
        barrier.add_directory(tmp_path)
    barrier.wait()
    assert threading.active_count() == before, "the process may fork now"


@pytest.mark.parametrize("count", [1, MOST_SYNCED_ALONE + 1])
def test_files_that_another_run_has_removed_are_one_line(tmp_path: Path, count: int) -> None:
    """A run that has taken over removes the temporary files of the older one."""
    group = PendingGroup(Scratch(tmp_path / "tmp" / "1", root=tmp_path))
    for number in range(count):
        group.add(tmp_path / "data" / f"{number}", b"1")
    shutil.rmtree(tmp_path / "tmp")
    with pytest.raises(NotWritable, match=str(tmp_path)):
        group.commit()
    barrier = Barrier()
    for number in range(count):
        barrier.add_closed(tmp_path / "tmp" / f"{number}", tmp_path / f"{number}")
    with pytest.raises(NotWritable, match=str(tmp_path)):
        barrier.wait()


@pytest.mark.parametrize("most", [0, 1])
def test_without_further_threads_each_is_synced_all_the_same(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) >= most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(disk, "sync_closed", lambda _, final: synced.add(final.name))
    barrier = Barrier()
    for number in range(5):
        barrier.add_closed(tmp_path / "tmp", tmp_path / f"{number}")
    barrier.wait()
    assert synced == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize("release, is_one", [("6.1.0-13-amd64", True), ("5.8.0", True), ("4.18.0-477.el8.x86_64", False), ("odd", False)])
def test_many_files_share_a_sync_if_the_kernel_reports_their_errors(
    tmp_path: Path, release: str, is_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(barrier_module.os, "uname", lambda: type("Uname", (), {"release": release}))
    monkeypatch.setattr(disk, "sync_closed", lambda *_: calls.append("file"))
    monkeypatch.setattr(disk, "sync_file_system", lambda _: calls.append("all"))
    barrier_module._reports_all_errors.cache_clear()
    barrier = Barrier()
    for number in range(MOST_SYNCED_ALONE + 1):
        barrier.add_closed(tmp_path / f"{number}", tmp_path / f"{number}")
    barrier.wait()
    barrier_module._reports_all_errors.cache_clear()
    assert calls == (["all"] if is_one else ["file"] * (MOST_SYNCED_ALONE + 1))


def test_directories_of_other_processes_are_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another job may have made a directory just now: a record must not rely on its sync."""
    synced: list[str] = []
    monkeypatch.setattr(disk, "sync_directory", lambda path: synced.append(path.relative_to(tmp_path).as_posix()))
    (tmp_path / "mag" / "c").mkdir(parents=True)
    ways, barrier = Ways(), Barrier()

    def made(directory: Path, root: Path | None = tmp_path) -> list[str]:
        synced.clear()
        ways.make(directory, root, barrier)
        barrier.wait()
        return sorted(synced)

    assert made(tmp_path / "mag" / "c" / "0") == [".", "mag", "mag/c"]
    assert made(tmp_path / "mag" / "c" / "0") == [".", "mag", "mag/c"], "nobody said that the wait has ended well"
    ways.last(tmp_path / "mag" / "c" / "0")
    assert made(tmp_path / "mag" / "c" / "0") == []
    assert made(tmp_path / "mag" / "c" / "1") == ["mag/c"]
    (tmp_path / "mag" / "c" / "0").rmdir()
    assert made(tmp_path / "mag" / "c" / "0") == ["mag/c"], "it was made again"
    assert made(tmp_path) == []
    assert made(tmp_path / "mag" / "d" / "0", root=None) == ["mag", "mag/d"]
