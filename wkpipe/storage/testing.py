"""The contract of a place, as tests: the author of a `Place` derives a class from `PlaceTests` and runs it with pytest.

A fixture ``place`` returns an empty place. `wkpipe.storage.place` lists what every place promises.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c

from wkpipe.errors import TryAgain
from wkpipe.storage.opened import Damage, TooLarge
from wkpipe.storage.place import Entry, Place
from wkpipe.storage.proof import Stamp
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject, put_in_order
from wkpipe.storage.testing_protocols import ProtocolTests, at_once, content, now, refused
from wkpipe.storage.testing_trees import TreeTests

ODD_KEYS = ("plain", "with space", "per%20cent", "ünï/cødé", "a.b-c_d~e", "deep/er/and/deeper/still", "x" * 200, "#?&=+,;@")


def _known(entries: list[Entry]) -> list[Entry]:
    """Return the entries that are objects or directories."""
    return [entry for entry in entries if entry.facts is not None or entry.is_directory]


class PlaceTests(ProtocolTests, TreeTests):
    """The tests that every place must pass."""

    # -- reading and writing ------------------------------------------------------------------------------------

    def test_an_empty_place(self, place: Place) -> None:
        assert (place.facts("a"), content(place, "a"), place.open("one/b")) == (None, None, None)
        assert (place.names(), list(place.list("a")), place.entries(), place.entries("a")) == ([], [], [], [])
        assert not place.has("a")
        place.remove(["a", "b/c"])

    def test_what_is_put_is_there(self, place: Place) -> None:
        for number, key in enumerate(ODD_KEYS):
            data = key.encode() * number
            stamp = place.put(key, data)
            facts = now(place, key)
            assert (facts.size, facts.stamp, content(place, key), place.has(key)) == (len(data), stamp, data, True)
        assert sorted(key for key, _ in place.list()) == sorted(ODD_KEYS)
        assert sorted(place.names()) == sorted({key.split("/")[0] for key in ODD_KEYS})
        assert [key for key, _ in place.list("deep")] == ["deep/er/and/deeper/still"]
        assert refused(lambda: place.content("with space", 9), TooLarge)  # it has 10 bytes
        child = place.child("deep").child("er")
        assert (child.names(), content(child, "and/deeper/still")) == (["and"], content(place, ODD_KEYS[5]))

    def test_entries_are_one_level(self, place: Place) -> None:
        for key in ("one/b", "one/a", "one/deeper/c", "two"):
            place.put(key, key.encode())
        expected = [Entry("a", now(place, "one/a")), Entry("b", now(place, "one/b")), Entry("deeper", None, is_directory=True)]
        assert _known(place.entries("one")) == _known(place.child("one").entries()) == expected
        assert _known(place.entries()) == [Entry("one", None, is_directory=True), Entry("two", now(place, "two"))]
        assert place.real("one/a") == place.child("one").real("a") == f"{place.real()}/one/a"

    def test_removing(self, place: Place) -> None:
        for key in ("a", "b/c", "b/d"):
            place.put(key, b"x")
        place.remove(["a", "b/c", "never"])
        assert [key for key, _ in place.list()] == ["b/d"]
        assert (content(place, "a"), place.facts("b/c", fresh=True)) == (None, None)

    def test_a_stream_is_seen_as_a_whole_or_not_at_all(self, place: Place) -> None:
        chance = random.Random(0)
        pieces = [chance.randbytes(chance.randrange(1 << 19)) for _ in range(20)]
        for expected in (None, b"old"):
            with place.writer("dir/stream") as file:
                assert [file.append(piece) for piece in pieces[:2]] == [0, len(pieces[0])]
                assert content(place, "dir/stream") == expected
            assert content(place, "dir/stream") == expected
            place.put("dir/stream", b"old")
        with place.writer("dir/stream") as file:
            for piece in pieces:
                file.append(piece)
            proof = file.commit()
        whole = b"".join(pieces)
        opened = place.open("dir/stream")
        assert opened is not None
        assert (proof.size, proof.crc32c, opened.size) == (len(whole), google_crc32c.value(whole), len(whole))
        assert opened.read(0, len(whole)) == whole
        offset = len(whole) // 3
        part = bytearray(1000)
        opened.read_into(memoryview(part), offset)
        assert (bytes(part), opened.read(offset, 1000)) == (whole[offset : offset + 1000],) * 2
        assert refused(lambda: opened.read(len(whole) - 1, 2), Damage)
        assert [name for name in place.names("dir") if name != "stream"] == []

    def test_objects_appear_in_the_order_of_their_stages(self, place: Place) -> None:
        seen: list[bytes | None] = []

        def stages() -> Iterator[dict[StoredObject, bytes]]:
            yield {StoredObject(place, f"deep/{number}/key"): b"%d" % number for number in range(5)}
            seen.extend(content(place, f"deep/{number}/key") for number in range(5))
            seen.append(content(place, "last"))
            yield {StoredObject(place, "last"): b"last", StoredObject(place.child("other"), "place"): b"x"}

        put_in_order(stages())
        assert seen == [*(b"%d" % number for number in range(5)), None]
        assert (content(place, "last"), content(place, "other/place")) == (b"last", b"x")
        assert sorted(key for key, _ in place.list()) == sorted(["last", "other/place", *(f"deep/{number}/key" for number in range(5))])

    def test_a_part_that_is_known_only_at_the_end(self, place: Place) -> None:
        with place.writer("a") as file:
            hole = file.append_hole(4)
            file.append(b"body")
            file.overwrite(hole, b"head")
            assert file.commit().crc32c == google_crc32c.value(b"headbody")
        assert content(place, "a") == b"headbody"

    def test_forked_processes_fill_what_was_reserved(self, place: Place) -> None:
        parts = [b"one", b"", b"three" * 1000, b"4"]
        with place.writer("a") as file:
            file.append(b"head")
            begin = file.reserve(sum(map(len, parts)), google_crc32c.value(b"".join(parts)))
            end = file.append(b"end")
            forked(lambda: file.fill([memoryview(part) for part in parts[1:]], begin + len(parts[0])))
            forked(lambda: file.fill([memoryview(parts[0])], begin))
            file.filled(end - begin)
            assert file.commit().crc32c == google_crc32c.value(b"head" + b"".join(parts) + b"end")
        assert content(place, "a") == b"head" + b"".join(parts) + b"end"

    def test_what_is_open_is_one_content(self, place: Place) -> None:
        old, new = b"o" * 3000, b"n" * 3000
        place.put("one", old)
        opened = place.open("one")
        assert opened is not None
        assert opened.read(0, 10) == old[:10]
        self.elsewhere(lambda: place.put("one", new))
        with contextlib.suppress(Damage):
            assert opened.read(10, 2990) == old[10:]
        again = place.open("one")
        assert again is not None
        assert again.read(0, 3000) == new

    def test_another_host_is_seen(self, place: Place) -> None:
        assert (place.facts("d/a"), place.facts("d/b")) == (None, None)
        place.put("d/a", b"1")
        assert place.facts("d/a") is not None
        stamp = self.elsewhere(lambda: place.put("d/a", b"22"))
        self.elsewhere(lambda: place.put("d/b", b"new"))
        facts, other = now(place, "d/a"), now(place, "d/b")
        assert (facts.size, facts.stamp, other.size) == (2, stamp, 3)
        assert (content(place, "d/a"), content(place, "d/b")) == (b"22", b"new")

    # -- stamps and conditions ----------------------------------------------------------------------------------

    def test_every_change_has_another_stamp(self, place: Place) -> None:
        stamps = [place.put("a", bytes([number])) for number in range(12)]
        assert len(set(stamps)) == 12
        with place.writer("a") as file:
            file.append(b"x")
            file.commit()
        facts = now(place, "a")
        assert facts.stamp not in stamps

    def test_only_if_absent(self, place: Place) -> None:
        stamp = place.put("a", b"first", if_absent=True)
        facts = now(place, "a")
        assert stamp == facts.stamp
        assert self.elsewhere(lambda: place.put("a", b"second", if_absent=True)) is None
        assert content(place, "a") == b"first"

    def test_what_need_not_last_is_there_for_all(self, place: Place) -> None:
        assert place.put("lock", b"first", if_absent=True, lasting=False) is not None
        assert self.elsewhere(lambda: place.put("lock", b"second", if_absent=True, lasting=False)) is None
        self.elsewhere(lambda: place.remove(["lock"], lasting=False))
        assert not self.elsewhere(lambda: place.has("lock"))

    def test_only_if_it_is_the_known_one(self, place: Place) -> None:
        assert place.put("a", b"x", if_stamp=Stamp("mtime", 5)) is None
        assert not place.has("a")
        first = place.put("a", b"1")
        second = place.put("a", b"2", if_stamp=first)
        assert second is not None
        assert self.elsewhere(lambda: place.put("a", b"3", if_stamp=first)) is None
        assert content(place, "a") == b"2"
        third = self.elsewhere(lambda: place.put("a", b"4", if_stamp=second))
        assert third is not None
        assert place.put("a", b"5", if_stamp=second) is None
        assert place.put("a", b"6", if_stamp=third) is not None
        assert content(place, "a") == b"6"
        assert place.names() == ["a"]

    def test_one_of_all_that_race_wins(self, place: Place) -> None:
        for race in range(4):
            key, data = f"{race}", [f"{race} {number}".encode() for number in range(4)]
            created = at_once([functools.partial(place.put, key, each, if_absent=True) for each in data])
            assert sum(stamp is not None for stamp in created) == 1
            winner = next(number for number, stamp in enumerate(created) if stamp is not None)
            assert content(place, key) == data[winner]
            changed = at_once([functools.partial(place.put, key, each + b"!", if_stamp=created[winner]) for each in data])
            assert sum(stamp is not None for stamp in changed) == 1
            winner = next(number for number, stamp in enumerate(changed) if stamp is not None)
            assert content(place, key) == data[winner] + b"!"

    def test_no_change_gets_lost(self, place: Place) -> None:
        place.put("counter", b"0 ")

        def count(name: int) -> None:
            for step in range(5):
                while True:
                    facts = now(place, "counter")
                    number = int((content(place, "counter") or b"").split()[0])
                    if place.put("counter", b"%d %d %d" % (number + 1, name, step), if_stamp=facts.stamp) is not None:
                        break

        at_once([functools.partial(count, name) for name in range(3)])
        assert (content(place, "counter") or b"").split()[0] == b"15"

    def test_the_clock_is_that_of_the_stamps(self, place: Place) -> None:
        place.put("a", b"1")
        facts = now(place, "a")
        assert abs(place.clock_ns() - facts.modified_ns) < 60e9

    def test_who_has_lost_the_right_changes_nothing(self, place: Place, tmp_path: Path) -> None:
        stamp = place.put("a", b"old")

        def fence() -> None:
            raise TryAgain("another run has taken over")

        fenced = place.writing(Scratch(tmp_path / "fenced", fence))
        assert refused(lambda: fenced.put("a", b"new"), TryAgain)
        assert refused(lambda: fenced.put("a", b"new", if_stamp=stamp), TryAgain)
        assert refused(lambda: fenced.put("b", b"new", if_absent=True), TryAgain)
        with fenced.writer("a") as file:
            file.append(b"new")
            assert refused(file.commit, TryAgain)
        assert (content(place, "a"), place.names()) == (b"old", ["a"])


def forked(call: Callable[[], None]) -> None:
    """Call a function in a forked process."""
    if (pid := os.fork()) == 0:
        try:
            call()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
