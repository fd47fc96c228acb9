"""Attachments that are copied with their layer.

All is checked before the layer is copied. The files of a new layer are copied first, and the attachments become visible with it. A layer
that exists gets those that it lacks when its mags are copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.dataset.attaching import attach, attach_copy, own_entry, with_attachment
from wkpipe.dataset.attachment import Attachment, AttachmentDataFormat, checked_attachment_name
from wkpipe.dataset.attachment_kinds import KINDS
from wkpipe.dataset.copying import copy_layers
from wkpipe.dataset.errors import AttachmentExists
from wkpipe.dataset.executors import RunOptions
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.own_attachments import check_clear, forget_noted, key_of, put_in_place
from wkpipe.errors import WkpipeError
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.wishes.copying import LayerCopies
from wkpipe.storage.copying import bytes_to_copy
from wkpipe.storage.lease import Epoch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.places import place_at


def attachments_to_copy(stored: StoredDataset, layer: LayerProperties) -> list[Attachment]:
    """Return the attachments of a layer, after a check that each can be copied; those at URLs are only referred to.

    Raises:
        InputRefused: a name is not possible, or an attachment contains a link.
        UnreadableInput: the files of one are missing or not readable.
    """
    found: list[Attachment] = []
    for kind, entry in layer.attachments.each():
        try:
            name = checked_attachment_name(entry.name)
            path = stored.attachment_path(entry.path)
            is_remote = "://" in path
            if not is_remote:
                bytes_to_copy(Path(path))
        except WkpipeError as error:
            where = f"layer {layer.name}: {kind}: {error.where or entry.name}"
            raise error.but(where=where, fix="restore or remove the attachment, or pass with_attachments=False") from None
        found.append(KINDS[kind](name, path if is_remote else Path(path), AttachmentDataFormat.known(entry.data_format)))
    return found


def copy_layers_with(
    live: LiveProperties,
    new: DatasetProperties | None,
    layers: Sequence[LayerCopies],
    attachments: Mapping[str, Sequence[Attachment]],
    exists_ok: bool,
    options: RunOptions,
) -> None:
    """Copy layers into a dataset with their attachments, given by layer; see `copy_layers`.

    Raises:
        AlreadyExists: there is something else in the place of an attachment, or two of a layer would have the same place.
        WkpipeError: as `copy_layers`, `put_in_place` and `copy_lacking`.
    """
    arriving = {copies.layer.name: _Arriving(live, copies.layer.name, attachments) for copies in layers if copies.is_new}
    for each in arriving.values():
        each.check_clear()
    wanted = [replace(copies, layer=arriving[copies.layer.name].added_to(copies.layer)) if copies.is_new else copies for copies in layers]

    def first(epoch: Epoch) -> None:
        for each in arriving.values():
            each.copy_files(epoch)

    copy_layers(live, new, wanted, exists_ok, options, first)
    for name, found in attachments.items():
        if name in arriving:
            forget_noted(arriving[name].layer, arriving[name].sources)
        else:
            copy_lacking(LiveLayer(live, name), found)


class _Arriving:
    """The attachments of a layer that does not exist yet."""

    def __init__(self, live: LiveProperties, name: str, attachments: Mapping[str, Sequence[Attachment]]) -> None:
        self.layer = LiveLayer(live, name)
        self._all = attachments.get(name, ())
        local = [each for each in self._all if not isinstance(each.path, str)]
        self.sources = {key_of(each): Path(place_at(Path(each.path)).real()) for each in local}
        if len(self.sources) < len(local):
            keys = [key_of(each) for each in local]
            what = f"two attachments would be copied to {next(key for key in keys if keys.count(key) > 1)}"
            raise AttachmentExists(what, where=f"layer {name}", fix="rename one of them, or pass with_attachments=False")

    def check_clear(self) -> None:
        """Check that the files can be copied into the directory of the layer."""
        for key in self.sources:
            check_clear(self.layer, key)
        if self.sources:
            self.layer.live.fixed.data.check_room(sum(map(bytes_to_copy, self.sources.values())))

    def added_to(self, layer: LayerProperties) -> LayerProperties:
        """Return the entry of the layer with its attachments."""
        for attachment in self._all:
            layer = with_attachment(layer, attachment.container_name, own_entry(layer.name, attachment))
        return layer

    def copy_files(self, epoch: Epoch) -> None:
        """Copy the files, in the run of that epoch."""
        put_in_place(self.layer, self.sources, self.layer.live.fixed.data_scratch(epoch))


def copy_lacking(layer: LiveLayer, attachments: Sequence[Attachment]) -> None:
    """Copy attachments into the directory of a layer; those whose kind and name it has already stay.

    Raises:
        AlreadyExists: other data are in the place of one.
        NotWritable, TryAgain: the dataset is not writable, or a run works on it.
    """
    known = {(kind, entry.name) for kind, entry in layer.properties.attachments.each()}
    for attachment in attachments:
        if (attachment.container_name, attachment.name) in known:
            continue
        if isinstance(attachment.path, str):
            attach(layer, attachment, attachment.name)
        else:
            attach_copy(layer, attachment)
