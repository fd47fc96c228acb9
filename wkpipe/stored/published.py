"""The published marker of a layer: a small file that changes when the layer's data changes.

Rules of Snakemake and of other tools can depend on it. `wkpipe.plan.state.published` defines its content. For a dataset
that is not on a disk, markers will be files in the work directory of the run: a file target must be local.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from wkpipe.storage.place import Place
from wkpipe.storage.proof import Position
from wkpipe.storage.stored_object import StoredObject

PUBLISHED: Final = "published"
SUFFIX: Final = ".json"
LONGEST_STEM: Final = 200


def published_place(store: Place) -> Place:
    """Return the place of the published markers in the state of a dataset."""
    return store.child(PUBLISHED)


def marker_stem(layer: str) -> str:
    """Return the name of a layer's marker without its suffix: the layer's name, quoted so that no tool reads it as a pattern.

    >>> marker_stem("em"), marker_stem("my {layer}")
    ('em', 'my%20%7Blayer%7D')
    """
    stem = quote(layer, safe="")
    if len(stem) <= LONGEST_STEM:
        return stem
    return f"{stem[:100]}-{hashlib.sha256(layer.encode()).hexdigest()[:16]}"


def marker_object(store: Place, layer: str) -> StoredObject:
    """Return the published marker of a layer."""
    return StoredObject(published_place(store), f"{marker_stem(layer)}{SUFFIX}")


def content_of(tokens: Mapping[Position, str]) -> str:
    """Return the digest of a mag's content from the tokens of its units.

    >>> content_of({(0, 1): "b", (0, 0): "a"}) == content_of({(0, 0): "a", (0, 1): "b"}) != content_of({(0, 0): "b", (0, 1): "a"})
    True
    """
    digest = hashlib.sha256()
    for unit in sorted(tokens):
        digest.update(f"{','.join(map(str, unit))} {tokens[unit]}\n".encode())
    return digest.hexdigest()
