"""FilesToSend: find the files of a dataset, or of the part of it to upload.

They are datasource-properties.json and all files below the paths of mags and attachments that it names. All others
stay: state directories, notes, hidden files, and targets of links outside of the dataset.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

import google_crc32c

from wkpipe.errors import InputRefused, MagNotFound, one_line
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.server.upload.ledger_check import check_against_ledger
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.server.upload.walk import FileWalk
from wkpipe.storage.place import Place
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.places import place_at

_REMOTE = re.compile(r"(https?|s3|gs)://", re.IGNORECASE)


@dataclass(frozen=True)
class DatasetPart:
    """A part of a dataset: layers by name (none = all), mags between two, inclusive."""

    layers: tuple[str, ...] = ()
    finest_mag: Mag | None = None
    coarsest_mag: Mag | None = None

    @property
    def is_all(self) -> bool:
        return not self.layers and self.finest_mag is None and self.coarsest_mag is None

    def has(self, mag: Mag) -> bool:
        return (self.finest_mag is None or self.finest_mag <= mag) and (self.coarsest_mag is None or mag <= self.coarsest_mag)

    def of(self, properties: DatasetProperties) -> DatasetProperties:
        """Return the properties of this part of a dataset.

        Raises:
            LayerNotFound: there is no such layer.
            MagNotFound: a layer has no mag of the part.
        """
        wanted = {properties.layer(name).name for name in self.layers} or {layer.name for layer in properties.layers}
        parts = []
        for layer in properties.layers:
            if layer.name not in wanted:
                continue
            gone = [entry.mag for entry in layer.mags if not self.has(entry.mag)]
            if layer.mags and len(gone) == len(layer.mags):
                there = ", ".join(str(entry.mag) for entry in layer.mags)
                raise MagNotFound(
                    f"it has no mag from {self.finest_mag or 'the finest'} to {self.coarsest_mag or 'the coarsest'}",
                    where=f"layer {layer.name}",
                    fix=f"choose among {there}, or leave the layer out with --layer-name",
                )
            for mag in gone:
                layer = layer.without_mag(mag)
            parts.append(layer)
        view = properties.default_view_configuration
        if view is not None:
            names = {layer.name for layer in parts}
            layers = None if view.layers is None else {name: each for name, each in view.layers.items() if name in names}
            order = None if view.color_layer_order is None else tuple(name for name in view.color_layer_order if name in names)
            view = replace(view, layers=layers, color_layer_order=order)
        return replace(properties, layers=tuple(parts), default_view_configuration=view)


@dataclass(frozen=True)
class FilesToSend:
    """The files to send, the properties last; notices about files that are left out; the dataset's name."""

    place: Place
    name: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def select(dataset: StoredDataset, part: DatasetPart) -> FilesToSend:
    """Find the files of a part of a dataset, and compare them with the ledger.

    Raises:
        InputRefused: the part is empty, is on another server, or has a path or a file that cannot be sent.
        IntegrityError: files differ from their records in the ledger.
    """
    properties = part.of(dataset.properties)
    place = place_at(dataset.locations.dataset)
    walk = FileWalk(place)
    for layer in properties.layers:
        for entry in layer.mags:
            walk.add(_mag_path(dataset, layer, entry), f"layer {layer.name}, mag {entry.mag}")
            check_against_ledger(dataset, layer, entry)
        for _, attachment in layer.attachments.each():
            where = f"layer {layer.name}, attachment {attachment.name}"
            walk.add(_inside(attachment.path, where), where)
    if not walk.files:
        raise InputRefused("there is nothing to upload: no layer has a file", where=place.path())
    walk.add(PROPERTIES_FILE_NAME, "the dataset")  # refuses it if it is a link that leads out
    described = _described(place, dataset, properties, part)
    walk.files.pop(PROPERTIES_FILE_NAME, None)
    return FilesToSend(place, dataset.properties.name, (*walk.files.values(), described), tuple(walk.notices()))


def _described(place: Place, dataset: StoredDataset, properties: DatasetProperties, part: DatasetPart) -> SourceFile:
    """Return the properties file to send: unchanged, unless only a part is sent."""
    file, there = place.path(PROPERTIES_FILE_NAME), place.content(PROPERTIES_FILE_NAME, MAX_BYTES)
    if there is None or DatasetProperties.from_bytes(there, file) != dataset.properties:
        raise InputRefused(f"{file} is being changed", fix="wait until the dataset is finished")
    content = there if part.is_all else properties.to_bytes()
    return SourceFile(PROPERTIES_FILE_NAME, len(content), google_crc32c.value(content), content, google_crc32c.value(there))


def _mag_path(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> str:
    """Return the path of a mag relative to the dataset."""
    path = f"{layer.name}/{dataset.mag_place(layer, entry).path().name}" if entry.path is None else entry.path
    return _inside(path, f"layer {layer.name}, mag {entry.mag}")


def _inside(path: str, where: str) -> str:
    """Return a path in its shortest form.

    Raises:
        InputRefused: it is on a server, absolute, leads out of the dataset, or into a hidden directory.
    """
    normal = posixpath.normpath(path)
    if _REMOTE.match(path):
        raise InputRefused(
            f"it is at {one_line(path, 200)}, not in the dataset, and cannot be uploaded",
            where=where,
            fix="leave it out with --layer-name, --finest-mag or --coarsest-mag, or put a copy in its place",
        )
    if "://" in path or normal.startswith(("/", "..")) or normal == ".":
        raise InputRefused(f"the path {one_line(path, 200)} leads out of the dataset", where=where, fix="put a copy into the dataset")
    if any(name.startswith(".") for name in normal.split("/")):
        raise InputRefused(f"the path {one_line(path, 200)} is hidden", where=where, fix="move it to a directory without a dot")
    return normal
