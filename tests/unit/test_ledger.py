"""The ledger: records are found, as a whole and in part, however it is damaged."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import google_crc32c
import pytest

from wkpipe.storage import ledger as ledger_module
from wkpipe.storage.change import MOST_CHANGES, Change, changes_after, name_of_token
from wkpipe.storage.ledger import LINES_AT_ONCE, SORTED, Ledger, LedgerWriter, fold
from wkpipe.storage.local import Local
from wkpipe.storage.opened import OpenFile
from wkpipe.storage.place import Opened
from wkpipe.storage.proof import MTIME, Position, Stamp, UnitProof
from wkpipe.storage.record import ADOPTED, Record


def records_of(units: list[Position]) -> list[Record]:
    return [Record(unit, ADOPTED, UnitProof(1, sum(unit), -1, Stamp(MTIME, 5)), f"token {unit}") for unit in units]


UNITS: list[Position] = [(0, x, y, z) for x in range(8, 12) for y in (0, 5, 100) for z in range(98, 103)]


def write(directory: Path, how: str) -> None:
    records = records_of(UNITS)
    if how == SORTED:
        with LedgerWriter(directory, 1, SORTED) as writer:
            writer.add(*records)
        return
    random.Random(0).shuffle(records)
    for part in (records[:10], records[10:]):
        with LedgerWriter(directory, 1, "00001-some-folded-layer-1") as writer:
            writer.add(*part)
    if how == "folded":
        fold(directory, 2)
        assert len(list(directory.iterdir())) == 1


@pytest.fixture
def always_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "BISECTED_FROM", 0)


def searched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for every search if it came to an end."""
    ended = []
    original = ledger_module._bisected

    def noting(segment: Opened, wanted: object) -> list[bytes] | None:
        found = original(segment, wanted)
        ended.append(found is not None)
        return found

    monkeypatch.setattr(ledger_module, "_bisected", noting)
    return ended


@pytest.mark.usefixtures("always_bisected")
@pytest.mark.parametrize("how", [SORTED, "folded", "segments"])
def test_some_units_are_found_among_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    ended = searched(monkeypatch)
    write(tmp_path / "ledger", how)
    whole = Ledger.load(tmp_path / "ledger")
    assert sorted(whole.records) == UNITS
    absent: list[Position] = [(0, 7, 0, 98), (0, 8, 5, 97), (0, 8, 5, 103), (0, 12, 0, 0), (1, 0, 0, 0)]
    for only in ([unit] for unit in UNITS + absent):
        assert Ledger.load(tmp_path / "ledger", only).records == {unit: whole.records[unit] for unit in only if unit in UNITS}
    assert Ledger.load(tmp_path / "ledger", UNITS[::7] + absent).records == {unit: whole.records[unit] for unit in UNITS[::7]}
    assert set(ended) == (set() if how == "segments" else {True})


@pytest.mark.usefixtures("always_bisected")
def test_damage_hides_no_other_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = searched(monkeypatch)
    directory = tmp_path / "ledger"
    write(directory, SORTED)
    segment = next(directory.iterdir())
    sound = segment.read_bytes()
    chance = random.Random(1)
    for _ in range(60):
        data = bytearray(sound)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        segment.write_bytes(data)
        whole = Ledger.load(directory)
        assert len(whole.records) >= len(UNITS) - 2
        for unit in chance.sample(UNITS, 12):
            assert Ledger.load(directory, [unit]).get(unit) == whole.get(unit)
    assert set(ended) == {True, False}
    for length in (0, 1, len(sound) // 2, len(sound) - 1):
        segment.write_bytes(sound[:length])
        whole = Ledger.load(directory)
        assert Ledger.load(directory, UNITS).records == whole.records


def test_more_records_than_are_written_in_one_go(tmp_path: Path) -> None:
    units: list[Position] = [(i,) for i in range(2 * LINES_AT_ONCE + 3)]
    with LedgerWriter(tmp_path / "ledger", 3, "many") as writer:
        writer.add(*records_of(units))
        assert list(Ledger.load(tmp_path / "ledger").records) == units


# -- versions -------------------------------------------------------------------------------------------------------

VERSION_1 = (
    '{"unit":[0,1,0,2],"origin":"made","proof":[1,1426,305419896,1700000000123456789],"token":"12345678-1426-1","params":"abc",'
    '"inputs":"def","stats":{"lowest":0,"highest":9},"epoch":3,"time":17}'
)


def line_of(text: str) -> bytes:
    return b"%08x %s\n" % (google_crc32c.value(text.encode()), text.encode())


def test_a_line_of_version_1_has_no_digest() -> None:
    record = Record.from_line(line_of(VERSION_1))
    assert record is not None
    assert record.proof == UnitProof(1, 1426, 305419896, Stamp(MTIME, 1700000000123456789))
    assert not record.proof.is_known
    assert (record.unit, record.token, record.params, record.inputs) == ((0, 1, 0, 2), "12345678-1426-1", "abc", "def")
    assert Record.from_line(record.to_line()) == record  # rewritten by this version, it proves no more than before


@pytest.mark.parametrize("stamp", [Stamp(MTIME, 5), Stamp("mtimes", "0123456789abcdef"), Stamp("etag", "d41d8cd9")])
def test_a_line_of_version_2_comes_back(stamp: Stamp) -> None:
    proof = UnitProof(1, 10, 7, stamp, "xxh3-128/shard:00")
    for token in ("xxh3-128/shard:00", "another"):
        record = Record((0, 1), "made", proof, token, "p", "i", {"lowest": 1}, 2, 3, "zstd-5 libzstd 1.5.7", "m")
        assert Record.from_line(record.to_line()) == record


@pytest.mark.parametrize(
    "old, new",
    [
        ('"v":2', '"v":3'),
        ('"v":2', '"v":true'),
        ('["mtime",5]', '["mtime",5.0]'),
        ('["mtime",5]', '["mtime"]'),
        ('["mtime",5]', '[5,"mtime"]'),
        ('"digest":"d"', '"digest":1'),
        ('"mag":"m"', '"mag":null'),
        ('"encoder":"e"', '"encoder":[]'),
        ('"proof":[1,10,7]', '"proof":[1,10,7,8]'),
        ('"proof":[1,10,7]', '"proof":[1,10,true]'),
        ('"sources":"s"', '"sources":[1]'),
        ('"changes":[["a",[0],[1]]]', '"changes":[["a",[0],[1.5]]]'),
        ('"changes":[["a",[0],[1]]]', '"changes":[["a",[0]]]'),
        ('"changes":[["a",[0],[1]]]', '"changes":[[0,[0],[1]]]'),
    ],
)
def test_a_line_that_is_no_record_does_not_count(old: str, new: str) -> None:
    record = Record(
        (0, 1), "made", UnitProof(1, 10, 7, Stamp(MTIME, 5), "d"), "t", "p", "i", {}, 2, 3, "e", "m", "s", (Change("a", (0,), (1,)),)
    )
    text = record.to_line()[9:-1].decode()
    assert old in text
    assert Record.from_line(line_of(text)) == record
    assert Record.from_line(line_of(text.replace(old, new))) is None


def test_changes_add_up() -> None:
    first = changes_after("a", (), (0, 4), (1, 5))
    second = changes_after("b", first, (3, 3), (4, 4))
    assert second == (Change(name_of_token("b"), (3, 3), (4, 4)), Change(name_of_token("a"), (0, 3), (4, 5)))
    assert changes_after("a", second, (9, 9), (10, 10))[0] == Change(name_of_token("a"), (9, 9), (10, 10)), "it was so again"
    assert len(changes_after("c", [Change(f"{i}", (0,), (1,)) for i in range(20)], (0,), (1,))) == MOST_CHANGES


def test_a_reader_among_busy_writers_reads_each_segment_once_and_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a segment comes with sixteen new records that are merged at once: reading must not begin again each time."""
    write(tmp_path, "some")
    numbers = iter(range(60))
    writer = LedgerWriter(tmp_path, 2, "task")
    read: Counter[str] = Counter()
    opened = Local.open

    def busy(place: Local, key: str) -> OpenFile | None:
        with monkeypatch.context() as quiet:
            quiet.setattr(Local, "open", opened)
            for number in itertools.islice(numbers, 1):
                for record in records_of([(1, number, 0, i) for i in range(16)]):
                    writer.add(record)
        found = opened(place, key)
        read[key] += found is not None
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Local, "open", busy)
        ledger = Ledger.load(tmp_path)
    assert set(ledger.records) >= set(UNITS)
    assert max(read.values()) == 1
    assert not ledger.damaged_lines


def test_a_segment_that_is_merged_before_it_is_opened_is_found_in_the_merged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LedgerWriter(tmp_path, 1, "task")
    for record in records_of(UNITS[:15]):
        writer.add(record)
    listed = ledger_module._segments

    def listing(place: Local) -> list[str]:
        found = listed(place)
        if len(found) == 15:
            writer.add(*records_of(UNITS[15:]))
        return found

    monkeypatch.setattr(ledger_module, "_segments", listing)
    assert set(Ledger.load(tmp_path).records) == set(UNITS)


def test_a_merged_segment_that_one_look_at_the_directory_missed_is_found_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory is not listed at once: a name that comes while it is listed may be missed."""
    writer = LedgerWriter(tmp_path, 1, "task")
    for record in records_of(UNITS[:15]):
        writer.add(record)
    listed = ledger_module._segments
    looks = itertools.count()

    def listing(place: Local) -> list[str]:
        found, look = listed(place), next(looks)
        if look == 0:
            writer.add(*records_of(UNITS[15:]))
        return [] if look == 1 else found

    monkeypatch.setattr(ledger_module, "_segments", listing)
    assert set(Ledger.load(tmp_path).records) == set(UNITS)


def test_a_writer_whose_segments_were_folded_loses_nothing(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path, 1, "task") as writer:
        for record in records_of(UNITS[:3]):
            writer.add(record)
        fold(tmp_path, 1)
        writer.add(*records_of(UNITS[3:]))
    assert set(Ledger.load(tmp_path).records) == set(UNITS)
    assert len(list(tmp_path.iterdir())) == 2
