"""Which files of an array exist: found with few questions, wherever they are and however many could be there."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe.formats.base import Position
from wkpipe.formats.file_names import FileNames, zarr_names
from wkpipe.stored.places import place_at


def names_of(root: Path, positions: set[Position], separator: str = "/") -> FileNames:
    names = zarr_names(place_at(root), 4, separator, "c")
    for position in positions:
        path = root / names.key(position)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return names


CORNERS = st.tuples(*[st.integers(0, 2)] * 4)


@settings(max_examples=40)
@given(st.sets(st.tuples(*[st.integers(0, 3)] * 4), max_size=20), CORNERS, st.tuples(*[st.sampled_from([0, 1, 2, 70])] * 4), st.booleans())
def test_any_files_in_any_region(temporary: Path, there: set[Position], first: Position, widths: Position, is_nested: bool) -> None:
    root = temporary / f"{len(list(temporary.iterdir()))}"
    names = names_of(root, there, "/" if is_nested else ".")
    end = tuple(a + width for a, width in zip(first, widths, strict=True))
    wanted = {position for position in there if all(a <= p < b for a, p, b in zip(first, position, end, strict=True))}
    found = names.present(first, end)
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert set(names.all_present()) == there


@pytest.mark.parametrize("last", [1, 128])
def test_few_questions_about_many_files_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """As in a foreign array of small chunks, whose channels are the last axis or the first."""
    there = set(itertools.product(range(3), range(3), range(2), [0]))
    names = names_of(tmp_path, there)
    asked: list[object] = []

    def counted(function: Any) -> Any:
        def call(path: Any, *arguments: Any, **more: Any) -> Any:
            asked.append(path)
            return function(path, *arguments, **more)

        return call

    for name in ("stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    assert set(names.present((0, 0, 0, 0), (128, 128, 128, last))) == there
    assert len(asked) < 100
