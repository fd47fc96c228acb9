"""The metadata lock: exclusion, waiting, take-over from dead holders, but never from living ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wkpipe.errors import NotWritable, TryAgain
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage.holder import Holder
from wkpipe.storage.local import Local
from wkpipe.storage.lock import EXPIRY_SECONDS, LOCK_FILE_NAME, MetadataLock
from wkpipe.storage.process import ONLY_ONE_VARIABLE, this_system
from wkpipe.stored.locations import Locations

fork = multiprocessing.get_context("fork")


def dead_process() -> int:
    """Return the id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def leave_lock(directory: Path, **changes: Any) -> Holder:
    """Put another holder's lock in place."""
    directory.mkdir(exist_ok=True)
    holder = replace(Holder.myself(), **changes)
    (directory / LOCK_FILE_NAME).write_bytes(holder.to_bytes())
    return holder


def test_is_a_file_that_names_the_holder_and_is_gone_afterwards(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "locks"
    with MetadataLock(Local(directory)) as lock:
        content = json.loads(lock.path.read_bytes())
        assert content["pid"] == os.getpid()
        assert set(content) >= {"host", "boot_id", "pid", "start_ticks", "since"}
        assert [path.name for path in directory.iterdir()] == [LOCK_FILE_NAME]
    assert list(directory.iterdir()) == []


def test_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), MetadataLock(Local(tmp_path)):
        raise KeyError
    with MetadataLock(Local(tmp_path), timeout=0):
        pass


def test_gives_up_with_the_holder_and_since_when(tmp_path: Path) -> None:
    with MetadataLock(Local(tmp_path)) as held:
        since = json.loads(held.path.read_bytes())["since"]
        began = time.monotonic()
        with pytest.raises(TryAgain) as refused, MetadataLock(Local(tmp_path), timeout=0.2):
            pass
        assert time.monotonic() - began >= 0.2
        message = str(refused.value)
        assert f"process {os.getpid()}" in message
        assert since in message
        assert "\n" not in message
        assert held.path.exists()


def test_waits_until_the_holder_is_done(tmp_path: Path) -> None:
    order = []
    taken = threading.Event()

    def hold() -> None:
        with MetadataLock(Local(tmp_path)):
            taken.set()
            time.sleep(0.15)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    with MetadataLock(Local(tmp_path)):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def hold_forever(directory: Path) -> None:
    with MetadataLock(Local(directory)):
        time.sleep(60)


def test_takes_over_from_a_killed_holder_even_before_it_is_reaped(tmp_path: Path) -> None:
    child = fork.Process(target=hold_forever, args=(tmp_path,))
    child.start()
    while not (tmp_path / LOCK_FILE_NAME).exists():
        time.sleep(0.01)
    with pytest.raises(TryAgain), MetadataLock(Local(tmp_path), timeout=0):
        pass
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    with MetadataLock(Local(tmp_path), timeout=60) as lock:
        assert json.loads(lock.path.read_bytes())["pid"] == os.getpid()
    child.join()
    assert [path for path in tmp_path.iterdir() if path.suffix != ".tmp"] == []


@pytest.mark.parametrize("changes", [{"boot_id": "an earlier one"}, {"start_ticks": 1}, {"pid": 2**30}], ids=str)
def test_takes_over_what_can_not_be_alive(tmp_path: Path, changes: dict[str, Any]) -> None:
    if "boot_id" not in changes and not Path("/proc/self/stat").exists():
        pytest.skip("the system does not report when a process started")
    leave_lock(tmp_path, **changes)
    with MetadataLock(Local(tmp_path), timeout=0):
        pass


@pytest.mark.parametrize("changes", [{}, {"host": "another"}, {"machine_id": "another"}, {"pid_namespace": "another"}], ids=str)
def test_leaves_the_lock_of_whoever_may_be_alive(tmp_path: Path, changes: dict[str, Any]) -> None:
    pid = dead_process() if changes else os.getpid()
    leave_lock(tmp_path, pid=pid, **changes)
    with pytest.raises(TryAgain, match="remove that file if"), MetadataLock(Local(tmp_path), timeout=0.02):
        pass


@pytest.mark.parametrize("changes", [{"pid_namespace": "another"}, {"boot_id": "another"}], ids=str)
def test_the_next_main_process_takes_over_from_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """A cluster runs one process of that name at a time; those of another name may be alive."""
    monkeypatch.setenv(ONLY_ONE_VARIABLE, "lab/wkpipe-main-1")
    this_system.cache_clear()
    try:
        leave_lock(tmp_path, **changes)
        with MetadataLock(Local(tmp_path), timeout=0):
            pass
        leave_lock(tmp_path, **changes | {"host": "lab/wkpipe-main-2"})
        with pytest.raises(TryAgain), MetadataLock(Local(tmp_path), timeout=0.02):
            pass
    finally:
        this_system.cache_clear()


@pytest.mark.parametrize("changes", [{"host": "another"}, {"machine_id": "another"}, {"pid_namespace": "another"}], ids=str)
def test_takes_over_a_lock_from_long_ago(tmp_path: Path, changes: dict[str, Any]) -> None:
    """As in a copy of a dataset that was in use."""
    leave_lock(tmp_path, **changes)
    old = time.time() - EXPIRY_SECONDS - 1
    os.utime(tmp_path / LOCK_FILE_NAME, (old, old))
    with MetadataLock(Local(tmp_path), timeout=0):
        pass


def test_however_old_the_lock_of_a_living_process_is_left(tmp_path: Path) -> None:
    leave_lock(tmp_path)
    os.utime(tmp_path / LOCK_FILE_NAME, (0, 0))
    with pytest.raises(TryAgain), MetadataLock(Local(tmp_path), timeout=0):
        pass


def test_who_was_asleep_for_too_long_finds_out(tmp_path: Path) -> None:
    with MetadataLock(Local(tmp_path)) as lock:
        lock.check()
        leave_lock(tmp_path, host="another")
        with pytest.raises(TryAgain, match="another process has taken over the lock"):
            lock.check()
    with pytest.raises(TryAgain):
        lock.check()


def test_the_properties_are_not_replaced_by_who_has_lost_the_lock(tmp_path: Path) -> None:
    file = Locations(tmp_path / "dataset", tmp_path / "dataset" / ".wkpipe").properties_file()
    file.create(DatasetProperties("dataset", VoxelSize((1, 1, 1))))
    before = file.path.read_bytes()

    def slow_change(properties: DatasetProperties) -> DatasetProperties:
        leave_lock(tmp_path / "dataset" / ".wkpipe" / "locks", host="another")
        return replace(properties, name="other")

    with pytest.raises(TryAgain, match="taken over"):
        file.update(slow_change)
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"pid": "x"}', b"\xff", b"[" * 100_000], ids=repr)
def test_leaves_a_lock_that_it_does_not_understand(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOCK_FILE_NAME).write_bytes(content)
    with pytest.raises(TryAgain, match="unknown process"), MetadataLock(Local(tmp_path), timeout=0):
        pass
    assert (tmp_path / LOCK_FILE_NAME).read_bytes() == content


def test_takes_over_from_a_holder_that_died_while_another_took_over(tmp_path: Path) -> None:
    pid = dead_process()
    leave_lock(tmp_path, pid=pid)
    second = replace(Holder.myself(), pid=pid)
    stamp = (tmp_path / LOCK_FILE_NAME).stat().st_mtime_ns
    (tmp_path / f"{LOCK_FILE_NAME}.{stamp}.guard").write_bytes(second.to_bytes())
    with MetadataLock(Local(tmp_path), timeout=60):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE_NAME]


def test_a_slow_one_does_not_remove_the_lock_of_a_faster_one(tmp_path: Path) -> None:
    leave_lock(tmp_path, pid=dead_process())
    slow = MetadataLock(Local(tmp_path), timeout=60)
    seen = slow._seen()
    assert seen is not None
    with MetadataLock(Local(tmp_path)) as fast:
        mine = Holder.myself()
        assert not slow._take_over(seen, mine)  # as after a long sleep between looking and taking over
        fast.check()


def count_up(directory: Path, counter: Path, times: int, barrier: Any) -> None:
    barrier.wait()
    for i in range(times):
        with MetadataLock(Local(directory)):
            counter.write_text(str(int(counter.read_text()) + 1))
            if i == times - 1:
                os.kill(os.getpid(), signal.SIGKILL)  # every process dies holding the lock


def test_no_two_hold_it_at_once_whoever_dies(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    barrier = fork.Barrier(4)
    children = [fork.Process(target=count_up, args=(tmp_path / "locks", counter, 10, barrier)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert counter.read_text() == "40"


def test_says_when_the_directory_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"a file")
    with pytest.raises(NotWritable), MetadataLock(Local(tmp_path / "locks")):
        pass
