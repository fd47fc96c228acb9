"""The contract of a place, on disks without faults and on faulty ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.storage.players import (
    FailingOs,
    Insistent,
    LateOs,
    LeftoverOs,
    LossyOs,
    NfsOs,
    PlayedOs,
    ServerClockOs,
    StaleAttributesOs,
    StaleHandlesOs,
)
from wkpipe.errors import DamagedShard, InputRefused, NotWritable
from wkpipe.storage.appended import AppendedFile
from wkpipe.storage.disk import note, remove_tree
from wkpipe.storage.local import Local
from wkpipe.storage.names import rename
from wkpipe.storage.notes import NoteSeries, note_text, note_values, series_text, text_from
from wkpipe.storage.place import Entry, Place
from wkpipe.storage.removal import remove_place
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.testing import PlaceTests
from wkpipe.storage.testing_protocols import content

Result = TypeVar("Result")


class TestLocal(PlaceTests):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Local(tmp_path / "place")


class TestWithoutRename(PlaceTests):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        place = Local(tmp_path / "place", can_rename=False)
        assert not place.child("a").can_rename
        return place


@pytest.mark.parametrize("kind", [LossyOs, StaleHandlesOs, ServerClockOs, StaleAttributesOs, LeftoverOs, NfsOs], scope="class")
class TestNetworkDisk(PlaceTests):
    """Faults are hidden: each change is done once, and reported as done."""

    @pytest.fixture
    def place(self, tmp_path: Path, kind: type[PlayedOs]) -> Iterator[Place]:
        self.played = kind()
        with self.played.installed():
            yield Local(tmp_path / "place")

    def elsewhere(self, call: Callable[[], Result]) -> Result:
        return self.played.elsewhere(call)


@pytest.mark.parametrize("kind", [FailingOs, LateOs], scope="class")
class TestRefusingDisk(PlaceTests):
    """A change that the disk refuses is reported, leaves the old state, and can be repeated."""

    @pytest.fixture
    def place(self, tmp_path: Path, kind: type[PlayedOs]) -> Iterator[Place]:
        played = kind(every=15)
        with played.installed():
            yield Insistent(tmp_path / "place", Scratch(tmp_path / "scratch"))

    def test_no_change_gets_lost(self, place: Place) -> None:
        """After a refusal the counter may or may not have changed, so only one writer counts."""
        for number in range(20):
            facts = place.facts("counter", fresh=True)
            done = place.put("counter", b"%d" % number, if_stamp=facts.stamp) if facts else place.put("counter", b"0", if_absent=True)
            assert done is not None
        assert content(place, "counter") == b"19"


def test_leftovers_of_open_files_are_no_error(tmp_path: Path) -> None:
    directory = tmp_path / "old"
    (directory / "inner").mkdir(parents=True)
    (directory / "inner" / "file").write_bytes(b"1")
    leftover = directory / "inner" / ".nfs0001"
    leftover.write_bytes(b"2")
    assert Local(directory).names("inner") == ["file"]
    remove_tree(directory)
    assert [path.name for path in directory.rglob("*")] == ["inner", ".nfs0001"]
    leftover.unlink()
    remove_tree(directory)
    assert not directory.exists()


def test_a_directory_is_renamed_even_if_the_answer_is_lost(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with LossyOs(every=1).installed():
        rename(tmp_path / "new", tmp_path / "place")
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    with pytest.raises(NotWritable):
        rename(tmp_path / "new", tmp_path / "place")


def test_entries_say_what_leads_elsewhere_and_what_is_no_object(tmp_path: Path) -> None:
    place = Local(tmp_path / "place")
    place.put("inner/file", b"1")
    facts = place.facts("inner/file")
    for name, target in {"file": "inner/file", "directory": "inner", "nowhere": "gone"}.items():
        (tmp_path / "place" / f"to_{name}").symlink_to(target)
    os.mkfifo(tmp_path / "place" / "pipe")
    (tmp_path / "place" / ".nfs0001").write_bytes(b"2")
    assert place.entries() == [
        Entry(".nfs0001", None),
        Entry("inner", None, is_directory=True),
        Entry("pipe", None),
        Entry("to_directory", None, is_directory=True, is_link=True),
        Entry("to_file", facts, is_link=True),
        Entry("to_nowhere", None, is_link=True),
    ]
    assert list(place.list()) == [("to_file", facts), ("inner/file", facts)]
    (tmp_path / "place" / "circle").symlink_to("circle")
    with pytest.raises(DamagedShard, match=r"circle: cannot be read: Too many levels of symbolic links"):
        place.entries()


def test_what_was_appended_is_read_and_a_note_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    place = Local(tmp_path)
    note(tmp_path / "values", '{"a": 1}')
    note(tmp_path / "list", "[1]")
    note(tmp_path / "cut", '{"a":')
    assert [note_values(place, key) for key in ("values", "list", "cut", "none")] == [{"a": 1}, {}, {}, {}]
    assert (note_text(place, "cut"), note_text(place, "none")) == ('{"a":', "")
    note(tmp_path / "values", "more", add=True)
    assert text_from(place, "values", 8) == b"more"
    assert text_from(place, "values", 0, most=6) == b"1}more"
    assert (text_from(place, "values", 100), text_from(place, "none", 0)) == (b"", b"")


def test_a_series_of_notes_has_the_lines_of_all_writers_in_order(tmp_path: Path) -> None:
    """No note is appended to: a full one is closed, and each writer has its own."""
    place = Local(tmp_path).child("series")
    writers = [NoteSeries(place) for _ in range(2)]
    for number in range(400):
        for writer, series in enumerate(writers):
            series.add(f"{writer} {number} {'x' * 100}\n")
    lines = series_text(place).splitlines()
    assert [[int(line.split()[1]) for line in lines if line.startswith(f"{writer} ")] for writer in range(2)] == [list(range(400))] * 2
    assert 4 <= len(place.names()) <= 10
    assert series_text(Local(tmp_path).child("none")) == ""


def test_a_line_that_was_cut_short_spoils_no_later_one(tmp_path: Path) -> None:
    place = Local(tmp_path)
    place.put("log", b"whole\ncut sho")
    file = AppendedFile(place, "log")
    for line in (b"first\n", b"second\n"):
        file.add(line)
    file.sync()
    file.close()
    file.close()
    assert content(place, "log") == b"whole\ncut sho\nfirst\nsecond\n"


def test_a_place_is_removed_with_all_its_content(tmp_path: Path) -> None:
    place = Local(tmp_path / "state" / "place")
    remove_place(place, tmp_path)
    place.put("inner/file", b"1")
    (tmp_path / "state" / "place" / "link").symlink_to(tmp_path)
    remove_place(place, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "state"]
    assert not list((tmp_path / "state").iterdir())
    (tmp_path / "elsewhere" / "place").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(InputRefused, match="link"):
        remove_place(Local(tmp_path / "link" / "place"), tmp_path)
    assert (tmp_path / "elsewhere" / "place").is_dir()


def test_a_small_file_that_shrinks_while_it_is_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "note").write_bytes(b"a note that another process writes again")
    pread = os.pread

    def shrunk(descriptor: int, size: int, offset: int) -> bytes:
        os.truncate(tmp_path / "note", 4)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", shrunk)
    with pytest.raises(DamagedShard, match=r"note: it changed while it was read: .*; run the same command again"):
        Local(tmp_path).content("note", 100)
    (tmp_path / "note").write_bytes(b"a note that another process writes again")
    assert note_text(Local(tmp_path), "note") == ""
