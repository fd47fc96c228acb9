"""Compare the metadata of a mag's array with the properties of its layer, and with the mag's recipe."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkpipe.errors import WkpipeError
from wkpipe.formats import open_array
from wkpipe.formats.array_json import MAX_METADATA_BYTES
from wkpipe.formats.base import ArraySpec, DataFormat
from wkpipe.formats.converted import ConvertedArray
from wkpipe.formats.wkw import wkw_files
from wkpipe.formats.zarr2 import zarr2_files
from wkpipe.formats.zarr3 import zarr3_files
from wkpipe.geometry import SPATIAL_AXES, Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.ome import outdated_group_files
from wkpipe.plan.spec_json import spec_to_json
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.place import Place
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset, array_corner, box_in_mag
from wkpipe.stored.identity import is_replaced, recorded_identity
from wkpipe.verify.mag import MagOnDisk


def metadata_problems(mag: MagOnDisk) -> Iterator[str]:
    """Yield the differences; the numbers of axes and channels were checked when the array was opened."""
    yield from _dtype(mag)
    yield from _axis_names(mag)
    yield from _cube_length(mag)
    yield from _shape(mag)
    yield from _path(mag)
    yield from _recipe(mag)
    yield from _made_shape(mag)
    yield from _made_channels(mag)


def _dtype(mag: MagOnDisk) -> Iterator[str]:
    if isinstance(mag.array, ConvertedArray):
        stored, layer = mag.array.stored.spec.dtype, mag.layer.dtype
        yield f"found {stored} in the array, expected {layer} per channel as elementClass in datasource-properties.json says"


def _axis_names(mag: MagOnDisk) -> Iterator[str]:
    """Compare with the names of axes in the metadata of a Zarr 3 array."""
    spec = mag.array.spec
    if spec.data_format is not DataFormat.ZARR3:
        return
    own = json.loads(_content(mag, "zarr.json")).get("dimension_names")
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
        return
    if tuple(own) != spec.axes and set(own) == set(spec.axes):
        yield f"found the axes {','.join(own)} in the array, expected {','.join(spec.axes)} as datasource-properties.json says"


def _cube_length(mag: MagOnDisk) -> Iterator[str]:
    spec, stated = mag.array.spec, mag.entry.cube_length
    if spec.data_format is DataFormat.WKW and stated is not None and stated != (found := spatial(spec, spec.shard_shape).x):
        yield f"found WKW files with an edge of {found} voxels, expected {stated} as cubeLength in datasource-properties.json says"


def missing_extent(mag: MagOnDisk, layer: LayerProperties | None = None) -> list[str]:
    """Return the axes, with lengths, along which the array ends before the layer's box."""
    spec = mag.array.spec
    corner = array_corner(box_in_mag((layer or mag.layer).bounding_box(), mag.entry.mag), spec.axes)
    short = [(axis, has, needs) for axis, has, needs in zip(spec.axes, spec.shape, corner, strict=True) if has < needs and axis != "c"]
    return [f"{has} voxels along {axis}, expected {needs}" for axis, has, needs in short]


def ends_with_partial_voxels(mag: MagOnDisk) -> bool:
    """True if the array lacks only the last voxel, which the box covers in part: some tools leave it out."""
    box = mag.layer.bounding_box().align_with_mag(mag.entry.mag)
    return not missing_extent(mag, replace(mag.layer, box=mag.layer.box.with_xyz(box.topleft_xyz, box.size_xyz)))


def _shape(mag: MagOnDisk) -> Iterator[str]:
    missing = missing_extent(mag)
    if missing and (mag.recipe is not None or mag.entry.mag == Mag(1) or not ends_with_partial_voxels(mag)):
        yield f"found an array of {', '.join(missing)} to cover the layer's box"


def _content(mag: MagOnDisk, name: str) -> bytes:
    """Return a metadata file of a mag's array, which was already opened with it."""
    return mag.array.place.content(name, MAX_METADATA_BYTES) or b""


def _path(mag: MagOnDisk) -> Iterator[str]:
    """Compare the path with the one where wkpipe put the mag, and with those of the layer's other mags."""
    dataset, layer, entry = mag.dataset, mag.layer, mag.entry
    real = mag.array.place.real()
    same = [
        each.mag for each in layer.mags if each.mag < entry.mag and not each.is_remote and dataset.mag_place(layer, each).real() == real
    ]
    if same:
        yield f"found the path {entry.path}, expected another one than that of mag {same[0]}"
        return
    made_in = dataset.locations.data.child(layer.name).child(dataset.locations.name(layer.name, entry.mag))
    # A directory that was moved and linked, or renamed, still is the one that wkpipe made.
    if made_in.is_directory() and made_in.real() != real and _was_made(mag, made_in):
        yield f"found the path {entry.path}, expected ./{layer.name}/{entry.mag}, where the mag was made"


def _was_made(mag: MagOnDisk, place: Place) -> bool:
    """True if the array in a directory is the one that is recorded for the mag."""
    if mag.recipe is not None:
        return True
    locations, name, entry = mag.dataset.locations, mag.layer.name, mag.entry
    try:
        array = open_array(place, mag.layer.data_format, mag.layer.axes)
    except WkpipeError:
        return False
    recorded = recorded_identity(locations, name, entry.mag)
    return recorded is not None and not is_replaced(recorded, array, Ledger.load(locations.ledger(name, entry.mag)))


def _made_shape(mag: MagOnDisk) -> Iterator[str]:
    """Compare the shape with the shape that was made, unless the layer has another box now."""
    recipe, spec = mag.recipe, mag.array.spec
    if recipe is None or spec.data_format is DataFormat.WKW or missing_extent(mag):
        return
    is_same_box = recipe.box.end == box_in_mag(mag.layer.bounding_box(), mag.entry.mag).bottomright_xyz
    for axis, found, made, shard in zip(spec.axes, spec.shape, recipe.spec.shape, spec.shard_shape, strict=True):
        if found != made and (axis == "c" or (axis in SPATIAL_AXES and (is_same_box or found % shard))):
            yield f"found an array of {found} along {axis}, expected {made} as it was made with"


def _made_channels(mag: MagOnDisk) -> Iterator[str]:
    """Compare the layer's channels with those that were made; layers that share an array have some of the channels each."""
    if mag.recipe is None or mag.entry.channel_index or mag.dataset.shared_with(mag.layer, mag.entry) is not None:
        return
    found, made = mag.layer.num_channels, mag.recipe.channels.count
    if found != made:
        yield f"found numChannels {found} in datasource-properties.json, expected {made} as it was made with"


def _recipe(mag: MagOnDisk) -> Iterator[str]:
    """Compare everything with the recipe except the shape, which grows with the layer's box."""
    if mag.recipe is None:
        return
    spec = mag.array.stored.spec if isinstance(mag.array, ConvertedArray) else mag.array.spec
    found = spec_to_json(replace(spec, shape=mag.recipe.spec.shape))
    differs = False
    for key, value in spec_to_json(mag.recipe.spec.as_stored).items():
        if found[key] != value:
            differs = True
            yield f"found {key.replace('_', ' ')} {found[key]} in the array's metadata, expected {value} as it was made with"
    if differs:
        return
    name, content = next(iter(array_files(replace(mag.recipe.spec, shape=mag.array.spec.shape)).items()))
    path = mag.array.path / name
    if mag.array.spec.data_format is DataFormat.WKW:
        if _content(mag, name) != content:
            yield f"found other bytes in {path} than the header of the array that was made"
        return
    expected, there = json.loads(content), json.loads(_content(mag, name))
    for key, value in expected.items():
        if there.get(key) != value:
            yield f"found another value of {key} in {path} than that of the array that was made"


def is_not_as_made(mag: MagOnDisk) -> bool:
    """True if the array's metadata file differs from the one that wkpipe made; attributes do not count."""
    if mag.recipe is None:
        return False
    name, content = next(iter(array_files(mag.recipe.spec).items()))
    there = _content(mag, name)
    if mag.array.spec.data_format is DataFormat.WKW:
        return there != content
    with contextlib.suppress(ValueError):
        values = json.loads(there)
        values.pop("attributes", None)
        return bool(values != json.loads(content))
    return True


def array_files(spec: ArraySpec, attributes: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Return the metadata files of an array that wkpipe makes, by name, the array's own first."""
    make = {DataFormat.ZARR3: zarr3_files, DataFormat.ZARR: zarr2_files, DataFormat.WKW: wkw_files}[spec.data_format]
    return make(spec, attributes or {})


def group_problems(dataset: StoredDataset, is_own: bool) -> Iterator[tuple[Path, str]]:
    """Yield the group files that contradict the properties, with what is wrong.

    In a dataset that wkpipe never published (`is_own` is False), other tools may write what they like: only files that are
    not JSON count.
    """
    for key, _ in outdated_group_files(dataset.locations.data, dataset.properties):
        file = StoredObject(dataset.locations.data, key)
        path = file.path
        try:
            node = JsonNode.read(file)
        except WkpipeError:
            yield path, f"found no valid JSON in {path}"
            continue
        if node is None:
            what = f"found no {path}, expected the group file that lets other tools open the dataset"
        elif path.name == ".zgroup" and node.value == {"zarr_format": "2"}:
            continue  # the reference package writes this
        else:
            what = f"found other axes, scales or mags in {path} than datasource-properties.json has"
        if is_own:
            yield path, what
