"""Renaming: the note that a layer is getting another name; it exists from the first change to the last.

It is in the dataset, wherever the state is, so that everyone who opens the dataset sees it. Like all of a dataset it is not
trusted: it can do no more than the call that gives a layer a name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from wkpipe.errors import InputRefused, MetadataError, TryAgain
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_names import check_layer_name, check_new_layer_name
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.locations import Locations

_NOTE: Final = "renaming.json"


@dataclass(frozen=True)
class Renaming:
    """The layer `old` is getting the name `new`; `state` is the directory of the state that is changed with it."""

    old: str
    new: str
    state: str

    @classmethod
    def load(cls, locations: Locations) -> Renaming | None:
        """Return the renaming that has begun and not ended; None if there is none.

        Raises:
            MetadataError: the note cannot be read, or wkpipe cannot have written it.
        """
        note = renaming_note(locations)
        if not note.is_there() or (node := JsonNode.read(note)) is None:
            return None
        found = cls(*(node.child(key).text() for key in ("old", "new", "state")))
        try:
            check_layer_name(found.old)
            check_new_layer_name(found.new)
        except InputRefused as error:
            raise MetadataError(error.what, where=note.path, fix="remove the file") from None
        return found

    def to_bytes(self) -> bytes:
        return json.dumps({"old": self.old, "new": self.new, "state": self.state}).encode()

    def stopped(self, locations: Locations) -> TryAgain:
        """Return the error that the renaming has not ended."""
        fix = f"open the dataset in Python to end it, or run `wkpipe downsample {locations.dataset}`"
        return TryAgain(f"a call that gives layer {self.old} the name {self.new} has not ended", where=locations.dataset, fix=fix)


def renaming_note(locations: Locations) -> StoredObject:
    """Return the object of the note."""
    return StoredObject(locations.inside, _NOTE)


def check_no_renaming(locations: Locations) -> None:
    """Refuse to read a dataset of which a layer is between two names.

    Raises:
        TryAgain: a layer is.
        MetadataError: the note of that is broken.
    """
    if (found := Renaming.load(locations)) is not None:
        raise found.stopped(locations)
