"""Change the attachments of a layer: note, copy, link, rename and remove them.

A copy is made in a scratch directory, gets its name when all has been checked, and is in the properties right after that; see
`own_attachments`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.dataset.arriving_mag import path_from
from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat
from wkpipe.dataset.attachment_kinds import KINDS
from wkpipe.dataset.errors import AttachmentExists
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.own_attachments import check_clear, copied_files, forget_noted, in_the_way, key_of, move_in
from wkpipe.errors import InputRefused
from wkpipe.metadata.attachments import AttachmentProperties, directory_of
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.runs.permission import check_all_removable
from wkpipe.storage.copying import bytes_to_copy
from wkpipe.storage.links import make_link
from wkpipe.storage.new_directory import write_files
from wkpipe.storage.place import Place
from wkpipe.storage.removal import remove_older
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.places import place_at


def attachment_of(layer: LiveLayer, kind: str, entry: AttachmentProperties) -> Attachment:
    """Return an attachment as users see it."""
    path = layer.live.stored().attachment_path(entry.path)
    return KINDS[kind](entry.name, path if "://" in path else Path(path), AttachmentDataFormat.known(entry.data_format))


def attach(layer: LiveLayer, attachment: Attachment, name: str) -> Attachment:
    """Add an attachment that stays where it is.

    Raises:
        AlreadyExists: the layer has one of that kind and name.
    """
    path = path_from(layer.live.fixed.data, str(attachment.path))
    entry = AttachmentProperties(name, path, str(attachment.data_format))
    layer.live.update_layer(layer.name, lambda properties: with_attachment(properties, attachment.container_name, entry))
    return attachment_of(layer, attachment.container_name, entry)


def attach_copy(layer: LiveLayer, attachment: Attachment) -> Attachment:
    """Copy an attachment into the layer's directory and add it.

    Raises:
        AlreadyExists: the layer has one of that kind and name, or other data are in its place.
        InputRefused: it is at a URL, or contains a link.
        UnreadableInput: there is no such file.
        TryAgain: a run works on the dataset.
    """
    layer.live.check_free()
    if isinstance(attachment.path, str):
        raise InputRefused(f"{attachment.path} is remote and is not copied", fix="use add_attachment_as_ref")
    source = Path(place_at(attachment.path).real())
    return _attach_own(layer, attachment, bytes_to_copy(source), copied_files(source))


def attach_made(layer: LiveLayer, attachment: Attachment, files: Sequence[tuple[str, bytes]]) -> Attachment:
    """Write the files of a new attachment into the layer's directory and add it; its path does not count.

    Raises:
        AlreadyExists: the layer has one of that kind and name, or other data are in its place.
        NotWritable, TryAgain: the dataset is read-only, or a run works on it.
    """
    layer.live.check_free()

    def make(place: Place) -> str:
        write_files(place, files)
        return ""

    return _attach_own(layer, attachment, sum(len(content) for _, content in files), make)


def _attach_own(layer: LiveLayer, attachment: Attachment, size: int, make: Callable[[Place], str]) -> Attachment:
    """Add an attachment whose files `make` writes into a place, from where they are moved into the layer's directory.

    `make` returns the stamp of what they are copied from.
    """
    live, at, kind = layer.live, layer.live.fixed, attachment.container_name
    key = key_of(attachment)
    entry = own_entry(layer.name, attachment)
    live.file.check(live.current().with_layer(with_attachment(layer.properties, kind, entry)))
    check_clear(layer, key)
    at.data.check_room(size)
    with DatasetLease(at) as lease:
        scratch = at.data_scratch(lease.epoch)
        remove_older(scratch)
        copy = place_at(scratch.new_path()).writing(scratch)

        def change(properties: DatasetProperties) -> DatasetProperties:
            changed = properties.with_layer(with_attachment(properties.layer(layer.name), kind, entry))
            check_clear(layer, key)
            move_in(layer, key, copy, source, scratch)
            return changed

        try:
            source = make(copy)
            live.update(change)
            forget_noted(layer, [key])
        finally:
            scratch.remove()
    return attachment_of(layer, kind, entry)


def own_entry(layer: str, attachment: Attachment) -> AttachmentProperties:
    """Return the entry of an attachment whose files are in the directory of a layer; at a URL, it stays there."""
    path = attachment.path if isinstance(attachment.path, str) else f"./{layer}/{key_of(attachment)}"
    return AttachmentProperties(attachment.name, path, str(attachment.data_format))


def attach_link(layer: LiveLayer, attachment: Attachment, is_relative: bool) -> Attachment:
    """Add an attachment that stays where it is, with a link to it in the layer's directory.

    Raises:
        AlreadyExists: the layer has one of that kind and name, or other data are in its place.
        InputRefused: it is at a URL.
    """
    if isinstance(attachment.path, str):
        raise InputRefused(f"{attachment.path} is remote, and no link leads there", fix="use add_attachment_as_ref")
    live, data, kind = layer.live, layer.live.fixed.data, attachment.container_name
    key, real = key_of(attachment), place_at(attachment.path).real()
    entry = AttachmentProperties(attachment.name, os.path.relpath(real, data.path()) if is_relative else real, str(attachment.data_format))
    directory = layer.place.child(directory_of(kind))
    target = os.path.relpath(real, directory.path()) if is_relative else real

    def change(properties: DatasetProperties) -> DatasetProperties:
        changed = properties.with_layer(with_attachment(properties.layer(layer.name), kind, entry))
        live.file.check(changed)
        data.refuse_links(layer.name, f"{layer.name}/{directory_of(kind)}")
        is_done = layer.place.is_link(key) and layer.place.real(key) == real
        if not is_done and (layer.place.is_link(key) or layer.place.has(key)):
            raise in_the_way(layer, key)
        layer.place.check_writable(fix="ask its owner for the right to write it (as with chmod g+w)")
        make_link(layer.place, key, target)
        return changed

    live.update(change)
    return attachment_of(layer, kind, entry)


def attach_found(layer: LiveLayer) -> None:
    """Add the files that older versions of WEBKNOSSOS find by their names in the layer's directory, unless they are noted already."""

    def change(properties: LayerProperties) -> LayerProperties:
        stored = layer.live.stored()
        known = {stored.attachment_path(entry.path) for _, entry in properties.attachments.each()}
        for kind, key in _found(layer.place):
            if layer.place.real(key) not in known:
                data_format = key.rpartition(".")[2]
                properties = with_attachment(properties, kind, AttachmentProperties(Path(key).stem, f"./{layer.name}/{key}", data_format))
        return properties

    layer.live.update_layer(layer.name, change)


def _found(place: Place) -> Iterator[tuple[str, str]]:
    """Yield kind and key of the files in a layer's directory that have the name of an attachment."""
    for kind in ("meshes", "agglomerates", "connectomes"):
        for name in sorted(place.names(kind)):
            if name.endswith(".hdf5") and not place.is_directory(f"{kind}/{name}"):
                yield kind, f"{kind}/{name}"
    for kind, key in (("segment_index", "segmentIndex/segmentIndex.hdf5"), ("cumsum", "agglomerates/cumsum.json")):
        if place.has(key) and not place.is_directory(key):
            yield kind, key


def rename(layer: LiveLayer, attachment: Attachment, name: str) -> Attachment:
    """Give an attachment another name; its file keeps its own.

    Raises:
        AlreadyExists: the layer has one of that kind and name.
        InputRefused: it is not an attachment of the layer.
    """
    renamed = _entry(layer, layer.properties, attachment)

    def change(properties: LayerProperties) -> LayerProperties:
        old = _entry(layer, properties, attachment)
        renamed = AttachmentProperties(name, old.path, old.data_format, old.extra)
        with_attachment(_other(properties, attachment, old, None), attachment.container_name, renamed)  # refuses taken names
        return _other(properties, attachment, old, renamed)

    layer.live.update_layer(layer.name, change)
    return attachment_of(layer, attachment.container_name, AttachmentProperties(name, renamed.path, renamed.data_format))


def detach(layer: LiveLayer, attachment: Attachment) -> None:
    """Remove an attachment: first from the properties, then its files if they are in the layer's directory and nothing else uses them.

    Raises:
        InputRefused: it is not an attachment of the layer.
        TryAgain: a run works on the dataset.
    """
    live = layer.live
    live.check_free()
    entry = _entry(layer, layer.properties, attachment)
    gone = _removable(layer, attachment, entry)
    check_all_removable(gone)
    live.update_layer(layer.name, lambda properties: _other(properties, attachment, _entry(layer, properties, attachment), None))
    for place in gone:
        place.writing(live.scratch()).remove_below()


def with_attachment(layer: LayerProperties, kind: str, entry: AttachmentProperties) -> LayerProperties:
    """Return a layer with another attachment.

    Raises:
        AlreadyExists: it has one of that kind and name.
    """
    if any(other == kind and found.name == entry.name for other, found in layer.attachments.each()):
        raise AttachmentExists(f"layer {layer.name} has {entry.name} in its {kind} already", fix="choose another name, or delete it first")
    return replace(layer, attachments=layer.attachments.with_added(kind, entry))


def _other(layer: LayerProperties, attachment: Attachment, old: AttachmentProperties, new: AttachmentProperties | None) -> LayerProperties:
    return replace(layer, attachments=layer.attachments.with_other(attachment.container_name, old, new))


def _entry(layer: LiveLayer, properties: LayerProperties, attachment: Attachment) -> AttachmentProperties:
    """Return the entry of an attachment of the layer."""
    for kind, entry in properties.attachments.each():
        if kind == attachment.container_name and attachment_of(layer, kind, entry) == attachment:
            return entry
    raise InputRefused(f"{attachment.name} is not an attachment of layer {layer.name}", fix="take one of its attachments")


def _removable(layer: LiveLayer, attachment: Attachment, entry: AttachmentProperties) -> list[Place]:
    """Return what is removed with an attachment: its files in the layer's directory, unless another one names them, or the link there."""
    if "://" in entry.path:
        return []
    stored, data, kind = layer.live.stored(), layer.live.fixed.data, attachment.container_name
    path = Path(stored.attachment_path(entry.path))
    own = data.path() / layer.name / directory_of(kind)
    if path.parent == own:
        named = [stored.attachment_path(other.path) for each in stored.properties.layers for _, other in each.attachments.each()]
        return [data.child(str(path.relative_to(data.path())))] if named.count(str(path)) == 1 else []
    link = layer.place.child(key_of(attachment))
    is_link_to_it = link.is_link() and link.real() == str(path) and place_at(own).real() == str(own)
    return [link] if is_link_to_it else []
