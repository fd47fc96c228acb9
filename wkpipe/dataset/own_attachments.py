"""The files of attachments in the directory of their layer: copied beside it, and moved there when they are complete.

A note in the state names them until they are in the properties, so that a repeated call may take them as they are, or replace them.
It has the stamps of source and copy: files that somebody else has put there meanwhile are neither taken nor replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat
from wkpipe.dataset.errors import AttachmentExists
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.errors import TryAgain
from wkpipe.metadata.attachments import directory_of
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.runs.permission import check_all_removable
from wkpipe.storage.copying import copy_all, stamp_of_all
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.places import place_at

_UNKNOWN: Final = ("", "")


def key_of(attachment: Attachment) -> str:
    """Return where an attachment's files are put in the layer's directory."""
    ending = attachment.data_format.ending if isinstance(attachment.data_format, AttachmentDataFormat) else ""
    return f"{directory_of(attachment.container_name)}/{attachment.name}{ending}"


def in_the_way(layer: LiveLayer, key: str) -> AttachmentExists:
    """Return the error that there is something else in the place of an attachment."""
    what = f"{layer.place.path(key)} exists but is not an attachment"
    return AttachmentExists(what, where=f"layer {layer.name}", fix="move it away, or remove it")


def check_clear(layer: LiveLayer, key: str) -> None:
    """Refuse to replace anything but the copy of a call that was interrupted."""
    live, target = layer.live, layer.place.child(key)
    live.fixed.data.refuse_links(layer.name, f"{layer.name}/{key.partition('/')[0]}", f"{layer.name}/{key}")
    if target.has(""):
        stamp = _noted(layer).get(key, (None, None))[1]
        if stamp is None or (stamp and stamp != stamp_of_all(target.path())) or _is_used(layer, target):
            raise in_the_way(layer, key)
    check_all_removable((target,))


def _is_used(layer: LiveLayer, target: Place) -> bool:
    """True if a layer of the dataset has an attachment in a place."""
    stored = layer.live.stored()
    entries = (entry for each in stored.properties.layers for _, entry in each.attachments.each())
    return any(stored.attachment_path(entry.path) == target.real() for entry in entries)


def copied_files(source: Path) -> Callable[[Place], str]:
    """Return a function that copies an attachment's files to a place, and returns the stamp of the source."""

    def copy(place: Place) -> str:
        stamp = stamp_of_all(source)
        copy_all(source, place.path())
        if stamp_of_all(source) != stamp:
            raise TryAgain("it changed while it was copied", where=source, fix="call again")
        return stamp

    return copy


def move_in(layer: LiveLayer, key: str, copy: Place, source: str, scratch: Scratch) -> None:
    """Give the files of an attachment their place; the caller has checked that it is clear.

    Args:
        copy: where the files are now, with the writer's scratch.
        source: the stamp of what they were copied from; empty if there is none.
        scratch: that of the writer.
    """
    target, at = layer.place.child(key), layer.live.fixed
    target.writing(scratch).remove_below()  # before the note, which will vouch for what is there
    noted = _noted(layer) | {key: (source, stamp_of_all(copy.path()))}
    at.attaching(layer.name).put(json.dumps(noted).encode(), Scratch(at.temporary))
    copy.move_to(target)


def put_in_place(layer: LiveLayer, sources: Mapping[str, Path], scratch: Scratch) -> None:
    """Copy files of attachments, by their keys, into the layer's directory; those that an interrupted call has copied stay.

    Raises:
        AlreadyExists: there is something else in the place of one.
        TryAgain: one changes while it is copied.
        NotWritable: the disk refuses it.
    """
    for key, source in sources.items():
        check_clear(layer, key)
        if layer.place.has(key) and _noted(layer)[key][0] == stamp_of_all(source):
            continue
        copy = place_at(scratch.new_path()).writing(scratch)
        stamp = copied_files(source)(copy)
        move_in(layer, key, copy, stamp, scratch)


def forget_noted(layer: LiveLayer, keys: Collection[str]) -> None:
    """Remove attachments from the note: they are in the properties."""
    at, noted = layer.live.fixed, _noted(layer)
    rest = {key: stamps for key, stamps in noted.items() if key not in keys}
    if rest:
        at.attaching(layer.name).put(json.dumps(rest).encode(), Scratch(at.temporary))
    elif at.attaching(layer.name).is_there():
        at.attaching(layer.name).remove(Scratch(at.temporary))


def _noted(layer: LiveLayer) -> dict[str, tuple[str, str]]:
    """Return the stamps of source and copy of each attachment that the note names; empty ones if they are not known."""
    try:
        content = layer.live.fixed.attaching(layer.name).content(MAX_BYTES)
        values = {} if content is None else json.loads(content)
    except (TooLarge, ValueError, RecursionError):
        return {}
    if isinstance(values, str):  # of an earlier version
        return {values: _UNKNOWN}
    if not isinstance(values, dict):
        return {}
    pairs = {key: tuple(stamps) for key, stamps in values.items() if isinstance(stamps, list) and len(stamps) == 2}
    return {key: (str(source), str(copy)) for key, (source, copy) in pairs.items()}
