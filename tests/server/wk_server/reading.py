"""The datastore's reading side: every dataset looks like Zarr 2 in cubes of 32³, whatever its format; and boxes of voxels.

zarr and wkw read the voxels, not wkpipe, so that wkpipe's downloads are compared with the results of other readers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import wkw
import zarr

from tests.server.wk_server.refusals import INT32, Refused, whole
from tests.server.wk_server.state import Dataset, State, User
from tests.server.wk_server.wire import Answer, Request

CUBE = 32
MOST_EDGE = 512

Vector = tuple[int, int, int]


def properties_of(path: Path) -> dict[str, Any]:
    properties: dict[str, Any] = json.loads((path / "datasource-properties.json").read_bytes())
    return properties


def zarr_file(state: State, owner: User, dataset_id: str, path: str) -> Answer:
    """Return a file of the dataset as it looks in Zarr 2."""
    dataset = _readable(state, owner, dataset_id)
    assert dataset.properties is not None
    if path == "datasource-properties.json":
        return Answer.json(streamed_properties(dataset.data_source))
    *names, file = path.split("/")
    layer = _layer(dataset, names[0]) if names else {}
    if file == ".zgroup" and len(names) < 2:
        return Answer.json({"zarr_format": 2})
    if file == ".zattrs" and len(names) == 1:
        return Answer.json(_multiscales(layer, dataset.properties))
    if len(names) != 2:
        raise Refused(404, f"no such file: {path}")
    mag = _mag(layer, names[1])
    if file == ".zarray":
        return Answer.json(_header(layer, mag))
    found = re.fullmatch(r"0\.(\d+)\.(\d+)\.(\d+)", file)
    if found is None:
        raise Refused(404, f"Invalid chunk coordinates: {file}")
    corner = [int(number) * CUBE for number in found.groups()]
    voxels = _read(dataset, layer, mag, corner, [CUBE] * 3)
    if not voxels.any():
        raise Refused(404, "The requested chunk could not be found.")
    return _raw(voxels)


def data(state: State, owner: User, dataset_id: str, layer_name: str, request: Request) -> Answer:
    """Return a box of voxels: x, y, z are in voxels of mag 1, width, height and depth in those of the mag.

    The answer for a box that is one cube of the server without data is empty, and a header says so. A box that is too large gets the same
    answer: the server treats every failure as a missing cube.
    """
    query = {name: values[0] for name, values in request.query.items()}
    dataset = _readable(state, owner, dataset_id)
    layer = _layer(dataset, layer_name)
    mag = _mag(layer, query.get("mag", ""))
    if not all(re.fullmatch(r"-?\d+", query.get(axis, "")) for axis in "xyz"):
        raise Refused(400, "x, y and z must be whole numbers")
    corner = [int(query[axis]) // factor for axis, factor in zip("xyz", mag, strict=True)]
    size = [whole(query, name, INT32) for name in ("width", "height", "depth")]
    missing = max(size) > MOST_EDGE
    if not missing:
        voxels = _read(dataset, layer, mag, corner, size)
        one_cube = size == [CUBE] * 3 and all(position % CUBE == 0 for position in corner)
        missing = one_cube and not voxels.any()
    answer = Answer(200, b"", "application/octet-stream") if missing else _raw(voxels)
    answer.headers = {"MISSING-BUCKETS": "[0]" if missing else "[]"}
    return answer


def _readable(state: State, owner: User, dataset_id: str) -> Dataset:
    dataset = state.datasets.get(dataset_id)
    if dataset is None or dataset.organization != owner.organization or dataset.properties is None:
        raise Refused(404, f'Dataset "{dataset_id}" does not exist or could not be accessed.')
    return dataset


def _layer(dataset: Dataset, name: str) -> dict[str, Any]:
    assert dataset.properties is not None
    for layer in dataset.properties["dataLayers"]:
        if layer["name"] == name:
            found: dict[str, Any] = layer
            return found
    raise Refused(404, f"no layer {name!r}")


def _mag(layer: dict[str, Any], text: str) -> Vector:
    """Return the mag that a text such as `2` or `2-2-1` names, if the layer has it."""
    numbers = text.split("-")
    if re.fullmatch(r"\d+(-\d+-\d+)?", text):
        mag = tuple(int(number) for number in (numbers if len(numbers) == 3 else numbers * 3))
        if any(tuple(entry["mag"]) == mag for entry in layer["mags"]):
            return mag  # type: ignore[return-value]
    raise Refused(404, f"no mag {text!r} in layer {layer['name']!r}")


def _channels_and_dtype(layer: dict[str, Any]) -> tuple[int, np.dtype[Any]]:
    element_class = layer["elementClass"]
    name = {"uint24": "uint8", "float": "float32", "double": "float64"}.get(element_class, element_class)
    return 3 if element_class == "uint24" else 1, np.dtype(name).newbyteorder("<")


def _header(layer: dict[str, Any], mag: Vector) -> dict[str, Any]:
    """Return .zarray. The array starts at voxel 0 and ends at the end of the layer's box, rounded down."""
    box = layer["boundingBox"]
    ends = [start + size for start, size in zip(box["topLeft"], (box["width"], box["height"], box["depth"]), strict=True)]
    channels, dtype = _channels_and_dtype(layer)
    return {
        "zarr_format": 2,
        "shape": [channels, *(end // factor for end, factor in zip(ends, mag, strict=True))],
        "chunks": [channels, CUBE, CUBE, CUBE],
        "dtype": dtype.str,
        "fill_value": 0,
        "order": "F",
        "compressor": None,
        "filters": None,
    }


def streamed_properties(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties in the form of the routes of streaming: paths of the routes, all layers as Zarr 2."""
    layers = []
    for layer in properties["dataLayers"]:
        kept = {
            key: layer[key]
            for key in (
                *("name", "category", "boundingBox", "elementClass", "largestSegmentId", "mappings"),
                *("defaultViewConfiguration", "coordinateTransformations", "additionalAxes"),
            )
            if key in layer
        }
        others = kept.get("additionalAxes", [])
        order = {"c": 0, **{axis: len(others) + index for index, axis in enumerate("xyz", 1)}}
        if others:
            kept["additionalAxes"] = [axis | {"index": index} for index, axis in enumerate(others, 1)]
        mags = [
            {"mag": entry["mag"], "path": f"./{layer['name']}/{_mag_name(entry['mag'])}", "axisOrder": order} for entry in layer["mags"]
        ]
        layers.append(kept | {"mags": mags, "numChannels": _channels_and_dtype(layer)[0], "dataFormat": "zarr"})
    return {"id": properties["id"], "dataLayers": layers, "scale": properties["scale"]}


def _multiscales(layer: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    scale = properties["scale"]
    factor, unit = (scale["factor"], scale["unit"]) if isinstance(scale, dict) else (scale, "nanometer")
    axes = [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", "unit": unit} for axis in "xyz")]
    datasets = [
        {
            "path": _mag_name(entry["mag"]),
            "coordinateTransformations": [{"type": "scale", "scale": [1.0, *(f * m for f, m in zip(factor, entry["mag"], strict=True))]}],
        }
        for entry in layer["mags"]
    ]
    return {"multiscales": [{"version": "0.4", "name": layer["name"], "axes": axes, "datasets": datasets}]}


def _mag_name(mag: list[int]) -> str:
    return str(mag[0]) if len(set(mag)) == 1 else "-".join(map(str, mag))


def _read(dataset: Dataset, layer: dict[str, Any], mag: Vector, corner: list[int], size: list[int]) -> np.ndarray[Any, Any]:
    """Return voxels as c, x, y, z, zero outside of the stored array; corner and size are in the mag's voxels."""
    assert dataset.path is not None
    (entry,) = [entry for entry in layer["mags"] if tuple(entry["mag"]) == mag]
    path = dataset.path / (entry.get("path") or f"{layer['name']}/{_mag_name(entry['mag'])}")
    channels, dtype = _channels_and_dtype(layer)
    voxels = np.zeros((channels, *size), dtype, order="F")
    if layer["dataFormat"] == "wkw":
        with wkw.Dataset.open(str(path)) as stored:
            voxels[:] = stored.read(corner, size)
        return voxels
    array = zarr.open_array(path, mode="r")
    order = entry.get("axisOrder", {"c": 0, "x": 1, "y": 2, "z": 3})
    ends = [min(start + length, array.shape[order[axis]]) for axis, start, length in zip("xyz", corner, size, strict=True)]
    starts = [max(start, 0) for start in corner]
    if any(start >= end for start, end in zip(starts, ends, strict=True)):
        return voxels
    selection: list[slice] = [slice(0, 1)] * array.ndim
    for axis, start, end in zip("xyz", starts, ends, strict=True):
        selection[order[axis]] = slice(start, end)
    if "c" in order:
        selection[order["c"]] = slice(0, channels)
    axes = [order[axis] for axis in "cxyz" if axis in order]
    found = np.asarray(array[tuple(selection)])
    found = found.transpose(*axes, *(axis for axis in range(array.ndim) if axis not in axes))
    inside = [slice(start - first, end - first) for first, start, end in zip(corner, starts, ends, strict=True)]
    voxels[(slice(None), *inside)] = found.reshape(channels, *(end - start for start, end in zip(starts, ends, strict=True)))
    return voxels


def _raw(voxels: np.ndarray[Any, Any]) -> Answer:
    return Answer(200, voxels.tobytes(order="F"), "application/octet-stream")
