"""The group files of Zarr and OME-NGFF: they let other tools open a dataset and its layers as multiscale images.

OME-NGFF wants the axes t, c, z, y, x; layers have c, x, y, z on disk, and that is what is written: the viewer and the
reference package rely on it. Neither is a translation given, although the voxels of coarser mags lie half a voxel
further in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import WkpipeError
from wkpipe.formats.array_json import MAX_METADATA_BYTES
from wkpipe.formats.base import DataFormat
from wkpipe.formats.open_files import Damage, read_whole
from wkpipe.geometry import SPATIAL_AXES, Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage.commit import Scratch, replace_file

_AXIS_TYPES: Final = {"c": {"type": "channel"}, "t": {"type": "time"}} | {
    axis: {"type": "space", "unit": "nanometer"} for axis in SPATIAL_AXES
}
_GROUP3: Final[dict[str, Any]] = {"zarr_format": 3, "node_type": "group"}
_GROUP2: Final[dict[str, Any]] = {"zarr_format": 2}  # an integer: zarr-python refuses the text that some tools write


def group_files(properties: DatasetProperties) -> dict[str, bytes]:
    """Return the group files of a dataset and all its Zarr layers: content by path relative to the dataset.

    Every mag is taken to lie in its layer's directory; see `refresh_group_files` for what is really there.
    """
    files = {path: encoded(content) for path, content in dataset_groups(properties).items()}
    for layer in properties.layers:
        mags = {mag_directory(layer, entry): entry.mag for entry in layer.mags}
        files |= {f"{layer.name}/{path}": encoded(content) for path, content in layer_groups(layer, properties.voxel_size, mags).items()}
    return files


def dataset_groups(properties: DatasetProperties) -> dict[str, dict[str, Any]]:
    """Return the group files of the dataset's directory: JSON objects by file name."""
    formats = {layer.data_format for layer in properties.layers}
    files: dict[str, dict[str, Any]] = {}
    if DataFormat.ZARR3 in formats:
        files["zarr.json"] = dict(_GROUP3)
    if DataFormat.ZARR in formats:
        files[".zgroup"] = dict(_GROUP2)
    return files


def layer_groups(layer: LayerProperties, voxel_size: VoxelSize, mags: Mapping[str, Mag]) -> dict[str, dict[str, Any]]:
    """Return the group files of a layer's directory: JSON objects by file name; `mags` is by directory name."""
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
    """Return the name that a mag's directory has in its layer's directory, if it lies there."""
    return inner_directory(layer, entry) or str(entry.mag)


def inner_directory(layer: LayerProperties, entry: MagProperties) -> str | None:
    """Return the name of a mag's directory if its path is plainly ``./<layer>/<name>``, else None."""
    parts = (entry.path or "").removeprefix("./").split("/")
    return parts[1] if len(parts) == 2 and parts[0] == layer.name and parts[1] not in ("", ".", "..") else None


def encoded(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a group file."""
    return json.dumps(content, indent=4).encode()


# -- writing --------------------------------------------------------------------------------------------------------


def refresh_group_files(root: Path, properties: DatasetProperties, scratch: Scratch) -> list[Path]:
    """Bring the group files of a dataset's directory up to date and return those that were written.

    Layers without a directory, or with one that lies outside of the dataset, are left alone; so is a directory that
    is an array itself. Keys and attributes that an existing file has beyond ours stay. Only files whose content
    differs are written.

    Raises:
        NotWritable: the dataset is read-only, or the disk is full.
    """
    written = []
    for path, content in outdated_group_files(root, properties):
        replace_file(path, encoded(content), scratch)
        written.append(path)
    return written


def outdated_group_files(root: Path, properties: DatasetProperties) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the group files that are missing or do not say what the properties say, with what they should; see `refresh_group_files`."""
    yield from _outdated(root, dataset_groups(properties))
    for layer in properties.layers:
        directory = root / layer.name
        if layer.data_format in (DataFormat.ZARR, DataFormat.ZARR3) and _lies_in(directory, root):
            mags = {name: entry.mag for entry in layer.mags if (name := _directory_on_disk(directory, layer, entry))}
            yield from _outdated(directory, layer_groups(layer, properties.voxel_size, mags))


def _lies_in(directory: Path, root: Path) -> bool:
    return directory.is_dir() and directory.resolve().parent == root.resolve()


def _directory_on_disk(directory: Path, layer: LayerProperties, entry: MagProperties) -> str | None:
    """Return a mag's directory name; a mag that lies elsewhere has one only where a link of its name leads there."""
    if (name := inner_directory(layer, entry)) is not None:
        return name
    for name in (str(entry.mag), entry.mag.to_long_str()):
        if (directory / name).is_dir():
            return name
    return None


def _outdated(directory: Path, groups: Mapping[str, dict[str, Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
    if _is_array(directory):
        return
    for name, content in groups.items():
        path = directory / name
        if path.is_dir():  # a layer of that name, which another tool made
            continue
        old = _read_object(path)
        new = _overlaid(old, content)
        if new != old or not _same_types(new, old):
            # A copy of all metadata below, kept by some tools, does not know of the new mags.
            new.pop("consolidated_metadata", None)
            yield path, new


def _is_array(directory: Path) -> bool:
    return (directory / ".zarray").exists() or _read_object(directory / "zarr.json").get("node_type") == "array"


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty where there is none, so that it is written anew."""
    try:
        content = json.loads(read_whole(str(path), MAX_METADATA_BYTES) or b"")
    except (Damage, WkpipeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _overlaid(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return our content with what the old one has beyond it; of ``multiscales``, the first entry is ours."""
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
    # Python holds 2 == 2.0 == True for equal; zarr-python does not.
    return type(new.get("zarr_format")) is type(old.get("zarr_format"))
