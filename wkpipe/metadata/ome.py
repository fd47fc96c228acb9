"""Group files of Zarr and OME-NGFF, which let other tools open a dataset and its layers as multiscale images.

OME-NGFF wants the axes t, c, z, y, x. Layers have c, x, y, z on disk, and this order is written: the viewer and the
reference package rely on it. No translation is written either, although the voxels of coarser mags are shifted by half
a voxel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from wkpipe.errors import DamagedShard, WkpipeError
from wkpipe.formats.array_json import MAX_METADATA_BYTES
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import SPATIAL_AXES, Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage.place import Place
from wkpipe.storage.stored_object import StoredObject, put_in_order

_AXIS_TYPES: Final = {"c": {"type": "channel"}, "t": {"type": "time"}} | {
    axis: {"type": "space", "unit": "nanometer"} for axis in SPATIAL_AXES
}
_GROUP3: Final[dict[str, Any]] = {"zarr_format": 3, "node_type": "group"}
_GROUP2: Final[dict[str, Any]] = {"zarr_format": 2}  # an integer: zarr-python refuses the string that some tools write


def group_files(properties: DatasetProperties) -> dict[str, bytes]:
    """Return the group files of a dataset and all its Zarr layers, by path relative to the dataset.

    Every mag is assumed to be in its layer's directory; `refresh_group_files` looks at the directories.
    """
    files = {path: encoded(content) for path, content in dataset_groups(properties).items()}
    for layer in properties.layers:
        mags = {mag_directory(layer, entry): entry.mag for entry in layer.mags}
        files |= {f"{layer.name}/{path}": encoded(content) for path, content in layer_groups(layer, properties.voxel_size, mags).items()}
    return files


def dataset_groups(properties: DatasetProperties) -> dict[str, dict[str, Any]]:
    """Return the group files of the dataset's directory, as JSON objects by file name."""
    formats = {layer.data_format for layer in properties.layers}
    files: dict[str, dict[str, Any]] = {}
    if DataFormat.ZARR3 in formats:
        files["zarr.json"] = dict(_GROUP3)
    if DataFormat.ZARR in formats:
        files[".zgroup"] = dict(_GROUP2)
    return files


def layer_groups(layer: LayerProperties, voxel_size: VoxelSize, mags: Mapping[str, Mag]) -> dict[str, dict[str, Any]]:
    """Return the group files of a layer's directory, as JSON objects by file name; `mags` is by directory name."""
    multiscales = _multiscales(layer.axes, voxel_size.nm, mags)
    if layer.data_format is DataFormat.ZARR3:
        attributes = {"attributes": {"ome": {"version": "0.5", "multiscales": [multiscales]}}} if mags else {}
        return {"zarr.json": _GROUP3 | attributes}
    if layer.data_format is DataFormat.ZARR:
        files: dict[str, dict[str, Any]] = {".zgroup": dict(_GROUP2)}
        if mags:
            files[".zattrs"] = {"multiscales": [{"version": "0.4"} | multiscales]}
        return files
    return {}


def _multiscales(axes: Sequence[str], voxel_nm: tuple[float, float, float], mags: Mapping[str, Mag]) -> dict[str, Any]:
    datasets = []
    for directory, mag in mags.items():
        spatial = dict(zip(SPATIAL_AXES, (nm * factor for nm, factor in zip(voxel_nm, mag, strict=True)), strict=True))
        scale = [spatial.get(axis, 1.0) for axis in axes]
        datasets.append({"path": directory, "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    return {"axes": [{"name": axis} | _AXIS_TYPES.get(axis, {}) for axis in axes], "datasets": datasets}


def mag_directory(layer: LayerProperties, entry: MagProperties) -> str:
    """Return the name of a mag's directory, on the assumption that it is in its layer's directory."""
    return inner_directory(layer, entry) or str(entry.mag)


def inner_directory(layer: LayerProperties, entry: MagProperties) -> str | None:
    """Return the name of a mag's directory if its path is ``./<layer>/<name>``; otherwise None."""
    parts = (entry.path or "").removeprefix("./").split("/")
    return parts[1] if len(parts) == 2 and parts[0] == layer.name and parts[1] not in ("", ".", "..") else None


def encoded(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a group file."""
    return json.dumps(content, indent=4).encode()


# -- writing --------------------------------------------------------------------------------------------------------


def refresh_group_files(place: Place, properties: DatasetProperties) -> list[str]:
    """Bring the group files of a dataset up to date and return the keys of those that were written.

    Layers without a directory, or with one outside the dataset, are left alone; so is a directory that is an array
    itself. Additional keys and attributes in an existing file stay. A file is written only if its content changes.

    Raises:
        NotWritable: the dataset is read-only, or the disk is full.
    """
    outdated = {key: encoded(content) for key, content in outdated_group_files(place, properties)}
    put_in_order([{StoredObject(place, key): content for key, content in outdated.items()}])
    return [*outdated]


def outdated_group_files(place: Place, properties: DatasetProperties) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield key and right content of the group files that are missing or differ from the properties; see `refresh_group_files`."""
    yield from _outdated(place, "", dataset_groups(properties))
    for layer in properties.layers:
        if layer.data_format in (DataFormat.ZARR, DataFormat.ZARR3) and place.is_directory(layer.name) and place.is_inside(layer.name):
            mags = {name: entry.mag for entry in layer.mags if (name := _stored_directory(place, layer, entry))}
            yield from _outdated(place, f"{layer.name}/", layer_groups(layer, properties.voxel_size, mags))


def _stored_directory(place: Place, layer: LayerProperties, entry: MagProperties) -> str | None:
    """Return a mag's directory name; a mag elsewhere has one only if a link of its name leads to it."""
    if (name := inner_directory(layer, entry)) is not None:
        return name
    for name in (str(entry.mag), entry.mag.to_long_str()):
        if place.is_directory(f"{layer.name}/{name}"):
            return name
    return None


def _outdated(place: Place, prefix: str, groups: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    zarr3 = _read_object(place, f"{prefix}zarr.json")
    if zarr3.get("node_type") == "array" or place.has(f"{prefix}.zarray"):
        return
    for name, content in groups.items():
        key = f"{prefix}{name}"
        try:
            place.facts(key)
        except DamagedShard:  # a layer of that name, made by another tool
            continue
        old = zarr3 if name == "zarr.json" else _read_object(place, key)
        new = _overlaid(old, content)
        if new != old or not _same_types(new, old):
            # Some tools keep a copy of all metadata below, which lacks the new mags.
            new.pop("consolidated_metadata", None)
            yield key, new


def _read_object(place: Place, key: str) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is none, so that it is written again."""
    try:
        content = json.loads(place.content(key, MAX_METADATA_BYTES) or b"")
    except (WkpipeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _overlaid(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new content with the additional keys of the old one; only the first entry of ``multiscales`` is replaced."""
    result = dict(new)
    for key, value in old.items():
        if key not in new:
            result[key] = value
        elif isinstance(value, dict) and isinstance(new[key], dict):
            result[key] = _overlaid(value, new[key])
        elif key == "multiscales" and isinstance(value, list) and value:
            first = _overlaid(value[0], new[key][0]) if isinstance(value[0], dict) else new[key][0]
            result[key] = [first, *value[1:]]
    return result


def _same_types(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    # To Python 2 == 2.0 == True; zarr-python keeps them apart.
    return type(new.get("zarr_format")) is type(old.get("zarr_format"))
