"""New arrays: which shapes and types a format can hold, and the metadata that its array starts with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.formats.array_json import DTYPES, MAX_CHUNK_BYTES, MAX_CHUNKS_PER_SHARD, MAX_EXTENT
from wkpipe.formats.base import NO_COMPRESSION, ArraySpec, Compression, DataFormat
from wkpipe.formats.wkw import AXES as WKW_AXES
from wkpipe.formats.wkw import MAX_BLOCKS as WKW_MAX_BLOCKS
from wkpipe.formats.wkw import wkw_files
from wkpipe.formats.zarr2 import zarr2_files
from wkpipe.formats.zarr3 import zarr3_files

DEFAULT_LEVEL = 5
_KINDS = {
    DataFormat.ZARR3: ("none", "zstd"),
    DataFormat.ZARR: ("none", "zstd"),
    DataFormat.WKW: ("none", "lz4", "lz4hc"),
}


def default_compression(data_format: DataFormat, level: int = DEFAULT_LEVEL) -> Compression:
    """Return what a format's chunks are compressed with: zstd at `level`, or LZ4-HC for WKW, which has no levels."""
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
        bottomright: end of the data in voxels of the mag, one value per axis in array order; the value of c does not
            count, `num_channels` does.
        chunk_shape_xyz: voxels; the channel axis is whole in a chunk, every other axis (as t) is cut into ones.
        shard_shape_xyz: voxels; the array's shape is rounded up to whole shards.
        compression: True stands for the format's default.

    Raises:
        InputRefused: the format can not hold such an array.
    """
    axes = tuple(axes)
    if len(set(axes)) != len(axes) or not set("xyz") <= set(axes) or len(bottomright) != len(axes):
        raise InputRefused(f"axes {axes} with bottom right {tuple(bottomright)}: expected x, y and z, each axis once and with one value")
    if isinstance(compression, bool):
        compression = default_compression(data_format) if compression else NO_COMPRESSION
    if compression.kind == "zstd" and compression.level is None:
        compression = Compression("zstd", DEFAULT_LEVEL)
    chunk_of = {**dict.fromkeys(axes, 1), "c": num_channels, **dict(zip("xyz", map(int, chunk_shape_xyz), strict=True))}
    shard_of = {**dict.fromkeys(axes, 1), "c": num_channels, **dict(zip("xyz", map(int, shard_shape_xyz), strict=True))}
    end_of = {**dict(zip(axes, map(int, bottomright), strict=True)), "c": num_channels}
    if min(end_of.values()) < 0 or min(chunk_of.values()) < 1 or min(shard_of.values()) < 1:
        raise InputRefused(f"an array's end {end_of}, chunk {chunk_of} and shard {shard_of} must not be negative, nor shapes zero")
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
    return spec


def validate_spec(spec: ArraySpec) -> None:
    """Refuse what a format can not hold, before anything is made.

    Raises:
        InputRefused: says which value was found and what is possible.
    """
    kinds = _KINDS.get(spec.data_format)
    if kinds is None:
        raise InputRefused(f"wkpipe does not write {spec.data_format}; choose zarr3, zarr or wkw")
    if spec.compression.kind not in kinds:
        raise InputRefused(f"compression {spec.compression.kind} is not possible in {spec.data_format}; choose one of {', '.join(kinds)}")
    level = spec.compression.level
    if spec.compression.kind == "zstd" and (level is None or not 1 <= level <= 22):
        raise InputRefused(f"compression level: found {level}, expected 1 to 22")
    if spec.dtype.name not in DTYPES or spec.dtype != DTYPES[spec.dtype.name]:
        raise InputRefused(f"data type {spec.dtype} can not be stored; choose one of {', '.join(DTYPES)}")
    ndim = len(spec.axes)
    if not len(spec.shape) == len(spec.chunk_shape) == len(spec.shard_shape) == ndim or len(set(spec.axes)) != ndim:
        raise InputRefused(
            f"axes {spec.axes} need one value each in shape {spec.shape}, chunk {spec.chunk_shape}, shard {spec.shard_shape}"
        )
    if min(spec.shape) < 0 or max(spec.shape) > MAX_EXTENT:
        raise InputRefused(f"array shape {spec.shape}: expected 0 to {MAX_EXTENT} along every axis")
    for axis, chunk, shard in zip(spec.axes, spec.chunk_shape, spec.shard_shape, strict=True):
        if chunk < 1 or shard < 1 or shard % chunk:
            raise InputRefused(f"axis {axis}: the shard shape {shard} is no multiple of the chunk shape {chunk}")
        if axis in "xyz" and (chunk & (chunk - 1) or shard & (shard - 1)):
            raise InputRefused(f"axis {axis}: chunk shape {chunk} and shard shape {shard} must be powers of two")
    if spec.chunk_bytes > MAX_CHUNK_BYTES:
        raise InputRefused(
            f"a chunk of {spec.chunk_shape} {spec.dtype} has {spec.chunk_bytes} bytes; at most {MAX_CHUNK_BYTES} are possible"
        )
    if math.prod(spec.shard_shape) // math.prod(spec.chunk_shape) > MAX_CHUNKS_PER_SHARD:
        raise InputRefused(f"a shard of {spec.shard_shape} has too many chunks of {spec.chunk_shape}; at most {MAX_CHUNKS_PER_SHARD}")
    if spec.data_format is DataFormat.ZARR and spec.chunk_shape != spec.shard_shape:
        raise InputRefused(f"zarr (version 2) has no shards: shard shape {spec.shard_shape} must equal chunk shape {spec.chunk_shape}")
    if spec.data_format is DataFormat.WKW:
        _validate_wkw(spec)


def _validate_wkw(spec: ArraySpec) -> None:
    if spec.axes != WKW_AXES:
        raise InputRefused(f"wkw holds the axes {WKW_AXES}, not {spec.axes}; choose zarr3")
    if len(set(spec.chunk_shape[1:])) != 1 or len(set(spec.shard_shape[1:])) != 1:
        raise InputRefused(f"wkw needs cubes: chunk {spec.chunk_shape[1:]} and shard {spec.shard_shape[1:]} must have equal edges")
    channels, edge = spec.chunk_shape[:2]
    file_edge = spec.shard_shape[1] // edge
    if not channels == spec.shard_shape[0] == spec.shape[0]:
        raise InputRefused(
            f"wkw holds all channels in a block: found {spec.shape[0]} channels, chunk {channels}, shard {spec.shard_shape[0]}"
        )
    if channels * spec.dtype.itemsize > 255:
        raise InputRefused(
            f"wkw holds at most 255 bytes a voxel: {channels} channels of {spec.dtype} have {channels * spec.dtype.itemsize}"
        )
    if edge > 1 << 15 or file_edge**3 > WKW_MAX_BLOCKS:
        raise InputRefused(f"wkw: found blocks of edge {edge} and {file_edge} of them per file edge, at most 32768 and 128 are possible")
    if spec.fill_value != 0:
        raise InputRefused(f"wkw has no fill value but 0, found {spec.fill_value}")


def has_array(path: Path) -> bool:
    """True if there is an array at a path, or what else is in its way; attributes alone are what a killed run leaves."""
    return path.is_dir() and any(entry.name != ".zattrs" for entry in path.iterdir())


def new_metadata(path: Path, spec: ArraySpec, attributes: Mapping[str, Any] | None = None) -> dict[Path, bytes]:
    """Return the metadata files that a new array begins with; none where the very same ones are there, as after an interruption.

    `attributes` are those of the array; WKW has none.

    Raises:
        InputRefused: see `validate_spec`; nothing was made.
        AlreadyExists: another array is there.
    """
    validate_spec(spec)
    make = {DataFormat.ZARR3: zarr3_files, DataFormat.ZARR: zarr2_files, DataFormat.WKW: wkw_files}[spec.data_format]
    files = make(spec, attributes or {})
    for other in ("zarr.json", ".zarray", "header.wkw", "attributes.json"):
        existing = path / other
        if existing.exists():
            if existing.read_bytes() == files.get(other):
                return {}
            raise AlreadyExists(f"{existing}: another array is here already; remove it or choose another place")
    # The array's own metadata last: it is there when all is.
    return {path / name: content for name, content in reversed(files.items())}
