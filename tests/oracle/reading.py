"""Read the mags of a dataset like other tools: with zarr-python, tensorstore and the wkw package, without wkpipe."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import wkw
import zarr

from tests.oracle.pyramid import Array, Mag3, box_in

READERS = {"zarr3": ("zarr-python", "tensorstore"), "zarr": ("zarr-python", "tensorstore"), "wkw": ("wkw",)}


@dataclass(frozen=True)
class StoredMag:
    """A mag with its description in the dataset's properties."""

    mag: Mag3
    path: Path
    data_format: str
    axes: tuple[str, ...]
    channels: int
    channel_index: int
    topleft: Mag3
    size: Mag3

    def size_on_disk(self) -> int:
        """The number of voxels of the whole array, from its metadata; for WKW, which has no such metadata, that of the box."""
        if self.data_format == "wkw":
            return math.prod(a + n for a, n in zip(self.topleft, self.size, strict=True)) * self.channels
        return math.prod(zarr.open_array(self.path, mode="r", zarr_format=3 if self.data_format == "zarr3" else 2).shape)

    def read(self, reader: str) -> tuple[Array, Array]:
        """Return the voxels of the layer's box, and the whole array with these set to 0."""
        first, end = box_in(self.mag, self.topleft, self.size)
        if reader == "wkw":
            with wkw.Dataset.open(str(self.path)) as dataset:
                edge = dataset.header.block_len * dataset.header.file_len
                whole = dataset.read((0, 0, 0), [-(-e // edge) * edge for e in end])
        else:
            whole = read_whole(self.path, self.data_format, reader)
        at = {axis: slice(a, b) for axis, a, b in zip("xyz", first, end, strict=True)}
        at["c"] = slice(self.channel_index, self.channel_index + self.channels)
        inside = tuple(at.get(axis, slice(None)) for axis in self.axes)
        box = whole[inside].copy()
        whole[inside] = 0
        return box, whole


def read_whole(path: Path, data_format: str, reader: str) -> Array:
    """Read a Zarr array as a whole."""
    if reader == "zarr-python":
        return np.asarray(zarr.open_array(path, mode="r", zarr_format=3 if data_format == "zarr3" else 2)[...])
    spec = {"driver": data_format, "kvstore": {"driver": "file", "path": f"{path}/"}}
    opened: Any = tensorstore.open(spec, open=True, read=True).result()
    return np.array(opened.read().result())


def stored_mags(root: Path, layer: str | None = None) -> dict[Mag3, StoredMag]:
    """Return the mags of a layer (by default the only one) from the text of datasource-properties.json alone."""
    layers = json.loads((root / "datasource-properties.json").read_text())["dataLayers"]
    (found,) = layers if layer is None else [entry for entry in layers if entry["name"] == layer]
    box = found["boundingBox"]
    mags = {}
    for entry in found["mags"]:
        x, y, z = entry["mag"]
        indices = {index: name for name, index in (entry.get("axisOrder") or {"c": 0, "x": 1, "y": 2, "z": 3}).items()}
        indices |= {axis["index"]: axis["name"] for axis in found.get("additionalAxes", [])}
        mags[(x, y, z)] = StoredMag(
            mag=(x, y, z),
            path=root / entry["path"],
            data_format=found["dataFormat"],
            axes=tuple(indices[i] for i in range(len(indices))),
            channels=found.get("numChannels", 1),
            channel_index=entry.get("channelIndex", 0),
            topleft=tuple(box["topLeft"]),
            size=(box["width"], box["height"], box["depth"]),
        )
    return mags
