"""Calls that wait are made side by side; fast ones one after the other, without threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from wkpipe.storage import side_by_side
from wkpipe.storage.group import PendingGroup
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.side_by_side import SLOW_SECONDS, do_all


@pytest.fixture
def slow_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets time pass: for `do_all`, which asks a clock, no real time is needed."""
    now = [0.0]
    monkeypatch.setattr(side_by_side, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_fast_calls_are_made_one_after_the_other(slow_at: Callable[[float], None]) -> None:
    made: list[tuple[int, int]] = []

    def call(number: int) -> None:
        slow_at(SLOW_SECONDS / 2)
        made.append((number, threading.get_ident()))

    do_all([partial(call, number) for number in range(9)])
    assert made == [(number, threading.get_ident()) for number in range(9)]


def test_the_rest_is_done_side_by_side_once_a_call_has_waited(slow_at: Callable[[float], None]) -> None:
    """Each of three calls waits for the others: one after the other they would wait for ever."""
    together, made = threading.Barrier(3, timeout=20), list[int]()

    def call(number: int) -> None:
        if number == 1:
            slow_at(2 * SLOW_SECONDS)
        if number > 1:
            together.wait()
        made.append(number)

    do_all([partial(call, number) for number in range(5)])
    assert made[:2] == [0, 1]
    assert sorted(made) == list(range(5))


@pytest.mark.parametrize("seconds", [0, 2 * SLOW_SECONDS])
def test_the_first_error_is_raised_when_all_that_were_begun_have_ended(slow_at: Callable[[float], None], seconds: float) -> None:
    ended: list[int] = []

    def call(number: int) -> None:
        slow_at(seconds)
        if number in (2, 3):
            raise OSError(number, "broken")
        ended.append(number)

    with pytest.raises(OSError, match="broken") as failed:
        do_all([partial(call, number) for number in range(6)])
    assert failed.value.errno == 2
    assert sorted(ended) == ([0, 1, 4, 5] if seconds else [0, 1])


def test_files_of_a_group_that_are_written_side_by_side(tmp_path: Path, slow_at: Callable[[float], None]) -> None:
    group = PendingGroup(Scratch(tmp_path / "scratch", root=tmp_path))

    def add(number: int) -> None:
        slow_at(2 * SLOW_SECONDS)
        group.add(tmp_path / f"{number}", b"%d" % number * number)

    do_all([partial(add, number) for number in range(200)])
    proofs = group.commit()
    assert {Path(name).name: proof.size for name, proof in proofs.items()} == {f"{n}": len(str(n)) * n for n in range(200)}
    assert all((tmp_path / f"{n}").read_bytes() == b"%d" % n * n for n in range(200))
    assert list((tmp_path / "scratch").iterdir()) == []
