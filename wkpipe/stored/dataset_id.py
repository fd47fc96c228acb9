"""The random id of a dataset: in a file of the dataset, with a copy in a state that is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.metadata.json_node import JsonNode
from wkpipe.storage.place import Place
from wkpipe.storage.stored_object import StoredObject

FILE_NAME: Final = "dataset.json"


def id_in(place: Place) -> str:
    """Return the dataset id in one of wkpipe's places; empty if there is none."""
    try:
        node = JsonNode.read(StoredObject(place, FILE_NAME))
    except (MetadataError, UnreadableInput):
        return ""
    found = node.value.get("id") if node is not None and isinstance(node.value, dict) else None
    return found if isinstance(found, str) and found.isalnum() and len(found) <= 64 else ""


def state_of(states: Place, key: str, inside: Place) -> Path:
    """Return the path of the state of a dataset in a place of many: that of `key`, unless it belongs to another dataset.

    `inside` is wkpipe's place in the dataset. Another dataset may have been at the same path before.
    """
    own, known = id_in(inside), id_in(states.child(key))
    return states.path(f"{key}-{own[:12]}" if own and known and own != known else key)
