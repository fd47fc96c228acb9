"""A small dataset in every format, written by other libraries: three channels of 24³ voxels, with one octant of zeros."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import wkw
import zarr

EDGE, CHANNELS = 24, 3
FORMATS = ("zarr3", "zarr", "wkw", "n5", "neuroglancerPrecomputed")


def voxels(dtype: str = "uint8") -> np.ndarray[Any, Any]:
    """Return the voxels of all these datasets, axes c, x, y, z."""
    data = np.random.default_rng(24).integers(0, 256, (CHANNELS, *(EDGE,) * 3), dtype=np.uint8)
    data[:, : EDGE // 2, : EDGE // 2, : EDGE // 2] = 0
    return data.astype(dtype)


def make_small_dataset(root: Path, data_format: str) -> Path:
    """Write the dataset of a format. N5 has uint32 although the properties say uint24, as in some existing datasets."""
    mag = root / "color" / "1"
    mag.parent.mkdir(parents=True)
    _WRITE[data_format](mag)
    layer = {
        "name": "color",
        "category": "color",
        "boundingBox": {"topLeft": [0, 0, 0], "width": EDGE, "height": EDGE, "depth": EDGE},
        "elementClass": "uint24",
        "dataFormat": data_format,
        "mags": [{"mag": [1, 1, 1], "path": "./color/1"} | ({"cubeLength": 32} if data_format == "wkw" else {})],
        "numChannels": CHANNELS,
    }
    content = {"version": 1, "id": {"name": root.name, "team": ""}, "scale": [1.0, 1.0, 1.0], "dataLayers": [layer]}
    (root / "datasource-properties.json").write_text(json.dumps(content))
    return root


def _zarr(path: Path, version: int) -> None:
    data = voxels()
    stored = zarr.create_array(path, shape=data.shape, chunks=(CHANNELS, 32, 32, 32), dtype="uint8", fill_value=0, zarr_format=version)
    stored[:] = data


def _wkw(path: Path) -> None:
    with wkw.Dataset.create(str(path), wkw.Header(np.dtype("uint8"), CHANNELS, block_len=8, file_len=4)) as dataset:
        dataset.write((0, 0, 0), np.asfortranarray(voxels()))


def _n5(path: Path) -> None:
    metadata = {"dimensions": [CHANNELS, *(EDGE,) * 3], "blockSize": [1, 32, 32, 32], "dataType": "uint32", "compression": {"type": "gzip"}}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
    tensorstore.open(spec, create=True).result().write(voxels("uint32")).result()


def _precomputed(path: Path) -> None:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{path.parent}/"},
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": CHANNELS},
        "scale_metadata": {"key": path.name, "size": [EDGE] * 3, "encoding": "raw", "chunk_size": [EDGE] * 3, "resolution": [1, 1, 1]},
    }
    tensorstore.open(spec, create=True).result().write(np.moveaxis(voxels(), 0, -1)).result()


_WRITE = {
    "zarr3": lambda path: _zarr(path, 3),
    "zarr": lambda path: _zarr(path, 2),
    "wkw": _wkw,
    "n5": _n5,
    "neuroglancerPrecomputed": _precomputed,
}
