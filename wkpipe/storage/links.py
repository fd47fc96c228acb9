"""Symbolic links, which a layer may have in the place of a mag that is elsewhere."""

from __future__ import annotations

from wkpipe.storage import disk, names
from wkpipe.storage.place import Place


def make_link(place: Place, key: str, target: str) -> None:
    """Make a link durably, and the directory that it is in; one that has the same target already stays.

    Raises:
        NotWritable: something else has the name, or the place has no links.
    """
    link = place.path(key)
    disk.make_directory(link.parent)
    names.take_link(link, target)
    disk.sync_directory(link.parent)
