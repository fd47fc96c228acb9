"""Read, check and make the zarr.json of an array, and decide which chains of codecs are native."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.array_json import DTYPES, ArrayJson
from wkpipe.formats.base import ArraySpec, Compression, DataFormat, Position
from wkpipe.formats.codecs import Codec, NoCodec, Zstd
from wkpipe.storage.place import Place

FILE_NAME = "zarr.json"
_INDEX_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@dataclass(frozen=True)
class ChunkCodecs:
    """A native chain of codecs: an optional transpose, bytes, an optional zstd."""

    order: Position
    stored_dtype: np.dtype[Any]
    codec: Codec


@dataclass(frozen=True)
class Zarr3Layout:
    """The content of zarr.json.

    `codecs` is None if the chain is not native. `index_at_start` and `index_has_crc` count only for sharded arrays.
    """

    json: ArrayJson
    spec: ArraySpec
    codecs: ChunkCodecs | None
    key_prefix: str
    key_separator: str
    is_sharded: bool
    index_at_start: bool
    index_has_crc: bool


def read_zarr3_layout(place: Place, axes: Sequence[str] | None) -> Zarr3Layout:
    """Read zarr.json.

    Raises:
        MetadataError: it is missing or broken, or the array has a data type or a chunk grid that wkpipe does not know.
    """
    json = ArrayJson(place, FILE_NAME)
    content = json.content
    json.require("zarr_format", 3)
    json.require("node_type", "array")
    if content.get("storage_transformers"):
        raise json.refusal("storage_transformers", content["storage_transformers"], "none")
    shape = json.extents("shape", content.get("shape"), None, 0)
    ndim = len(shape)
    dtype = DTYPES.get(content["data_type"]) if isinstance(content.get("data_type"), str) else None
    if dtype is None:
        raise json.refusal("data_type", content.get("data_type"), f"one of {', '.join(DTYPES)}")
    grid_name, grid = _named(json, "chunk_grid", content.get("chunk_grid"))
    if grid_name != "regular":
        raise json.refusal("chunk_grid", grid_name, "regular")
    shard = json.extents("chunk_grid.configuration.chunk_shape", grid.get("chunk_shape"), ndim, 1)
    prefix, separator = _key_encoding(json, content.get("chunk_key_encoding"))

    chain = _chain(json, "codecs", content.get("codecs"))
    is_sharded = chain[0][0] == "sharding_indexed"
    chunk, inner, at_start, has_crc, is_native = shard, chain, False, True, True
    if is_sharded:
        sharding = chain[0][1]
        chunk = json.extents("codecs.sharding_indexed.chunk_shape", sharding.get("chunk_shape"), ndim, 1)
        if any(s % c for s, c in zip(shard, chunk, strict=True)):
            raise json.refusal("codecs.sharding_indexed.chunk_shape", list(chunk), f"a divisor of the shard shape {list(shard)}")
        inner = _chain(json, "codecs.sharding_indexed.codecs", sharding.get("codecs"))
        location = sharding.get("index_location", "end")
        if location not in ("start", "end"):
            raise json.refusal("codecs.sharding_indexed.index_location", location, '"start" or "end"')
        at_start = location == "start"
        index = _chain(json, "codecs.sharding_indexed.index_codecs", sharding.get("index_codecs"))
        has_crc = index[-1][0] == "crc32c"
        plain = index[:-1] if has_crc else index
        # The foreign reader reads shards of one chunk: to `ArraySpec`, equal shapes mean chunk files.
        is_native = (
            len(chain) == 1 and chunk != shard and [name for name, _ in plain] == ["bytes"] and plain[0][1].get("endian") == "little"
        )
    json.check_size("chunk_shape", chunk, dtype, math.prod(shard) // math.prod(chunk))

    codecs = _native_codecs(json, inner, dtype, ndim) if is_native else None
    compression = (
        codecs.codec.compression if codecs is not None else Compression(next((n for n, _ in inner if n not in _STRUCTURE), "none"))
    )
    spec = ArraySpec(
        data_format=DataFormat.ZARR3,
        axes=json.axes(axes, content.get("dimension_names"), ndim),
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk,
        shard_shape=shard,
        compression=compression,
        fill_value=json.fill_value(content.get("fill_value"), dtype),
    )
    return Zarr3Layout(json, spec, codecs, prefix, separator, is_sharded, at_start, has_crc)


_STRUCTURE = ("transpose", "bytes", "sharding_indexed")


def _named(json: ArrayJson, key: str, found: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the configuration of an extension point; a plain string is short for a name."""
    if isinstance(found, str):
        return found, {}
    if isinstance(found, dict) and isinstance(found.get("name"), str):
        configuration = found.get("configuration", {})
        if isinstance(configuration, dict):
            return found["name"], configuration
    raise json.refusal(key, found, "an object with name and configuration")


def _chain(json: ArrayJson, key: str, found: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(found, list) or not found:
        raise json.refusal(key, found, "a list of codecs")
    return [_named(json, key, codec) for codec in found]


def _key_encoding(json: ArrayJson, found: Any) -> tuple[str, str]:
    """Return the prefix of a key and the separator of its positions."""
    name, configuration = _named(json, "chunk_key_encoding", found)
    if name not in ("default", "v2"):
        raise json.refusal("chunk_key_encoding", name, '"default" or "v2"')
    separator = configuration.get("separator", "/" if name == "default" else ".")
    if separator not in ("/", "."):
        raise json.refusal("chunk_key_encoding.separator", separator, '"/" or "."')
    return ("c" if name == "default" else ""), separator


def _native_codecs(json: ArrayJson, chain: list[tuple[str, dict[str, Any]]], dtype: np.dtype[Any], ndim: int) -> ChunkCodecs | None:
    """Return the chain if it is native; None if it is another one."""
    rest = list(chain)
    order: Position = tuple(range(ndim))
    if rest[0][0] == "transpose":
        found = rest.pop(0)[1].get("order")
        if not isinstance(found, list) or any(type(axis) is not int for axis in found) or sorted(found) != list(range(ndim)):
            raise json.refusal("codecs.transpose.order", found, f"a permutation of {list(range(ndim))}")
        order = tuple(found)
    if not rest or rest[0][0] != "bytes":
        return None
    endian = rest.pop(0)[1].get("endian", "little" if dtype.itemsize == 1 else None)
    if endian not in ("little", "big"):
        raise json.refusal("codecs.bytes.endian", endian, '"little" or "big"')
    stored = dtype.newbyteorder(">") if endian == "big" else dtype
    if not rest:
        return ChunkCodecs(order, stored, NoCodec())
    if len(rest) != 1 or rest[0][0] != "zstd":
        return None
    level, checksum = rest[0][1].get("level", 0), rest[0][1].get("checksum", False)
    if type(level) is not int or not -131072 <= level <= 22:
        raise json.refusal("codecs.zstd.level", level, "an integer from -131072 to 22")
    if not isinstance(checksum, bool):
        raise json.refusal("codecs.zstd.checksum", checksum, "true or false")
    return ChunkCodecs(order, stored, Zstd(level, checksum))


def make_zarr3_json(spec: ArraySpec) -> dict[str, Any]:
    """Return zarr.json for a new array in the canonical layout."""
    chunk_codecs: list[dict[str, Any]] = [
        {"name": "transpose", "configuration": {"order": list(reversed(range(len(spec.axes))))}},
        {"name": "bytes", "configuration": {"endian": "little"}} if spec.dtype.itemsize > 1 else {"name": "bytes"},
    ]
    if spec.compression.is_on:
        chunk_codecs.append({"name": "zstd", "configuration": {"level": spec.compression.level, "checksum": True}})
    return {
        "zarr_format": 3,
        "node_type": "array",
        "data_type": spec.dtype.name,
        "shape": list(spec.shape),
        "dimension_names": list(spec.axes),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(spec.shard_shape)}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [sharding_of(spec.chunk_shape, chunk_codecs)] if spec.is_sharded else chunk_codecs,
        "fill_value": json_fill_value(spec),
    }


def sharding_of(chunk_shape: Sequence[int], chunk_codecs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the codec that makes storage shards, with its index at the end."""
    index_codecs = [_INDEX_BYTES, {"name": "crc32c"}]
    return {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": list(chunk_shape), "codecs": chunk_codecs, "index_codecs": index_codecs},
    }


def json_fill_value(spec: ArraySpec) -> int | float | str:
    """Return the fill value as a JSON value."""
    if spec.dtype.kind != "f":
        return int(spec.fill_value)
    value = float(spec.fill_value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
