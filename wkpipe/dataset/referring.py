"""Layers that become layers of a dataset by reference, by a link, or because their arrays are in its directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from wkpipe.dataset.arrival import check_finished, forget_records
from wkpipe.dataset.arriving_mag import ArrivingMag, format_at, path_from
from wkpipe.dataset.errors import DatasetExists, NotADatasetDirectory, check_type
from wkpipe.dataset.fitting import grow_array
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.new_layer import new_layer_properties
from wkpipe.dataset.referenced import LayerSource, as_reference, referenced_layer
from wkpipe.dataset.stored_boxes import stored_boxes
from wkpipe.errors import AlreadyExists, InputRefused, WrongGeometry
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.metadata.layer_names import check_new_layer_name
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.ome import dataset_groups, encoded
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.storage.links import make_link
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import Lookout
from wkpipe.stored.locations import STATE_NAME

_FIX: Final = "ask its owner for the right to write it (as with chmod g+w)"


def new_reference(live: LiveProperties, source: LayerSource, name: str | None) -> LayerProperties:
    """Return the entry of a new layer of a dataset that refers to another one.

    Raises:
        InputRefused: there is no such layer, the name is not possible, or an array cannot be read.
    """
    stored, layer = referenced_layer(source)
    return _with_paths(_named(as_reference(stored, layer), name), lambda path: path_from(live.fixed.data, path))


def _named(layer: LayerProperties, name: str | None) -> LayerProperties:
    check_type("new_layer_name", name, str, may_lack=True)
    wanted = layer.name if name is None else name
    check_new_layer_name(wanted)
    return replace(layer, name=wanted)


def link_layer(live: LiveProperties, source: LayerSource, is_relative: bool, name: str | None) -> str:
    """Add a layer whose directory is a link to that of another one, and return its name.

    Raises:
        AlreadyExists: the dataset has such a layer, or other data are in its place.
        InputRefused: see `new_reference`.
    """
    stored, layer = referenced_layer(source)
    directory = stored.locations.data.child(layer.name)
    is_empty = not layer.mags and not stored.locations.data.has(layer.name)  # the first mag of the layer will make its directory
    if not is_empty and not directory.is_directory():
        raise InputRefused(f"layer {layer.name} has no directory", where=directory.path(), fix="use add_layer_as_ref")
    real, data = directory.real(), live.fixed.data
    new = _named(as_reference(stored, layer), name)
    if is_relative:
        new = _with_paths(new, lambda path: os.path.relpath(path, data.path()))

    def change(properties: DatasetProperties) -> DatasetProperties:
        changed = properties.with_new_layer(new)
        live.file.check(changed)
        is_done = data.is_link(new.name) and data.real(new.name) == real
        if not is_done and (data.is_link(new.name) or data.has(new.name)):
            raise AlreadyExists(f"{data.path(new.name)} exists but is not a layer of the dataset", fix="move it away, or remove it")
        data.check_writable(fix=_FIX)
        make_link(data, new.name, os.path.relpath(real, data.path()) if is_relative else real)
        return changed

    live.update(change)
    return new.name


def adopt_layer(
    live: LiveProperties, name: str, category: LayerCategory | str, data_format: DataFormat | str | None, given: Mapping[str, Any]
) -> None:
    """Add a layer whose arrays are in the dataset's directory already; `given` are values of the new layer, or None.

    Raises:
        AlreadyExists: the dataset has such a layer.
        ExistsDifferently: an array differs from what was given, or from the first one.
        InputRefused: there is no array, a value is not possible, or a run has begun to make one of the arrays.
        TryAgain: a run works on the dataset.
    """
    check_type("layer_name", name, str)
    check_new_layer_name(name)
    live_layer = LiveLayer(live, name)

    def change(properties: DatasetProperties) -> DatasetProperties:
        if properties.has_layer(name):
            properties.with_new_layer(properties.layer(name))  # refuses it
        layer = _found_layer(live_layer, category, data_format, given)
        changed = properties.with_new_layer(layer)
        live.file.check(changed)
        for entry in layer.mags:
            check_finished(live_layer, entry.mag)
        for entry in layer.mags:
            forget_records(live_layer, entry.mag)
            grow_array(live, changed, layer, entry.mag)
        return changed

    live.check_free()
    with Lookout.begin(live.fixed).refusals_checked():
        live.update(change)


def _found_layer(
    live: LiveLayer, category: LayerCategory | str, data_format: DataFormat | str | None, given: Mapping[str, Any]
) -> LayerProperties:
    """Return the entry of the layer that the arrays in a directory are."""
    directories = _mag_directories(live)
    finest = live.place.child(directories[min(directories)])
    kind = data_format or format_at(finest)
    if kind is None:
        raise InputRefused("there is no array", where=finest.path())
    plain = new_layer_properties(
        live.name, category, dtype=None, num_channels=None, data_format=kind, box=None, largest_segment_id=None, mappings=None
    )
    first = ArrivingMag.of_array(finest, plain, min(directories), "")
    found = {"dtype": first.dtype, "num_channels": first.num_channels}
    values = {**given, **{key: value for key, value in found.items() if given[key] is None}}
    layer = new_layer_properties(live.name, category, data_format=kind, box=None, **values)
    for mag, directory in directories.items():
        layer = ArrivingMag.of_array(live.place.child(directory), layer, mag, f"./{live.name}/{directory}").joined(layer, False)
    stored = StoredDataset(live.live.fixed, live.live.current().with_layer(layer))
    for entry in layer.mags:
        for box in stored_boxes(stored.open_mag(layer, entry), layer.bounding_box().axes, Channels.of(layer, entry), entry.mag):
            layer = layer.with_bounding_box(layer.bounding_box().extended_by(box))
    return layer


def _mag_directories(layer: LiveLayer) -> dict[Mag, str]:
    """Return the directories that have names of mags, from the finest mag on."""
    found: dict[Mag, str] = {}
    for name in sorted(layer.place.names(), key=len):
        try:
            mag = Mag(name)
        except WrongGeometry:
            continue
        if name in (str(mag), mag.to_long_str()) and layer.place.is_directory(name):
            found.setdefault(mag, name)
    if not found:
        raise InputRefused("there is no mag", where=layer.directory, expected="directories such as 1 and 2-2-1, with an array in each")
    return dict(sorted(found.items(), key=lambda item: item[0].to_tuple()))


def refer_to_all(live: LiveProperties, path: Path, name: str | None, is_relative: bool, ignored: Sequence[str]) -> None:
    """Create a dataset whose layers refer to those of another one.

    Raises:
        DatasetExists, NotADatasetDirectory: something else is in its place.
        LayerNotFound: a layer to leave out does not exist.
        MetadataError: an array is missing, or differs from the properties.
    """
    check_type("name", name, str, may_lack=True)
    check_type("layers_to_ignore", ignored, list, tuple, set)
    stored = live.stored()
    left_out = {stored.layer(layer).name for layer in ignored}
    layers = [as_reference(stored, layer) for layer in stored.properties.layers if layer.name not in left_out]
    new = LiveProperties(path.absolute(), False)
    place = new.fixed.data
    if place.has("") and not place.is_directory():
        raise NotADatasetDirectory(f"{path} is a file, but a dataset is a directory")
    if is_relative:
        layers = [_with_paths(layer, lambda real: os.path.relpath(real, place.path())) for layer in layers]
    properties = replace(stored.properties, name=path.absolute().name if name is None else name, layers=tuple(layers))
    with Lookout.begin(new.fixed).refusals_checked():
        # The group files are written first: after a crash, they are there without the properties.
        groups = {name: encoded(content) for name, content in dataset_groups(properties).items()}
        left = {name for name, content in groups.items() if StoredObject(place, name).content(MAX_BYTES) == content}
        if {*place.names()} - {STATE_NAME, *left}:
            raise DatasetExists(f"{path} exists and is not empty", fix="choose another directory")
        new.file.create(properties)


def _with_paths(layer: LayerProperties, path_of: Callable[[str], str]) -> LayerProperties:
    """Return a layer with other paths of all that is not remote."""

    def moved(path: str) -> str:
        return path if "://" in path else path_of(path)

    mags = tuple(replace(entry, path=moved(str(entry.path))) for entry in layer.mags)
    return replace(layer, mags=mags, attachments=layer.attachments.with_paths(moved))
