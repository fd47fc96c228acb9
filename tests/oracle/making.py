"""Make the finest mag of a case, with wkpipe or with other tools: zarr-python, tensorstore, wkw."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import tifffile
import wkw
import zarr

from tests.oracle.cases import Case
from tests.oracle.pyramid import Array, box_in
from wkpipe import Dataset, NDBoundingBox

LAYER = "layer"
_WKW_BLOCKS = {"raw": 1, "lz4": 2, "lz4hc": 3}


def name_of(mag: tuple[int, int, int]) -> str:
    return str(mag[0]) if len(set(mag)) == 1 else "-".join(map(str, mag))


def make(case: Case, voxels: Array, root: Path, images: Path) -> dict[str, Any]:
    """Make a dataset with the finest mag, or images to convert; return the config values of wkpipe's run."""
    values: dict[str, Any] = {
        "chunk_shape": case.chunk,
        "shard_shape": case.shard,
        "compress": case.compress,
        "interpolation_mode": case.interpolation,
        "sampling_mode": case.sampling,
        "coarsest_mag": None if case.coarsest is None else name_of(case.coarsest),
    }
    if case.maker == "convert":
        _write_images(voxels, images)
        more = {"layer_name": LAYER, "category": case.category, "data_format": case.data_format, "voxel_size": case.voxel_size}
        return values | more | {"source": images}
    if case.maker == "library":
        _write_by_library(case, voxels, root)
        return values
    path = root / LAYER / name_of(case.finest)
    stored = _surrounded(case, voxels)
    if case.maker == "wkw":
        _write_wkw(case, stored, path)
    elif case.maker == "zarr":
        _write_zarr(case, stored, path)
    else:
        _write_tensorstore(case, stored, path)
    (root / "datasource-properties.json").write_text(json.dumps(_properties(case), indent=4))
    return values


def _write_images(voxels: Array, images: Path) -> None:
    images.mkdir(parents=True)
    for z in range(voxels.shape[-1]):
        page = voxels[..., z].T  # y, x, c
        if page.shape[-1] == 3:
            tifffile.imwrite(images / f"{z}.tif", np.ascontiguousarray(page), photometric="rgb", compression="zlib" if z % 2 else None)
        else:
            tifffile.imwrite(images / f"{z}.tif", np.ascontiguousarray(page[..., 0]), photometric="minisblack")


def _write_by_library(case: Case, voxels: Array, root: Path) -> None:
    box = NDBoundingBox([*(0 for _ in case.lead), *case.topleft], [*(n for _, n in case.lead), *case.size], case.axes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # channels and chunks that viewers do not show
        layer = Dataset(root, case.voxel_size).add_layer(
            LAYER, case.category, dtype=case.dtype, num_channels=case.channels, data_format=case.data_format, bounding_box=box
        )
        shard = None if case.data_format == "zarr" else case.shard
        mag = layer.add_mag(case.finest, chunk_shape=case.chunk, shard_shape=shard, compress=case.compress)
        mag.write(voxels, allow_unaligned=True)


def _surrounded(case: Case, voxels: Array) -> Array:
    """Return the voxels in an array that begins at 0 and ends later, with others around the box and in other channels."""
    first, end = box_in(case.finest, case.topleft, case.size)
    rng = case.random
    shape = [*case.stored_lead, *(e + int(rng.integers(0, 12)) for e in end)]
    kind = np.dtype(case.dtype)
    around = np.full(shape, case.fill_value, kind)
    if rng.random() < 0.5:
        around = rng.integers(0, 120, shape).astype(kind)
    inside = [slice(case.channel_index, case.channel_index + n) if name == "c" else slice(0, n) for name, n in case.lead]
    around[(*inside, *(slice(a, b) for a, b in zip(first, end, strict=True)))] = voxels
    return around


def _write_zarr(case: Case, stored: Array, path: Path) -> None:
    chunk, shard, codec, index_first = case.source_layout
    lead = tuple(stored.shape[i] if name == "c" else 1 for i, (name, _) in enumerate(case.lead))
    if case.data_format == "zarr":
        compressor = {"raw": None, "zstd": {"id": "zstd", "level": 3}, "gzip": {"id": "gzip", "level": 3}, "blosc": {"id": "blosc"}}[codec]
        array = zarr.create_array(
            path, shape=stored.shape, chunks=(*lead, *chunk), dtype=stored.dtype, zarr_format=2, compressors=compressor, order="F",
            fill_value=case.fill_value, chunk_key_encoding={"name": "v2", "separator": "/" if index_first else "."},
        )  # fmt: skip
    else:
        from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

        compressors = {"raw": [], "zstd": [ZstdCodec(level=3, checksum=index_first)], "gzip": [GzipCodec()], "blosc": [BloscCodec()]}[codec]
        is_sharded = shard != chunk
        shards: Any = {"shape": (*lead, *shard), "index_location": "start" if index_first else "end"} if is_sharded else None
        array = zarr.create_array(
            path, shape=stored.shape, chunks=(*lead, *chunk), shards=shards, dtype=stored.dtype, zarr_format=3, compressors=compressors,
            fill_value=case.fill_value,
        )  # fmt: skip
    array[...] = stored


def _write_tensorstore(case: Case, stored: Array, path: Path) -> None:
    chunk, shard, codec, index_first = case.source_layout
    lead = [stored.shape[i] if name == "c" else 1 for i, (name, _) in enumerate(case.lead)]
    store = {"driver": "file", "path": f"{path}/"}
    spec: dict[str, Any]
    if case.data_format == "zarr":
        compressor = {"raw": None, "zstd": {"id": "zstd", "level": 3}, "gzip": {"id": "gzip", "level": 3}}.get(codec, {"id": "blosc"})
        metadata = {"chunks": [*lead, *chunk], "compressor": compressor, "order": "C" if index_first else "F", "dimension_separator": "/"}
        metadata |= {"shape": list(stored.shape), "dtype": stored.dtype.str, "fill_value": case.fill_value}
        spec = {"driver": "zarr", "kvstore": store, "metadata": metadata}
    else:
        codecs: list[Any] = [{"name": "transpose", "configuration": {"order": list(range(stored.ndim))[::-1]}}] if index_first else []
        codecs += [{"name": "bytes", "configuration": {"endian": "little"}}]
        codecs += {
            "raw": [],
            "zstd": [{"name": "zstd", "configuration": {"level": 3, "checksum": True}}],
            "gzip": [{"name": "gzip", "configuration": {"level": 3}}],
            "blosc": [{"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5, "shuffle": "shuffle"}}],
        }[codec]
        outer = [*lead, *shard]
        if shard != chunk:
            index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
            sharding = {"chunk_shape": [*lead, *chunk], "codecs": codecs, "index_codecs": index}
            sharding |= {"index_location": "start" if index_first else "end"}
            codecs = [{"name": "sharding_indexed", "configuration": sharding}]
        metadata = {"shape": list(stored.shape), "data_type": stored.dtype.name, "fill_value": case.fill_value, "codecs": codecs}
        metadata |= {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}}}
        spec = {"driver": "zarr3", "kvstore": store, "metadata": metadata}
    array: Any = tensorstore.open(spec, create=True).result()
    array[...].write(stored).result()


def _write_wkw(case: Case, stored: Array, path: Path) -> None:
    chunk, shard, codec, _ = case.source_layout
    blocks = _WKW_BLOCKS[codec]
    header = wkw.Header(stored.dtype, stored.shape[0], block_len=chunk[0], file_len=shard[0] // chunk[0], block_type=blocks)
    path.parent.mkdir(parents=True, exist_ok=True)
    if blocks != 1:  # whole files only
        shape = [stored.shape[0], *(-(-n // shard[0]) * shard[0] for n in stored.shape[1:])]
        whole = np.zeros(shape, stored.dtype)
        whole[tuple(slice(n) for n in stored.shape)] = stored
        stored = whole
    with wkw.Dataset.create(str(path), header) as dataset:
        dataset.write((0, 0, 0), np.asfortranarray(stored))


def _properties(case: Case) -> dict[str, Any]:
    kind, order = np.dtype(case.dtype), {name: case.axes.index(name) for name in ("c", "x", "y", "z")}
    bits = 8 * kind.itemsize * case.channels
    name = f"{kind.name.rstrip('0123456789')}{bits}"
    width, height, depth = case.size
    mag: dict[str, Any] = {"mag": list(case.finest), "path": f"./{LAYER}/{name_of(case.finest)}"}
    if case.data_format == "wkw":
        mag["cubeLength"] = case.source_layout[1][0]
    else:
        mag["axisOrder"] = order
    if case.channel_index:
        mag["channelIndex"] = case.channel_index
    layer: dict[str, Any] = {
        "name": LAYER,
        "category": case.category,
        "boundingBox": {"topLeft": list(case.topleft), "width": width, "height": height, "depth": depth},
        "dataFormat": case.data_format,
        "mags": [mag],
        "numChannels": case.channels,
        "elementClass": {"float32": "float", "float64": "double"}.get(name, name),
    }
    if case.category == "segmentation":
        layer["largestSegmentId"] = 5
    if "t" in case.axes:
        layer["additionalAxes"] = [{"name": "t", "bounds": [0, dict(case.lead)["t"]], "index": case.axes.index("t")}]
    return {"id": {"name": "d", "team": ""}, "scale": {"factor": list(case.voxel_size), "unit": "nanometer"}, "dataLayers": [layer]} | {
        "version": 1
    }
