"""Arrays of rows: Zarr 3 arrays with one or two axes, as attachments of layers hold them; written whole, with storage shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import google_crc32c
import numpy as np

from wkpipe.errors import MetadataError
from wkpipe.formats import open_array
from wkpipe.formats.array_json import as_json
from wkpipe.formats.base import DataFormat, Voxels
from wkpipe.formats.codecs import Zstd
from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.formats.zarr3_metadata import sharding_of
from wkpipe.storage.place import Place

_CHUNKS_PER_SHARD: Final = 4096
_ABSENT: Final = 2**64 - 1


def row_files(rows: Voxels, chunk_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of the files of a new array: its storage shards, then zarr.json.

    Chunks have about `chunk_bytes`, shards 4096 chunks; an array that is smaller has one. Chunks of zeros are not stored.

    Args:
        rows: the rows along the first axis; little-endian.
        chunk_bytes: the size of a chunk before it is compressed.
    """
    count, row_bytes = len(rows), rows.dtype.itemsize * math.prod(rows.shape[1:])
    chunk = max(1, min(count, chunk_bytes // row_bytes))
    shard = -(-max(1, min(count, _CHUNKS_PER_SHARD * chunk_bytes // row_bytes)) // chunk) * chunk
    for number, start in enumerate(range(0, count, shard)):
        if content := _shard(rows[start : start + shard], chunk, shard // chunk):
            yield "/".join(["c", str(number), *("0" for _ in rows.shape[1:])]), content
    yield "zarr.json", as_json(_metadata(rows, chunk, shard))


def _shard(rows: Voxels, chunk: int, count: int) -> bytes:
    """Return the content of a storage shard; empty if all rows are zero."""
    codec, stored, end = Zstd(DEFAULT_LEVEL, checksum=True), [], 0
    codec.check_writable()
    index = np.full((count, 2), _ABSENT, "<u8")
    for cell in range(-(-len(rows) // chunk)):
        part = rows[cell * chunk : (cell + 1) * chunk]
        if not part.any():
            continue
        whole = np.zeros((chunk, *rows.shape[1:]), rows.dtype)
        whole[: len(part)] = part
        stored.append(codec.encode(whole.tobytes()))
        index[cell] = end, len(stored[-1])
        end += len(stored[-1])
    raw = index.tobytes()
    return b"".join([*stored, raw, google_crc32c.value(raw).to_bytes(4, "little")]) if stored else b""


def _metadata(rows: Voxels, chunk: int, shard: int) -> dict[str, Any]:
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": DEFAULT_LEVEL, "checksum": True}},
    ]
    columns = list(rows.shape[1:])
    return {
        "zarr_format": 3,
        "node_type": "array",
        "data_type": rows.dtype.name,
        "shape": list(rows.shape),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [shard, *columns]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [sharding_of([chunk, *columns], codecs)],
        "fill_value": 0.0 if rows.dtype.kind == "f" else 0,
    }


def row_count(place: Place, columns: int | None) -> int:
    """Return the number of rows of an array; raises as `read_rows`."""
    return _shape(place, columns)[0]


def read_rows(place: Place, columns: int | None, kinds: str) -> Voxels:
    """Return all rows of an array.

    Args:
        columns: the length of the second axis; None if there is one axis.
        kinds: the kinds of dtypes that are possible, such as ``"iu"``.

    Raises:
        MetadataError: there is no such array, or it has another shape or dtype.
        DamagedShard: a chunk cannot be decoded.
    """
    shape = _shape(place, columns)
    array = open_array(place, DataFormat.ZARR3, _AXES[: len(shape)])
    if array.spec.dtype.kind not in kinds:
        expected = "integers" if "f" not in kinds else "floats"
        raise MetadataError(where=place.path("zarr.json"), found=f"the dtype {array.spec.dtype}", expected=expected)
    return np.ascontiguousarray(array.read((0,) * len(shape), shape))


_AXES: Final = ("row", "column")


def _shape(place: Place, columns: int | None) -> tuple[int, ...]:
    axes = _AXES[: 1 if columns is None else 2]
    shape = open_array(place, DataFormat.ZARR3, axes).spec.shape
    if columns is not None and shape[1] != columns:
        raise MetadataError(where=place.path("zarr.json"), found=f"{shape[1]} columns", expected=str(columns))
    return shape
