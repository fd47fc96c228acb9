"""The content of a layer's published marker: an identity of the layer's data, which changes if the data do, and only then.

A marker describes the layer (box, voxel size, type of voxels) and for each of its mags the layout, with a digest over the
tokens of its units. A token names the content of a unit and stays as long as the content is proven to be the same. So the
marker is the same after a run that only refreshed modification times or folded the ledger, and in a copy of the dataset.
It has no time, no random id and no path. A mag that another tool made is identified by the size and mtime of its files
until wkpipe has a record of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.state.units import units_in_box
from wkpipe.storage.proof import unread
from wkpipe.storage.record import content_token
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import current_ledger, layout_of
from wkpipe.stored.published import content_of, marker_object

VERSION: Final = 1
_LAYER_KEYS: Final = ("category", "elementClass", "numChannels", "dataFormat", "additionalAxes", "coordinateTransformations")
_BOX_KEYS: Final = ("topLeft", "width", "height", "depth")


def layer_marker(
    dataset: StoredDataset, layer: LayerProperties, known: Mapping[Mag, str], specs: Mapping[Mag, ArraySpec] = MappingProxyType({})
) -> bytes:
    """Return the content of a layer's marker; `known` are the contents of mags that need not be looked up, `specs` those of open arrays."""
    values = layer_to_json(layer)
    size = dataset.properties.voxel_size
    marker: dict[str, Any] = {
        "version": VERSION,
        "layer": layer.name,
        **{key: values[key] for key in _LAYER_KEYS if key in values},
        "boundingBox": {key: values["boundingBox"][key] for key in _BOX_KEYS},
        "voxelSize": {"factor": list(size.factor), "unit": size.unit},
        "mags": [_mag(dataset, layer, entry, known, specs) for entry in sorted(layer.mags, key=lambda entry: entry.mag.to_tuple())],
    }
    return json.dumps(marker, indent=1).encode() + b"\n"


def is_marked(dataset: StoredDataset, layer: LayerProperties, known: Mapping[Mag, str]) -> bool:
    """Return True if the marker of a layer exists and matches the present data."""
    found = read_marker(marker_object(dataset.locations.store, layer.name))
    return found is not None and found == layer_marker(dataset, layer, known)


def read_marker(marker: StoredObject) -> bytes | None:
    """Return the bytes of a marker; None if it does not exist or cannot be read."""
    with contextlib.suppress(WkpipeError):
        return marker.content(MAX_BYTES)
    return None


def _mag(
    dataset: StoredDataset, layer: LayerProperties, entry: MagProperties, known: Mapping[Mag, str], specs: Mapping[Mag, ArraySpec]
) -> dict[str, Any]:
    values: dict[str, Any] = {"mag": entry.mag.to_list(), "channelIndex": entry.channel_index}
    if entry.is_remote:  # its address may contain a password
        return values | {"remote": hashlib.sha256(str(entry.path).encode()).hexdigest()}
    if entry.mag in known and (spec := specs.get(entry.mag)) is not None and spec.dtype == layer.dtype:
        return values | {"layout": layout_of(spec), "content": known[entry.mag]}
    try:
        array = dataset.open_mag(layer, entry)
        content = known.get(entry.mag) or content_of(_tokens(dataset, layer, entry.mag, array))
    except WkpipeError:  # the mag is missing or damaged; whoever reads it reports that
        return values | {"content": None}
    return values | {"layout": layout_of(array.spec), "content": content}


def _tokens(dataset: StoredDataset, layer: LayerProperties, mag: Mag, array: StoredArray) -> dict[Position, str]:
    """Return the tokens of a mag's units: from the ledger, or as a run would record them."""
    ledger = current_ledger(dataset.locations, layer.name, mag, array)
    units = units_in_box(layer, mag, array.spec)
    tokens = {unit: record.token for unit in units if (record := ledger.get(unit)) is not None}
    if len(tokens) < len(units):
        stored = set(array.stored_units())
        for unit in units:
            if unit not in tokens:
                tokens[unit] = content_token(unread(array.unit_facts(unit) if unit in stored else None))
    return tokens
