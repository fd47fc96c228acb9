"""New arrays: the shapes and types that a format can hold, and the metadata that an array starts with."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.formats.array_json import DTYPES, MAX_CHUNK_BYTES, MAX_CHUNKS_PER_SHARD, MAX_EXTENT, MAX_METADATA_BYTES
from wkpipe.formats.base import NO_COMPRESSION, ArraySpec, Compression, DataFormat
from wkpipe.formats.wkw import AXES as WKW_AXES
from wkpipe.formats.wkw import MAX_BLOCKS as WKW_MAX_BLOCKS
from wkpipe.formats.wkw import wkw_files
from wkpipe.formats.zarr2 import zarr2_files
from wkpipe.formats.zarr3 import zarr3_files
from wkpipe.formats.zstd_parameters import LEVEL_OF_SETS, SETS
from wkpipe.native.libzstd import check_release
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place

DEFAULT_LEVEL = 5
_KINDS = {
    DataFormat.ZARR3: ("none", "zstd"),
    DataFormat.ZARR: ("none", "zstd"),
    DataFormat.WKW: ("none", "lz4", "lz4hc"),
}


def default_compression(data_format: DataFormat, level: int = DEFAULT_LEVEL) -> Compression:
    """Return the default compression of a format: zstd at `level`; LZ4-HC for WKW, which has no levels."""
    return Compression("lz4hc") if data_format is DataFormat.WKW else Compression("zstd", level)


def make_spec(
    data_format: DataFormat,
    axes: Sequence[str],
    bottomright: Sequence[int],
    dtype: np.dtype[Any] | type[np.generic] | str,
    num_channels: int,
    chunk_shape_xyz: Sequence[int],
    shard_shape_xyz: Sequence[int],
    compression: Compression | bool = True,
) -> ArraySpec:
    """Return the spec of a new array in the canonical layout.

    Args:
        axes: names in array order; x, y and z must be among them, each once.
        bottomright: end of the data in voxels of the mag, one value per axis in array order; the value of c is ignored,
            `num_channels` counts.
        chunk_shape_xyz: in voxels; a chunk holds all channels, and one position of every other axis (such as t).
        shard_shape_xyz: in voxels; the array's shape is rounded up to whole shards.
        compression: True stands for the default of the format.

    Raises:
        InputRefused: the format cannot hold such an array.
        NotWritable: it is compressed with zstd, and its library is another release than the one that writes.
    """
    axes = tuple(axes)
    if len(set(axes)) != len(axes) or not set("xyz") <= set(axes) or len(bottomright) != len(axes):
        raise InputRefused(f"axes {axes} with bottom right {tuple(bottomright)}", expected="x, y and z, each axis once and with one value")
    if isinstance(compression, bool):
        compression = default_compression(data_format) if compression else NO_COMPRESSION
    if compression.kind == "zstd" and compression.level is None:
        compression = Compression("zstd", DEFAULT_LEVEL)
    chunk_of = {**dict.fromkeys(axes, 1), "c": num_channels, **dict(zip("xyz", map(int, chunk_shape_xyz), strict=True))}
    shard_of = {**dict.fromkeys(axes, 1), "c": num_channels, **dict(zip("xyz", map(int, shard_shape_xyz), strict=True))}
    end_of = {**dict(zip(axes, map(int, bottomright), strict=True)), "c": num_channels}
    if min(end_of.values()) < 0 or min(chunk_of.values()) < 1 or min(shard_of.values()) < 1:
        raise InputRefused(f"array end {end_of}, chunk {chunk_of}, shard {shard_of}", expected="no negative end, and shapes of at least 1")
    spec = ArraySpec(
        data_format=data_format,
        axes=axes,
        shape=tuple(-(-end_of[axis] // shard_of[axis]) * shard_of[axis] if axis in "xyz" else end_of[axis] for axis in axes),
        dtype=np.dtype(dtype).newbyteorder("<"),
        chunk_shape=tuple(chunk_of[axis] for axis in axes),
        shard_shape=tuple(shard_of[axis] for axis in axes),
        compression=compression,
    )
    validate_spec(spec)
    if compression.kind == "zstd":
        check_release()
    return spec


def validate_spec(spec: ArraySpec) -> None:
    """Refuse a spec that its format cannot hold, before anything is created.

    Raises:
        InputRefused: names the value that was found and what is possible.
    """
    kinds = _KINDS.get(spec.data_format)
    if kinds is None:
        raise InputRefused(f"wkpipe does not write {spec.data_format}", fix="choose zarr3, zarr or wkw")
    if spec.compression.kind not in kinds:
        raise InputRefused(
            f"compression {spec.compression.kind} is not possible in {spec.data_format}", fix=f"choose one of {', '.join(kinds)}"
        )
    level = spec.compression.level
    if spec.compression.kind == "zstd" and (level is None or not 1 <= level <= 22):
        raise InputRefused(where="compression level", found=level, expected="1 to 22")
    if spec.compression.named is not None and (spec.compression.named not in SETS or level != LEVEL_OF_SETS):
        names = f"one of {', '.join(SETS)} at level {LEVEL_OF_SETS}"
        raise InputRefused(where="parameters of zstd", found=f"{spec.compression.named} at level {level}", expected=names)
    if spec.dtype.name not in DTYPES or spec.dtype != DTYPES[spec.dtype.name]:
        raise InputRefused(f"data type {spec.dtype} cannot be stored", fix=f"choose one of {', '.join(DTYPES)}")
    _validate_shapes(spec)
    if spec.data_format is DataFormat.ZARR and spec.chunk_shape != spec.shard_shape:
        raise InputRefused(
            "zarr (version 2) has no shards", found=f"shard shape {spec.shard_shape}", expected=f"the chunk shape {spec.chunk_shape}"
        )
    if spec.data_format is DataFormat.WKW:
        _validate_wkw(spec)


def _validate_shapes(spec: ArraySpec) -> None:
    ndim = len(spec.axes)
    if not len(spec.shape) == len(spec.chunk_shape) == len(spec.shard_shape) == ndim or len(set(spec.axes)) != ndim:
        raise InputRefused(
            f"axes {spec.axes} need one value each in shape {spec.shape}, chunk {spec.chunk_shape}, shard {spec.shard_shape}"
        )
    if min(spec.shape) < 0 or max(spec.shape) > MAX_EXTENT:
        raise InputRefused(f"array shape {spec.shape}", expected=f"0 to {MAX_EXTENT} along every axis")
    for axis, chunk, shard in zip(spec.axes, spec.chunk_shape, spec.shard_shape, strict=True):
        if chunk < 1 or shard < 1 or shard % chunk:
            raise InputRefused(f"the shard shape {shard} is not a multiple of the chunk shape {chunk}", where=f"axis {axis}")
        if axis in "xyz" and (chunk & (chunk - 1) or shard & (shard - 1)):
            raise InputRefused(f"chunk shape {chunk} and shard shape {shard} must be powers of two", where=f"axis {axis}")
    if spec.chunk_bytes > MAX_CHUNK_BYTES:
        raise InputRefused(
            f"a chunk of {spec.chunk_shape} {spec.dtype} has {spec.chunk_bytes} bytes", expected=f"at most {MAX_CHUNK_BYTES}"
        )
    if math.prod(spec.shard_shape) // math.prod(spec.chunk_shape) > MAX_CHUNKS_PER_SHARD:
        raise InputRefused(
            f"a shard of {spec.shard_shape} has too many chunks of {spec.chunk_shape}", expected=f"at most {MAX_CHUNKS_PER_SHARD}"
        )


def _validate_wkw(spec: ArraySpec) -> None:
    if spec.axes != WKW_AXES:
        raise InputRefused("wkw has fixed axes", found=spec.axes, expected=WKW_AXES, fix="choose zarr3")
    if len(set(spec.chunk_shape[1:])) != 1 or len(set(spec.shard_shape[1:])) != 1:
        raise InputRefused(
            "wkw needs cubes", found=f"chunk {spec.chunk_shape[1:]} and shard {spec.shard_shape[1:]}", expected="equal edges"
        )
    channels, edge = spec.chunk_shape[:2]
    file_edge = spec.shard_shape[1] // edge
    if not channels == spec.shard_shape[0] == spec.shape[0]:
        raise InputRefused(
            "wkw stores all channels in every block",
            found=f"{spec.shape[0]} channels, {channels} in a chunk, {spec.shard_shape[0]} in a shard",
            expected="equal numbers",
        )
    if channels * spec.dtype.itemsize > 255:
        raise InputRefused(
            f"{channels} channels of {spec.dtype} have {channels * spec.dtype.itemsize} bytes a voxel", expected="at most 255 in wkw"
        )
    if edge > 1 << 15 or file_edge**3 > WKW_MAX_BLOCKS:
        raise InputRefused(
            where="wkw", found=f"blocks of edge {edge} and {file_edge} of them per file edge", expected="at most 32768 and 128"
        )
    if spec.fill_value != 0:
        raise InputRefused("wkw has no other fill value than 0", found=spec.fill_value)


def has_array(place: Place) -> bool:
    """True if an array, or anything else, is at a place; attributes alone do not count, because a killed run leaves them."""
    return any(name != ".zattrs" for name in place.names())


def new_metadata(place: Place, spec: ArraySpec, attributes: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Return the metadata files that a new array begins with; none if the same files exist, as after an interruption.

    `attributes` are the attributes of the array; WKW has none.

    Raises:
        InputRefused: see `validate_spec`; nothing was created.
        AlreadyExists: another array exists there.
    """
    validate_spec(spec)
    make = {DataFormat.ZARR3: zarr3_files, DataFormat.ZARR: zarr2_files, DataFormat.WKW: wkw_files}[spec.data_format]
    files = make(spec, attributes or {})
    for other in ("zarr.json", ".zarray", "header.wkw", "attributes.json"):
        if place.has(other):
            if _content(place, other) == files.get(other):
                return {}
            raise AlreadyExists("another array exists here", where=place.path(other), fix="remove it or choose another directory")
    # The metadata of the array itself comes last: if it exists, all files exist.
    return dict(reversed(files.items()))


def _content(place: Place, key: str) -> bytes | None:
    """Return a metadata file; None if it is too large to be one of wkpipe's."""
    with contextlib.suppress(TooLarge):
        return place.content(key, MAX_METADATA_BYTES)
    return None
