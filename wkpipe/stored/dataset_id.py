"""The random id of a dataset: in a file of the dataset, and a copy of it in a state that is elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.metadata.json_node import JsonNode

FILE_NAME: Final = "dataset.json"


def id_in(directory: Path) -> str:
    """Return the id in a directory of wkpipe's; empty if there is none."""
    try:
        node = JsonNode.read(directory / FILE_NAME)
    except (MetadataError, UnreadableInput, OSError):
        return ""
    found = node.value.get("id") if node is not None and isinstance(node.value, dict) else None
    return found if isinstance(found, str) and found.isalnum() and len(found) <= 64 else ""


def state_of(state: Path, inside: Path) -> Path:
    """Return where the state of a dataset is that is kept elsewhere, in `state` unless that is another dataset's.

    `inside` is wkpipe's directory in the dataset. The one whose state it is may have been at the same path before.
    """
    own, known = id_in(inside), id_in(state)
    return state.with_name(f"{state.name}-{own[:12]}") if own and known and own != known else state
