"""Hold the metadata of a mag's array against the properties of its layer, and against the recipe it was made by."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wkpipe.errors import WkpipeError
from wkpipe.formats import open_array
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
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset, array_corner, box_in_mag
from wkpipe.stored.identity import is_replaced, recorded_identity


def metadata_problems(mag: MagOnDisk) -> Iterator[str]:
    """Yield what does not fit; number of axes and channels were checked when the array was opened."""
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
    """Compare with the names that a Zarr 3 array may give its axes itself."""
    spec = mag.array.spec
    if spec.data_format is not DataFormat.ZARR3:
        return
    own = json.loads((mag.array.path / "zarr.json").read_bytes()).get("dimension_names")
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
        return
    if tuple(own) != spec.axes and set(own) == set(spec.axes):
        yield f"found the axes {','.join(own)} in the array, expected {','.join(spec.axes)} as datasource-properties.json says"


def _cube_length(mag: MagOnDisk) -> Iterator[str]:
    spec, stated = mag.array.spec, mag.entry.cube_length
    if spec.data_format is DataFormat.WKW and stated is not None and stated != (found := spatial(spec, spec.shard_shape).x):
        yield f"found WKW files of {found} voxels' edge, expected {stated} as cubeLength in datasource-properties.json says"


def missing_extent(mag: MagOnDisk, layer: LayerProperties | None = None) -> list[str]:
    """Return the axes, with lengths, along which the array ends before the layer's box does."""
    spec = mag.array.spec
    corner = array_corner(box_in_mag((layer or mag.layer).bounding_box(), mag.entry.mag), spec.axes)
    short = [(axis, has, needs) for axis, has, needs in zip(spec.axes, spec.shape, corner, strict=True) if has < needs and axis != "c"]
    return [f"{has} voxels along {axis}, expected {needs}" for axis, has, needs in short]


def ends_with_partial_voxels(mag: MagOnDisk) -> bool:
    """Tell whether the array only lacks the last voxel, which the box covers in part: some tools leave that one away."""
    box = mag.layer.bounding_box().align_with_mag(mag.entry.mag)
    return not missing_extent(mag, replace(mag.layer, box=mag.layer.box.with_xyz(box.topleft_xyz, box.size_xyz)))


def _shape(mag: MagOnDisk) -> Iterator[str]:
    missing = missing_extent(mag)
    if missing and (mag.recipe is not None or mag.entry.mag == Mag(1) or not ends_with_partial_voxels(mag)):
        yield f"found an array of {', '.join(missing)} to cover the layer's box"


def _path(mag: MagOnDisk) -> Iterator[str]:
    """Compare with where wkpipe put the mag, and with the layer's other mags."""
    dataset, layer, entry = mag.dataset, mag.layer, mag.entry
    path = mag.array.path.resolve()
    same = [
        each.mag for each in layer.mags if each.mag < entry.mag and not each.is_remote and dataset.mag_path(layer, each).resolve() == path
    ]
    if same:
        yield f"found the path {entry.path}, expected another one than that of mag {same[0]}"
        return
    made_in = dataset.locations.dataset / layer.name / str(entry.mag)
    # A directory that was moved and linked, or renamed, is still the one that was made.
    if made_in.is_dir() and made_in.resolve() != path and _was_made(mag, made_in):
        yield f"found the path {entry.path}, expected ./{layer.name}/{entry.mag}, where the mag was made"


def _was_made(mag: MagOnDisk, directory: Path) -> bool:
    """True if the array in a directory is the one that the state knows as the mag's."""
    if mag.recipe is not None:
        return True
    locations, name, entry = mag.dataset.locations, mag.layer.name, mag.entry
    try:
        array = open_array(directory, mag.layer.data_format, mag.layer.axes)
    except WkpipeError:
        return False
    recorded = recorded_identity(locations, name, entry.mag)
    return recorded is not None and not is_replaced(recorded, array, Ledger.load(locations.ledger(name, entry.mag)))


def _made_shape(mag: MagOnDisk) -> Iterator[str]:
    """Compare the shape with that of the array that was made, unless the layer has another box now."""
    recipe, spec = mag.recipe, mag.array.spec
    if recipe is None or spec.data_format is DataFormat.WKW or missing_extent(mag):
        return
    is_same_box = recipe.box[1] == box_in_mag(mag.layer.bounding_box(), mag.entry.mag).bottomright_xyz
    for axis, found, made, shard in zip(spec.axes, spec.shape, recipe.spec.shape, spec.shard_shape, strict=True):
        if found != made and (axis == "c" or (axis in SPATIAL_AXES and (is_same_box or found % shard))):
            yield f"found an array of {found} along {axis}, expected {made} as it was made with"


def _made_channels(mag: MagOnDisk) -> Iterator[str]:
    """Compare the layer's channels with those that were made; layers that share an array have some of them each."""
    if mag.recipe is None or mag.entry.channel_index or mag.dataset.shared_with(mag.layer, mag.entry) is not None:
        return
    found, made = mag.layer.num_channels, mag.recipe.channels.count
    if found != made:
        yield f"found numChannels {found} in datasource-properties.json, expected {made} as it was made with"


def _recipe(mag: MagOnDisk) -> Iterator[str]:
    """Compare all but the shape, which grows with the layer's box, with what the array was created with."""
    if mag.recipe is None:
        return
    spec = mag.array.stored.spec if isinstance(mag.array, ConvertedArray) else mag.array.spec
    found = spec_to_json(replace(spec, shape=mag.recipe.spec.shape))
    differs = False
    for key, value in spec_to_json(mag.recipe.spec).items():
        if found[key] != value:
            differs = True
            yield f"found {key.replace('_', ' ')} {found[key]} in the array's metadata, expected {value} as it was made with"
    if differs:
        return
    name, content = next(iter(array_files(replace(mag.recipe.spec, shape=mag.array.spec.shape)).items()))
    path = mag.array.path / name
    if mag.array.spec.data_format is DataFormat.WKW:
        if path.read_bytes() != content:
            yield f"found other bytes in {path} than the header of the array that was made"
        return
    expected, there = json.loads(content), json.loads(path.read_bytes())
    for key, value in expected.items():
        if there.get(key) != value:
            yield f"found another value of {key} in {path} than that of the array that was made"


def is_not_as_made(mag: MagOnDisk) -> bool:
    """Whether the array's metadata file has other content than the one that wkpipe made; attributes do not count."""
    if mag.recipe is None:
        return False
    name, content = next(iter(array_files(mag.recipe.spec).items()))
    there = (mag.array.path / name).read_bytes()
    if mag.array.spec.data_format is DataFormat.WKW:
        return there != content
    with contextlib.suppress(ValueError):
        values = json.loads(there)
        values.pop("attributes", None)
        return bool(values != json.loads(content))
    return True


def array_files(spec: ArraySpec, attributes: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Return names and content of the metadata files of an array that wkpipe makes, the array's own first."""
    make = {DataFormat.ZARR3: zarr3_files, DataFormat.ZARR: zarr2_files, DataFormat.WKW: wkw_files}[spec.data_format]
    return make(spec, attributes or {})


def group_problems(dataset: StoredDataset, is_ours: bool) -> Iterator[tuple[Path, str]]:
    """Yield the group files that do not say what the properties say, with what is wrong.

    Of a dataset that wkpipe never published (`is_ours` is False), other tools' ways are theirs: only files that are no
    JSON count.
    """
    for path, _ in outdated_group_files(dataset.locations.dataset, dataset.properties):
        try:
            node = JsonNode.read(path)
        except WkpipeError:
            yield path, f"found no valid JSON in {path}"
            continue
        if node is None:
            what = f"found no {path}, expected the group file that lets other tools open the dataset"
        elif path.name == ".zgroup" and node.value == {"zarr_format": "2"}:
            continue  # what the reference package writes
        else:
            what = f"found other axes, scales or mags in {path} than datasource-properties.json has"
        if is_ours:
            yield path, what
