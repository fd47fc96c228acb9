"""StoredObject: a place with the key of one of its objects, so that both are handed on together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wkpipe.storage.pending import PendingObjects
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.side_by_side import do_all
from wkpipe.storage.stages import commit_in_order


@dataclass(frozen=True)
class StoredObject:
    """An object that may or may not exist. Its text is its name in messages."""

    place: Place
    key: str

    def __str__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """The object's path for messages; only `wkpipe.storage` opens it."""
        return self.place.path(self.key)

    def is_there(self) -> bool:
        """True if this user can see the object."""
        return self.place.has(self.key)

    def content(self, limit: int) -> bytes | None:
        """Return the object's content; None if there is none. Raises: as `Place.content`."""
        return self.place.content(self.key, limit)

    def writing(self, scratch: Scratch) -> StoredObject:
        """Return the same object for a writer; see `Place.writing`."""
        return StoredObject(self.place.writing(scratch), self.key)

    def put(self, data: bytes, scratch: Scratch) -> None:
        """Write the object as a whole, durably."""
        self.place.writing(scratch).put(self.key, data)

    def remove(self, scratch: Scratch) -> None:
        """Remove the object durably; a missing one is fine."""
        self.place.writing(scratch).remove([self.key])


def put_all(objects: Mapping[StoredObject, bytes], scratch: Scratch) -> None:
    """Write small objects, each whole and durable, with few waits for all of them."""
    put_in_order([{each.writing(scratch): data for each, data in objects.items()}])


def put_in_order(stages: Iterable[Mapping[StoredObject, bytes]]) -> None:
    """Write small objects, each whole and durable; those of a stage after those of earlier stages. Places are writing ones.

    Raises:
        NotWritable: a place refuses one; nothing of later stages was written.
    """
    begun: list[PendingObjects] = []
    try:
        commit_in_order(_groups(objects, begun) for objects in stages)
    finally:
        for group in begun:
            group.discard()


def _groups(objects: Mapping[StoredObject, bytes], begun: list[PendingObjects]) -> list[PendingObjects]:
    by_place = {place: place.group() for place in dict.fromkeys(each.place for each in objects)}
    begun += by_place.values()
    do_all([partial(by_place[each.place].add, each.key, data) for each, data in objects.items()])
    return list(by_place.values())
