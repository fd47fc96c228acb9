"""Seeds: the sound datasets, images, configs and command lines that the fuzz tests break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import tifffile
from PIL import Image

from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here

SIZE = (24, 20, 18)
MADE = {
    "zarr3": {"data_format": "zarr3", "shard_shape": 16},
    "zarr3-raw": {"data_format": "zarr3", "shard_shape": 16, "compress": False},
    "zarr3-files": {"data_format": "zarr3", "shard_shape": 8},
    "zarr": {"data_format": "zarr"},
    "zarr-raw": {"data_format": "zarr", "compress": False},
    "wkw": {"data_format": "wkw", "shard_shape": 16},
    "wkw-raw": {"data_format": "wkw", "shard_shape": 16, "compress": False},
}
"""The datasets that wkpipe makes, with their config values."""

BOX = {"topLeft": [0, 0, 0], "width": SIZE[0], "height": SIZE[1], "depth": SIZE[2]}
ORDER = {"c": 0, "x": 1, "y": 2, "z": 3}


def make_seeds(root: Path) -> None:
    """Make all seeds in a directory that does not exist yet."""
    write_images(root / "images")
    for name, values in MADE.items():
        make_dataset(root / "images" / "stack", root / "datasets" / name, **values)
    _enrich(root / "datasets" / "zarr3" / "datasource-properties.json")
    make_foreign(root / "datasets" / "foreign")


def make_dataset(images: Path, target: Path, **values: Any) -> None:
    """Convert images into a small dataset with mags 1, 2 and 4."""
    config = {"source": str(images), "target": str(target), "voxel_size": [10, 10, 10], "category": "color", "chunk_shape": 8}
    run_here(make_plan(load_config({**config, "coarsest_mag": "4", **values}, "seed"), Sizing.local(1)))


def noise(*shape: int, dtype: Any = np.uint8) -> Any:
    """Return voxels in which no two chunks are equal."""
    return np.random.default_rng(1).integers(1, np.iinfo(dtype).max, shape, dtype)


def write_images(root: Path) -> None:
    """Write an image of every supported kind, and a stack of slices."""
    for z, page in enumerate(noise(SIZE[2], SIZE[1], SIZE[0])):
        path = root / "stack" / f"s{z:02}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, page)
    gray, rgb, deep = noise(33, 40), noise(33, 40, 3), noise(33, 40, dtype=np.uint16)
    tiffs: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (gray, {}),
        "pages": (noise(5, 33, 40), {"photometric": "minisblack"}),
        "tiles": (noise(64, 70), {"tile": (16, 32), "compression": "zlib"}),
        "strips": (gray, {"rowsperstrip": 5, "compression": "lzw", "predictor": True}),
        "packed": (gray, {"compression": "packbits", "rowsperstrip": 8}),
        "rgb": (rgb, {"photometric": "rgb", "compression": "zlib"}),
        "planar": (noise(3, 33, 40), {"photometric": "rgb", "planarconfig": "separate"}),
        "big": (deep, {"bigtiff": True, "compression": "zstd"}),
        "swapped": (deep, {"byteorder": ">"}),
        "float": (noise(33, 40).astype(np.float32), {"compression": "zlib", "predictor": 3}),
        "imagej": (noise(2, 3, 2, 17, 20), {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        "ome": (noise(3, 2, 17, 20), {"ome": True, "metadata": {"axes": "ZCYX"}, "photometric": "minisblack"}),
        "jpeg": (noise(64, 64), {"compression": "jpeg", "tile": (32, 32)}),
    }
    folder = root / "single"
    folder.mkdir()
    for name, (voxels, options) in tiffs.items():
        tifffile.imwrite(folder / f"{name}.tif", voxels, **options)
    for name, voxels in (("gray", gray), ("rgb", rgb)):
        for extension in ("png", "jpg", "bmp"):
            Image.fromarray(voxels).save(folder / f"{name}.{extension}")
    Image.fromarray(rgb).quantize(16).save(folder / "palette.png")
    Image.fromarray(rgb).quantize(16).save(folder / "palette.gif")
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(rgb).save(folder / "progressive.jpg", progressive=True)


def _enrich(file: Path) -> None:
    """Give a dataset's properties every possible key, and a layer in the oldest form."""
    values = json.loads(file.read_text())
    layer = values["dataLayers"][0]
    layer |= {
        "defaultViewConfiguration": {"color": [1, 2, 3], "alpha": 1, "intensityRange": [0, 1], "mapping": {"name": "m"}},
        "coordinateTransformations": [{"type": "affine", "matrix": [[1, 0, 0, 0]] * 4}],
    }
    layer["mags"][0] |= {"axisOrder": ORDER, "channelIndex": 0}
    values["dataLayers"].append(
        {
            "name": "old",
            "category": "segmentation",
            "boundingBox": BOX | {"axisOrder": ORDER, "channelIndex": 0},
            "dataFormat": "zarr3",
            "mags": [],
            "elementClass": "uint64",
            "numChannels": 1,
            "mappings": ["a"],
            "largestSegmentId": {"customJsonEncoding": "bigint", "value": "5"},
            "attachments": {"meshes": [{"name": "m", "path": "p", "dataFormat": "hdf5"}], "cumsum": None},
        }
    )
    values["defaultViewConfiguration"] = {"position": [1, 2, 3], "zoom": 1.5, "layers": {"stack": {"is_disabled": True}}}
    file.write_text(json.dumps(values))


def make_foreign(root: Path) -> None:
    """Write a dataset like those of other tools: other codecs, no checksums, N5, precomputed, no ledger."""
    voxels = noise(1, *SIZE)
    bytes_, zstd = {"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {"level": 3}}
    sharded = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [1, 8, 8, 8], "codecs": [bytes_, zstd], "index_codecs": [bytes_]},
    }
    specs: dict[str, tuple[str, dict[str, Any]]] = {
        "sharded": ("zarr3", _zarr3([1, 16, 16, 16], [sharded])),
        "gzip": ("zarr3", _zarr3([1, 16, 16, 16], [bytes_, {"name": "gzip", "configuration": {"level": 3}}])),
        "blosc": ("zarr", {"chunks": [1, 16, 16, 16], "dtype": "|u1", "compressor": {"id": "blosc"}, "shape": [1, *SIZE]}),
        "n5": ("n5", {"dimensions": [1, *SIZE], "blockSize": [1, 16, 16, 16], "dataType": "uint8", "compression": {"type": "gzip"}}),
    }
    layers = []
    for name, (driver, metadata) in specs.items():
        place = {"driver": "file", "path": f"{root}/{name}/1/"}
        store = tensorstore.open({"driver": driver, "kvstore": place, "metadata": metadata}, create=True).result()
        store.write(voxels).result()
        layers.append(_layer(name, driver, f"./{name}/1"))
    info = {"data_type": "uint8", "num_channels": 1, "type": "image"}
    scale = {"size": list(SIZE), "chunk_size": [16, 16, 16], "encoding": "raw", "resolution": [10, 10, 10], "key": "1"}
    precomputed = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{root}/precomputed/"}}
    store = tensorstore.open({**precomputed, "multiscale_metadata": info, "scale_metadata": scale}, create=True).result()
    store.write(voxels[0][..., None]).result()
    layers.append(_layer("precomputed", "neuroglancerPrecomputed", "./precomputed/1"))
    properties = {"id": {"name": "foreign", "team": ""}, "scale": [10, 10, 10], "dataLayers": layers, "version": 1}
    (root / "datasource-properties.json").write_text(json.dumps(properties))


def _zarr3(grid: list[int], codecs: list[Any]) -> dict[str, Any]:
    chunks = {"name": "regular", "configuration": {"chunk_shape": grid}}
    return {"shape": [1, *SIZE], "data_type": "uint8", "chunk_grid": chunks, "codecs": codecs, "fill_value": 0}


def _layer(name: str, driver: str, path: str) -> dict[str, Any]:
    mag = {"mag": [1, 1, 1], "path": path, "axisOrder": ORDER}
    common = {"category": "color", "boundingBox": BOX, "elementClass": "uint8", "numChannels": 1}
    return {"name": name, "dataFormat": driver, "mags": [mag], **common}


CONFIG: dict[str, Any] = {
    "voxel_size": [11, 11, 25],
    "unit": "nanometer",
    "name": "n",
    "layer_name": "stack",
    "category": "color",
    "data_format": "zarr3",
    "chunk_shape": [8, 8, 8],
    "shard_shape": 16,
    "compress": True,
    "compression_level": 5,
    "batch_size": 16,
    "overwrite_existing": False,
    "downsample": True,
    "coarsest_mag": "4-4-2",
    "sampling_mode": "anisotropic",
    "interpolation_mode": "default",
    "missing_shards": "fill",
    "trust_empty": False,
}
"""A config with every key except source, target and state_dir, which each case has itself."""
