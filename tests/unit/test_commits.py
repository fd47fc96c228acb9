"""Units and records that wait for each other: a few waits for many, and no record before the files that it proves."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wkpipe.errors import NotWritable, TryAgain, UnreadableImages
from wkpipe.storage import barrier as barrier_module
from wkpipe.storage import commits as commits_module
from wkpipe.storage import disk, names
from wkpipe.storage.commit import PendingFile
from wkpipe.storage.commits import Commits
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.local import Local
from wkpipe.storage.proof import MTIME, Stamp, UnitProof
from wkpipe.storage.reasons import explained
from wkpipe.storage.record import MADE, Record
from wkpipe.storage.scratch import Scratch


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long units wait for each other must not decide these tests on a busy machine."""
    monkeypatch.setattr(commits_module, "LONGEST_SECONDS", 1000.0)


class Units:
    """Makes units, each a file and a record, as a task does."""

    def __init__(self, root: Path, commits: Commits, fence: Callable[[], None] = lambda: None) -> None:
        self.root, self.commits = root, commits
        self.scratch = Scratch(root / "tmp" / "1", fence, root).postponing(commits.keep)
        self.place = Local(root / "ledger").writing(Scratch(root / "tmp" / "1", fence, root))
        self.writer = LedgerWriter(self.place, 1, "task", later=commits)

    def file(self, unit: int) -> Path:
        return self.root / "data" / str(unit) / "c"

    def make(self, unit: int, size: int = 10) -> None:
        with PendingFile(self.file(unit), self.scratch) as file:
            file.append(b"x" * size)
            proof = file.commit()
        stamp = Stamp(MTIME, proof.mtime_ns)
        self.writer.add(Record((unit,), MADE, UnitProof(1, proof.size, proof.crc32c, stamp, "d"), "d"))

    def seen(self) -> tuple[list[int], list[int]]:
        """Return the units that have a file and those that have a record."""
        there = sorted(int(path.parent.name) for path in self.root.glob("data/*/c"))
        return there, sorted(unit for (unit,) in Ledger.load(self.root / "ledger").records)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that notes, of each sync and rename, what it is for; syncs of the same wait are one entry."""
    noted: list[str] = []

    def kind(path: Path) -> str:
        way = path.relative_to(tmp_path).parts
        return "segment" if path.suffix == ".segment" else way[0] if way else "root"

    def wrapped(module: Any, name: str, word: str, which: int) -> None:
        real = getattr(module, name)

        def call(*arguments: Any) -> Any:
            real(*arguments)
            noted.append(f"{word} {kind(arguments[which])}")

        monkeypatch.setattr(module, name, call)

    wrapped(disk, "sync", "sync", 1)
    wrapped(disk, "sync_directory", "sync names in", 0)
    wrapped(names, "rename", "name", 1)
    at_once = barrier_module.at_once

    def wait(calls: Any) -> None:
        before = len(noted)
        at_once(calls)
        noted[before:] = [", ".join(sorted({*noted[before:]}))] if len(noted) > before else []

    monkeypatch.setattr(barrier_module, "at_once", wait)
    return noted


def test_records_follow_the_names_of_their_files_in_three_waits(tmp_path: Path, steps: list[str]) -> None:
    with Commits() as commits:
        units = Units(tmp_path, commits)
        for unit in range(3):
            units.make(unit)
        assert units.seen() == ([], [])
        assert [record.unit for record in commits.noted(units.place)] == [(0,), (1,), (2,)]
        steps.clear()
    assert units.seen() == ([0, 1, 2], [0, 1, 2])
    assert steps == [
        "sync data, sync names in data, sync names in root",
        *["name data"] * 3,
        "sync names in data, sync names in root, sync segment",
        "name segment",
        "sync names in ledger",
    ]
    for unit, record in Ledger.load(tmp_path / "ledger").records.items():
        assert record.proof.stamp.value == units.file(*unit).stat().st_mtime_ns
    assert not list((tmp_path / "tmp").rglob("*.tmp"))


@pytest.mark.parametrize("most", [{"most_units": 2}, {"most_bytes": 20}])
def test_only_a_few_wait(tmp_path: Path, most: dict[str, int]) -> None:
    with Commits(**most) as commits:
        units = Units(tmp_path, commits)
        for unit in range(5):
            units.make(unit)
            assert units.seen() == ([*range((unit + 1) // 2 * 2)],) * 2
        units.make(5, size=20)
        assert units.seen()[1] == [*range(6)], "a large unit takes all with it"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_effect_when_all_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """It comes in the middle of a commit, between the names of the files and their records."""

    def interrupted(*arguments: Any) -> None:
        rename(*arguments)
        signal.raise_signal(number)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    former = signal.signal(number, stop)
    rename = names.rename
    commits = Commits(most_units=2)
    units = Units(tmp_path, commits)
    units.make(0)
    monkeypatch.setattr(names, "rename", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            units.make(1)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, former)
    assert units.seen() == ([0, 1], [0, 1])


def test_none_waits_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Commits() as commits:
        units = Units(tmp_path, commits)
        units.make(0)
        monkeypatch.setattr(commits_module, "LONGEST_SECONDS", 0.0)
        units.make(1)
        assert units.seen() == ([0, 1], [0, 1])


def refuse(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, which: int, unit: Path) -> None:
    real = getattr(module, name)

    def call(*arguments: Any) -> Any:
        if arguments[which] == unit:
            with explained(unit):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("where", ["content", "rename", "name"])
def test_if_the_disk_refuses_one_it_is_named_and_nothing_is_recorded(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed sync loses the data: no record may rely on it, and it must not be tried again."""
    commits = Commits()
    units = Units(tmp_path, commits)
    for unit in range(3):
        units.make(unit)
    if where == "name":
        refuse(monkeypatch, disk, "sync_directory", 0, units.file(1).parent)
    else:
        refuse(monkeypatch, disk if where == "content" else names, "sync" if where == "content" else "rename", 1, units.file(1))
    with pytest.raises(NotWritable, match=r"data/1"), commits:
        pass
    assert units.seen()[1] == []
    assert units.seen()[0] == {"content": [], "rename": [0], "name": [0, 1, 2]}[where]
    assert not list((tmp_path / "tmp").rglob("*.tmp"))
    assert commits.noted(units.place) == []


def test_who_has_lost_the_dataset_gives_nothing_a_name(tmp_path: Path) -> None:
    def fence() -> None:
        raise TryAgain("another run has taken over")

    commits = Commits()
    units = Units(tmp_path, commits, fence)
    units.make(0)
    with pytest.raises(TryAgain), commits:
        pass
    assert units.seen() == ([], [])
    assert not list((tmp_path / "tmp").rglob("*.tmp"))


@pytest.mark.parametrize("error", [UnreadableImages("one image"), KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_what_is_complete_outlives_an_error_and_ctrl_c(tmp_path: Path, error: BaseException) -> None:
    commits = Commits()
    units = Units(tmp_path, commits)
    units.make(0)
    with pytest.raises(type(error)), commits:
        raise error
    assert units.seen() == ([0], [0])
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_mtime_that_a_file_server_sets_late_does_not_spoil_the_proof(tmp_path: Path) -> None:
    with Commits() as commits:
        units = Units(tmp_path, commits)
        units.make(0)
        (temporary,) = (tmp_path / "tmp").rglob("*.tmp")
        os.utime(temporary, ns=(5, 5))
    (record,) = Ledger.load(tmp_path / "ledger").records.values()
    assert record.proof.stamp.value == units.file(0).stat().st_mtime_ns > 5


def test_a_writer_leaves_one_segment_of_several_groups(tmp_path: Path) -> None:
    with Commits(most_units=2) as commits:
        units = Units(tmp_path, commits)
        with units.writer:
            for unit in range(5):
                units.make(unit)
        assert units.seen()[1] == [*range(5)]
        assert len(list((tmp_path / "ledger").glob("*.segment"))) == 1
