"""Zarr 2 arrays: ``.zarray`` and one file per chunk; native with zstd or no compressor, in either memory order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.array_json import DTYPES, ArrayJson, as_json, write_shape
from wkpipe.formats.base import ArraySpec, Compression, DataFormat
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.formats.codecs import Codec, NoCodec, Zstd
from wkpipe.formats.file_names import zarr_names
from wkpipe.formats.zarr3_metadata import json_fill_value
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch

FILE_NAME = ".zarray"
ATTRIBUTES_NAME = ".zattrs"
_DTYPES = {stored.str: stored for dtype in DTYPES.values() for stored in (dtype.newbyteorder(">"), dtype.newbyteorder("<"))}


@dataclass(frozen=True)
class Zarr2Layout:
    """The content of .zarray; `codec` is None if the compressor or a filter is not native."""

    json: ArrayJson
    spec: ArraySpec
    stored_dtype: np.dtype[Any]
    codec: Codec | None
    separator: str
    is_fortran: bool


def read_zarr2_layout(place: Place, axes: Sequence[str] | None) -> Zarr2Layout:
    """Read .zarray.

    Raises:
        MetadataError: it is missing or broken, or the array has a data type that wkpipe does not know.
    """
    json = ArrayJson(place, FILE_NAME)
    content = json.content
    json.require("zarr_format", 2)
    shape = json.extents("shape", content.get("shape"), None, 0)
    chunk = json.extents("chunks", content.get("chunks"), len(shape), 1)
    found = content.get("dtype")
    stored = _DTYPES.get(found) if isinstance(found, str) else None
    if stored is None:
        raise json.refusal("dtype", found, f"one of {', '.join(sorted(_DTYPES))}")
    dtype = stored.newbyteorder("<")
    json.check_size("chunks", chunk, dtype)
    order, separator = content.get("order", "C"), content.get("dimension_separator", ".")
    if order not in ("C", "F"):
        raise json.refusal("order", order, '"C" or "F"')
    if separator not in ("/", "."):
        raise json.refusal("dimension_separator", separator, '"/" or "."')
    compression, codec = _codec(json)
    spec = ArraySpec(
        data_format=DataFormat.ZARR,
        axes=json.axes(axes, None, len(shape)),
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk,
        shard_shape=chunk,
        compression=compression,
        fill_value=json.fill_value(content.get("fill_value"), dtype),
    )
    return Zarr2Layout(json, spec, stored, codec, separator, order == "F")


def _codec(json: ArrayJson) -> tuple[Compression, Codec | None]:
    """Return the compression, and its codec if it is native."""
    compressor, filters = json.content.get("compressor"), json.content.get("filters")
    if filters:
        return Compression("filters"), None
    if compressor is None:
        return Compression("none"), NoCodec()
    if not isinstance(compressor, dict) or not isinstance(compressor.get("id"), str):
        raise json.refusal("compressor", compressor, "null or an object with an id")
    if compressor["id"] != "zstd":
        return Compression(compressor["id"]), None
    level, checksum = compressor.get("level", 0), compressor.get("checksum", False)
    if type(level) is not int or not -131072 <= level <= 22:
        raise json.refusal("compressor.level", level, "an integer from -131072 to 22")
    codec = Zstd(level, checksum is True)
    return codec.compression, codec


class Zarr2Array(ChunkFilesArray):
    """A Zarr 2 array with a native compressor."""

    def __init__(self, place: Place, layout: Zarr2Layout, codec: Codec) -> None:
        spec = layout.spec
        axes = tuple(range(len(spec.axes)))
        coder = ChunkCoder(spec.chunk_shape, layout.stored_dtype, axes[::-1] if layout.is_fortran else axes, codec, spec.fill_value)
        super().__init__(place, spec, coder, zarr_names(place, len(axes), layout.separator, ""))
        self._json = layout.json

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        write_shape(self._json, shape, scratch)
        self._set_shape(shape)


def zarr2_files(spec: ArraySpec, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a new array's metadata files by name."""
    content = {
        "zarr_format": 2,
        "shape": list(spec.shape),
        "chunks": list(spec.chunk_shape),
        "dtype": spec.dtype.str,
        "fill_value": json_fill_value(spec),
        "order": "F",
        "filters": None,
        "compressor": {"id": "zstd", "level": spec.compression.level} if spec.compression.is_on else None,
        "dimension_separator": "/",
    }
    return {FILE_NAME: as_json(content), **({ATTRIBUTES_NAME: as_json(dict(attributes))} if attributes else {})}
