"""Counting the records that a ledger gains."""

from __future__ import annotations

from pathlib import Path

from wkpipe.storage.ledger import LedgerWriter, fold
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import MADE, Record
from wkpipe.storage.record_count import RecordCount


def record(number: int) -> Record:
    return Record((number, 0, 0), MADE, FILL, "", "params", "inputs")


def test_records_are_counted_while_segments_are_merged_and_until_they_are_folded(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path, 1, "earlier") as writer:
        writer.add(record(0), record(1))
    count = RecordCount(tmp_path)
    assert count.added() == 0
    with LedgerWriter(tmp_path, 2, "task") as writer:
        for number in range(40):
            writer.add(record(number))
            assert count.added() == number + 1
    with LedgerWriter(tmp_path, 2, "other-folded-name") as writer:
        writer.add(record(40), record(41))
    assert count.added() == 42
    fold(tmp_path, 2)
    assert count.added() is None
    assert RecordCount(tmp_path).added() == 0


def test_a_ledger_that_does_not_exist_yet_has_no_records(tmp_path: Path) -> None:
    count = RecordCount(tmp_path / "later")
    assert count.added() == 0
    with LedgerWriter(tmp_path / "later", 1) as writer:
        writer.add(record(0))
    assert count.added() == 1
