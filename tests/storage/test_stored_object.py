"""Objects that are handed on with their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wkpipe.errors import TryAgain
from wkpipe.storage.barrier import MOST_SYNCED_ALONE
from wkpipe.storage.local import Local, object_at
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject, put_all, put_in_order


def test_an_object(tmp_path: Path) -> None:
    each, scratch = StoredObject(Local(tmp_path), "a/b.json"), Scratch(tmp_path / "tmp")
    assert (str(each), each.is_there(), each.content(9)) == (f"{tmp_path}/a/b.json", False, None)
    each.put(b"{}", scratch)
    assert each.is_there()
    assert object_at(each.path).content(9) == b"{}"
    each.remove(scratch)
    each.remove(scratch)
    assert not each.is_there()


def test_few_and_many_objects_are_written_with_the_fence(tmp_path: Path) -> None:
    for count in (2, MOST_SYNCED_ALONE + 1):
        fenced: list[int] = []
        scratch = Scratch(tmp_path / "tmp", lambda calls=fenced: calls.append(1))  # type: ignore[misc]
        objects = {StoredObject(Local(tmp_path / where), f"{i}/x"): b"%d" % i for where in ("a", "b") for i in range(count)}
        put_all(objects, scratch)
        assert {each.content(9) for each in objects} == set(objects.values())
        assert len(fenced) == 1, "all get their names together"


def test_what_is_put_in_order_appears_in_that_order(tmp_path: Path) -> None:
    place = Local(tmp_path)
    first, second = StoredObject(place, "a/first"), StoredObject(place, "b/second")

    def stages() -> Iterator[dict[StoredObject, bytes]]:
        yield {first: b"1"}
        assert first.is_there()
        yield {second: b"2"}
        assert second.is_there()
        raise TryAgain("somebody else has taken over")

    with pytest.raises(TryAgain):
        put_in_order(stages())
    assert (first.content(9), second.content(9)) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "first", "second"]
