"""Arrays that wkpipe only reads, through tensorstore: other codecs of Zarr, N5, Neuroglancer precomputed."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.errors import DamagedShard, InputRefused, MetadataError
from wkpipe.formats.array_json import DTYPES, MAX_CHUNK_BYTES, MAX_EXTENT, ArrayJson
from wkpipe.formats.base import ArraySpec, Compression, DataFormat, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunked import checked_region
from wkpipe.formats.file_names import FileNames, Level, NestedNames
from wkpipe.formats.open_files import status_of
from wkpipe.formats.proving import proof_of_files, read_file
from wkpipe.storage.commit import Scratch

_CONTEXT = {
    "cache_pool": {"total_bytes_limit": 0},
    "data_copy_concurrency": {"limit": 2},
    "file_io_concurrency": {"limit": 4},
}

MOST_BYTES_BESIDE = 64 << 10
"""What a chunk's file may have beyond twice the bytes of its voxels: headers, and data that do not compress."""


def _reason(error: Exception) -> str:
    """Return a library's message in one line."""
    return " ".join(str(error).split())[:400]


def open_store(path: Path, spec: dict[str, Any]) -> Any:
    """Open an array with tensorstore.

    Raises:
        MetadataError: its metadata are broken, or it has a codec that tensorstore does not know.
    """
    import tensorstore  # here, because it takes a third of a second, and most datasets do not need it

    try:
        return tensorstore.open(spec, read=True, open=True, context=tensorstore.Context(_CONTEXT)).result()
    except (ValueError, OSError, NotImplementedError) as error:
        raise MetadataError(f"{path}: can not be opened: {_reason(error)}") from error


class ForeignFiles(ABC):
    """Which files hold a region of a foreign array."""

    @abstractmethod
    def keys(self, start: Position, end: Position) -> list[str]:
        """Return the keys (paths below the array's directory) of the existing files that hold voxels of a region."""

    @abstractmethod
    def regions(self) -> Iterator[tuple[Position, Position]]:
        """Yield first and end voxel of every file."""


class GridFiles(ForeignFiles):
    """Files in a regular grid of cells."""

    def __init__(self, names: FileNames, cell: Position) -> None:
        self._names = names
        self._cell = cell

    def keys(self, start: Position, end: Position) -> list[str]:
        first = [a // c for a, c in zip(start, self._cell, strict=True)]
        last = [-(-b // c) for b, c in zip(end, self._cell, strict=True)]
        return [self._names.key(position) for position in self._names.present(first, last)]

    def regions(self) -> Iterator[tuple[Position, Position]]:
        for position in self._names.all_present():
            yield (
                tuple(p * c for p, c in zip(position, self._cell, strict=True)),
                tuple((p + 1) * c for p, c in zip(position, self._cell, strict=True)),
            )


class PrecomputedFiles(ForeignFiles):
    """Files named by the voxels they hold, as ``0-64_0-64_0-64``; sharded arrays' files count for every region."""

    _NAME = re.compile(r"(\d{1,18})-(\d{1,18})_(\d{1,18})-(\d{1,18})_(\d{1,18})-(\d{1,18})(?:\.gz)?")

    def __init__(self, directory: Path, shape: Position) -> None:
        self._directory = directory
        self._shape = shape

    def _files(self) -> Iterator[tuple[str, Position, Position]]:
        for path in sorted(self._directory.iterdir() if self._directory.is_dir() else ()):
            if match := self._NAME.fullmatch(path.name):
                bounds = tuple(map(int, match.groups()))
                yield path.name, (0, *bounds[::2]), (self._shape[0], *bounds[1::2])
            elif path.suffix in (".shard", ".index", ".data"):
                yield path.name, (0, 0, 0, 0), self._shape

    def keys(self, start: Position, end: Position) -> list[str]:
        return [
            name for name, first, last in self._files() if all(a < d and c < b for a, b, c, d in zip(start, end, first, last, strict=True))
        ]

    def regions(self) -> Iterator[tuple[Position, Position]]:
        return ((first, last) for _, first, last in self._files())


class ForeignArray(StoredArray):
    """A read-only array. `store` has the axes of `spec`, its domain may start elsewhere than at 0."""

    survives_fork = False  # tensorstore has threads of its own

    def __init__(self, path: Path, spec: ArraySpec, store: Any, files: ForeignFiles) -> None:
        super().__init__(path, spec)
        self._store = store
        self._files = files
        self._origin: Position = tuple(store.domain.inclusive_min)
        self._end: Position = tuple(store.domain.exclusive_max)

    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        first, end = checked_region(self.spec, start, shape)
        out = np.full(tuple(shape), self.spec.fill_value, self.spec.dtype, order="F")
        low = tuple(map(max, first, self._origin))
        high = tuple(map(min, end, self._end))
        if any(b <= a for a, b in zip(low, high, strict=True)):
            return out
        self._check_files(low, high)
        try:
            stored = self._store[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].read(order="F").result()
        except (ValueError, OSError, NotImplementedError) as error:
            raise DamagedShard(f"{self.path}: can not be read: {_reason(error)}") from error
        out[tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))] = stored
        return out

    def _check_files(self, start: Position, end: Position) -> None:
        """Refuse what tensorstore would read without an end: files that are none, or far larger than a chunk can be.

        Raises:
            DamagedShard: names the file.
        """
        most = 2 * self.spec.chunk_bytes + MOST_BYTES_BESIDE
        for key in self._files.keys(start, end):
            path = self.path / key
            status = status_of(str(path))
            if status is not None and status.st_size > most and not self.spec.is_sharded and path.suffix != ".shard":
                raise DamagedShard(f"{path}: has {status.st_size} bytes, a chunk of {self.spec.chunk_bytes} has at most {most}; restore it")

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        first, end = checked_region(self.spec, start, shape)
        return math.prod(shape) == 0 or not self._files.keys(first, end)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:  # noqa: ARG002
        """Not offered: the bytes of foreign codecs mean nothing to wkpipe.

        Raises:
            InputRefused: always.
        """
        raise InputRefused(f"{self.path}: the stored bytes of a chunk compressed with {self.spec.compression.kind} are not passed on")

    # -- units --------------------------------------------------------------------------------------------------

    def _region(self, unit: Sequence[int]) -> tuple[Position, Position]:
        shape = self.spec.unit_shape
        return tuple(u * n for u, n in zip(unit, shape, strict=True)), tuple((u + 1) * n for u, n in zip(unit, shape, strict=True))

    def stored_units(self) -> Iterator[Position]:
        seen: set[Position] = set()
        shape, grid = self.spec.unit_shape, self.spec.unit_grid
        for first, end in self._files.regions():
            ranges = [range(a // n, min(-(-b // n), g)) for a, b, n, g in zip(first, end, shape, grid, strict=True)]
            for offset in np.ndindex(*map(len, ranges)):
                unit = tuple(r[o] for r, o in zip(ranges, offset, strict=True))
                if unit not in seen:
                    seen.add(unit)
                    yield unit

    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        return [self.path / key for key in sorted(self._files.keys(*self._region(unit)))]

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        read = {key: read_file(str(self.path / key)) for key in self._files.keys(*self._region(unit))}
        found = {key: file for key, file in read.items() if file is not None}
        return proof_of_files(found) if found else None

    def check_unit(self, unit: Sequence[int]) -> None:
        first, end = self._region(unit)
        for path in self.unit_files(unit):
            status_of(str(path))
        chunk = self.spec.chunk_shape
        low = tuple(max(a, o) for a, o in zip(first, self._origin, strict=True))
        cells = [range(a, max(a, min(b, e)), c) for a, b, e, c in zip(low, end, self._end, chunk, strict=True)]
        for offset in np.ndindex(*map(len, cells)):
            self.read([cell[o] for cell, o in zip(cells, offset, strict=True)], chunk)

    # -- writing ------------------------------------------------------------------------------------------------

    def _refused(self) -> InputRefused:
        kind = self.spec.compression.kind
        return InputRefused(
            f"{self.path}: wkpipe reads {self.spec.data_format} with {kind} but does not write it; convert the layer to zarr3"
        )

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:  # noqa: ARG002
        raise self._refused()

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:  # noqa: ARG002
        raise self._refused()


def foreign_zarr(path: Path, spec: ArraySpec, names: FileNames) -> ForeignArray:
    """Open a Zarr array whose codecs are not native; its metadata were read already."""
    driver = "zarr3" if spec.data_format is DataFormat.ZARR3 else "zarr"
    store = open_store(path, {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}})
    if tuple(store.shape) != spec.shape or np.dtype(store.dtype.numpy_dtype) != spec.dtype:
        raise MetadataError(f"{path}: found {store.dtype.name} {tuple(store.shape)}, expected {spec.dtype} {spec.shape}")
    return ForeignArray(path, spec, store, GridFiles(names, spec.shard_shape))


def open_n5(path: Path, axes: Sequence[str] | None) -> ForeignArray:
    """Open an N5 array (attributes.json)."""
    json = ArrayJson(path / "attributes.json")
    content = json.content
    shape = json.extents("dimensions", content.get("dimensions"), None, 0)
    chunk = json.extents("blockSize", content.get("blockSize"), len(shape), 1)
    dtype = DTYPES.get(content["dataType"]) if isinstance(content.get("dataType"), str) else None
    if dtype is None:
        raise json.refusal("dataType", content.get("dataType"), f"one of {', '.join(DTYPES)}")
    json.check_size("blockSize", chunk, dtype)
    compression = content.get("compression", {})
    kind = compression.get("type", "none") if isinstance(compression, dict) else "none"
    spec = ArraySpec(
        data_format=DataFormat.N5,
        axes=json.axes(axes, None, len(shape)),
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk,
        shard_shape=chunk,
        compression=Compression("none" if kind == "raw" else str(kind)),
    )
    store = open_store(path, {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}})
    names = NestedNames(path, len(shape), [Level(axis) for axis in range(len(shape))])
    return ForeignArray(path, spec, store, GridFiles(names, chunk))


def open_precomputed(path: Path, axes: Sequence[str] | None) -> ForeignArray:
    """Open one scale of a Neuroglancer volume: `path` is the scale's directory, ``info`` lies beside or above it."""
    root = next((directory for directory in (path.parent, path) if (directory / "info").is_file()), path.parent)
    json = ArrayJson(root / "info")
    scales = json.content.get("scales")
    if not isinstance(scales, list) or not all(isinstance(scale, dict) for scale in scales):
        raise json.refusal("scales", scales, "a list of objects")
    index = next((i for i, s in enumerate(scales) if isinstance(s.get("key"), str) and (root / s["key"]).resolve() == path.resolve()), None)
    if index is None:
        raise json.refusal("scales", [scale.get("key") for scale in scales], f"one with the key {path.name}")
    scale = scales[index]
    chunks = scale.get("chunk_sizes")
    chunk = json.extents("chunk_sizes", chunks[0] if isinstance(chunks, list) and chunks else None, 3, 1)
    size = json.extents("size", scale.get("size"), 3, 0)
    channels = json.extents("num_channels", [json.content.get("num_channels")], 1, 1)[0]
    dtype = DTYPES.get(str(json.content.get("data_type")))
    if dtype is None:
        raise json.refusal("data_type", json.content.get("data_type"), f"one of {', '.join(DTYPES)}")
    json.check_size("chunk_sizes", (channels, *chunk), dtype)
    store = open_store(
        root, {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{root}/"}, "scale_index": index}
    ).T  # from x, y, z, channel; reversed, then the spatial axes turned back
    store = store.transpose([0, 3, 2, 1])
    if tuple(store.shape) != (channels, *size) or math.prod(store.chunk_layout.read_chunk.shape) * dtype.itemsize > MAX_CHUNK_BYTES:
        raise json.refusal("size", list(size), f"{tuple(store.shape)}")
    end = tuple(store.domain.exclusive_max)
    if max(end) > MAX_EXTENT or min(store.domain.inclusive_min) < 0:
        raise json.refusal("voxel_offset", scale.get("voxel_offset"), "offsets from 0 up")
    spec = ArraySpec(
        data_format=DataFormat.PRECOMPUTED,
        axes=tuple(axes) if axes is not None and len(axes) == 4 else ("c", "x", "y", "z"),
        shape=end,
        dtype=dtype,
        chunk_shape=(channels, *chunk),
        shard_shape=(channels, *chunk),
        compression=Compression(str(scale.get("encoding", "raw"))),
    )
    return ForeignArray(path, spec, store, PrecomputedFiles(path, end))
