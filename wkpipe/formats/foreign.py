"""Arrays that wkpipe only reads, through tensorstore: other codecs of Zarr, N5, Neuroglancer precomputed."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wkpipe.errors import DamagedShard, InputRefused, MetadataError, NotWritable, one_line
from wkpipe.formats.array_json import DTYPES, MAX_CHUNK_BYTES, MAX_EXTENT, ArrayJson
from wkpipe.formats.base import ArraySpec, Compression, DataFormat, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunked import checked_region
from wkpipe.formats.file_names import FileNames, Level, NestedNames
from wkpipe.formats.proving import proof_of_files, read_file
from wkpipe.storage.local import as_place
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch

_CONTEXT = {
    "cache_pool": {"total_bytes_limit": 0},
    "data_copy_concurrency": {"limit": 2},
    "file_io_concurrency": {"limit": 4},
}

MOST_BYTES_BESIDE = 64 << 10
"""The bytes that a chunk's file may have beyond twice those of its voxels: headers, and data that does not compress."""


def _reason(error: Exception) -> str:
    """Return a library's message in one line, without the lines of its source that tensorstore adds."""
    return one_line(re.sub(r"\s*\[source locations=.*", "", str(error), flags=re.DOTALL), 400)


def open_store(place: Place, driver: str, **spec: Any) -> Any:
    """Open an array with tensorstore, which reads the files itself.

    Raises:
        MetadataError: its metadata is broken, or it has a codec that tensorstore does not know.
    """
    import tensorstore  # here because it takes a third of a second, and most datasets do not need it

    whole = {"driver": driver, "kvstore": {"driver": "file", "path": f"{place.path()}/"}} | spec
    try:
        return tensorstore.open(whole, read=True, open=True, context=tensorstore.Context(_CONTEXT)).result()
    except (ValueError, OSError, NotImplementedError) as error:
        raise MetadataError(f"cannot be opened: {_reason(error)}", where=place) from error


class ForeignFiles(ABC):
    """The files that hold a region of a foreign array."""

    @abstractmethod
    def keys(self, start: Position, end: Position) -> list[str]:
        """Return the keys (paths relative to the array's directory) of the existing files that hold voxels of a region."""

    @abstractmethod
    def regions(self) -> Iterator[tuple[Position, Position]]:
        """Yield the first and end voxel of every file."""


class GridFiles(ForeignFiles):
    """One file per cell of a regular grid."""

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
    """Files named by the voxels they hold, as ``0-64_0-64_0-64``; the files of sharded arrays count for every region."""

    _NAME = re.compile(r"(\d{1,18})-(\d{1,18})_(\d{1,18})-(\d{1,18})_(\d{1,18})-(\d{1,18})(?:\.gz)?")

    def __init__(self, place: Place, shape: Position) -> None:
        self._place = place
        self._shape = shape

    def _files(self) -> Iterator[tuple[str, Position, Position]]:
        for name in sorted(self._place.names()):
            if match := self._NAME.fullmatch(name):
                bounds = tuple(map(int, match.groups()))
                yield name, (0, *bounds[::2]), (self._shape[0], *bounds[1::2])
            elif name.endswith((".shard", ".index", ".data")):
                yield name, (0, 0, 0, 0), self._shape

    def keys(self, start: Position, end: Position) -> list[str]:
        return [
            name for name, first, last in self._files() if all(a < d and c < b for a, b, c, d in zip(start, end, first, last, strict=True))
        ]

    def regions(self) -> Iterator[tuple[Position, Position]]:
        return ((first, last) for _, first, last in self._files())


class ForeignArray(StoredArray):
    """A read-only array. `store` has the axes of `spec`; its domain may start at another voxel than 0."""

    survives_fork = False  # tensorstore has threads of its own

    def __init__(self, place: Place, spec: ArraySpec, store: Any, files: ForeignFiles) -> None:
        super().__init__(place, spec)
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
            raise DamagedShard(f"cannot be read: {_reason(error)}", where=self.path) from error
        out[tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))] = stored
        return out

    def _check_files(self, start: Position, end: Position) -> None:
        """Refuse files that tensorstore would read without an end: those that are not regular, or far larger than a chunk can be.

        Raises:
            DamagedShard: names the file.
        """
        most = 2 * self.spec.chunk_bytes + MOST_BYTES_BESIDE
        for key in self._files.keys(start, end):
            facts = self.place.facts(key)
            if facts is not None and facts.size > most and not self.spec.is_sharded and not key.endswith(".shard"):
                path = self.place.path(key)
                found, expected = f"{facts.size} bytes", f"at most {most} for a chunk of {self.spec.chunk_bytes}"
                raise DamagedShard(where=path, found=found, expected=expected, fix="restore it")

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        first, end = checked_region(self.spec, start, shape)
        return math.prod(shape) == 0 or not self._files.keys(first, end)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:  # noqa: ARG002
        """Refuse: wkpipe does not know the codecs of foreign arrays.

        Raises:
            InputRefused: always.
        """
        raise InputRefused(f"stored bytes of chunks compressed with {self.spec.compression.kind} are not available", where=self.path)

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

    def unit_keys(self, unit: Sequence[int]) -> list[str]:
        return sorted(self._files.keys(*self._region(unit)))

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        read = {key: read_file(self.place, key) for key in self._files.keys(*self._region(unit))}
        found = {key: file for key, file in read.items() if file is not None}
        return proof_of_files(found) if found else None

    def check_unit(self, unit: Sequence[int]) -> None:
        first, end = self._region(unit)
        for key in self.unit_keys(unit):
            self.place.facts(key)  # refuses anything that is not a regular file
        chunk = self.spec.chunk_shape
        low = tuple(max(a, o) for a, o in zip(first, self._origin, strict=True))
        cells = [range(a, max(a, min(b, e)), c) for a, b, e, c in zip(low, end, self._end, chunk, strict=True)]
        for offset in np.ndindex(*map(len, cells)):
            self.read([cell[o] for cell, o in zip(cells, offset, strict=True)], chunk)

    # -- writing ------------------------------------------------------------------------------------------------

    def _refused(self) -> NotWritable:
        kind = self.spec.compression.kind
        return NotWritable(
            f"wkpipe reads {self.spec.data_format} with {kind} but does not write it", where=self.path, fix="convert the layer to zarr3"
        )

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:  # noqa: ARG002
        raise self._refused()

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:  # noqa: ARG002
        raise self._refused()


def foreign_zarr(place: Place, spec: ArraySpec, names: FileNames) -> ForeignArray:
    """Open a Zarr array with codecs that are not native, after its metadata was read."""
    driver = "zarr3" if spec.data_format is DataFormat.ZARR3 else "zarr"
    store = open_store(place, driver)
    if tuple(store.shape) != spec.shape or np.dtype(store.dtype.numpy_dtype) != spec.dtype:
        raise MetadataError(where=place, found=f"{store.dtype.name} {tuple(store.shape)}", expected=f"{spec.dtype} {spec.shape}")
    return ForeignArray(place, spec, store, GridFiles(names, spec.shard_shape))


def open_n5(place: Place, axes: Sequence[str] | None) -> ForeignArray:
    """Open an N5 array (attributes.json)."""
    json = ArrayJson(place, "attributes.json")
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
    store = open_store(place, "n5")
    names = NestedNames(place, len(shape), [Level(axis) for axis in range(len(shape))])
    return ForeignArray(place, spec, store, GridFiles(names, chunk))


def open_precomputed(place: Place, axes: Sequence[str] | None) -> ForeignArray:
    """Open one scale of a Neuroglancer volume; `place` is the directory of the scale, ``info`` is in it or beside it."""
    path, real = place.path(), place.real()
    beside = as_place(path.parent)
    around = place if place.has("info") and not beside.has("info") else beside
    json = ArrayJson(around, "info")
    scales = json.content.get("scales")
    if not isinstance(scales, list) or not all(isinstance(scale, dict) for scale in scales):
        raise json.refusal("scales", scales, "a list of objects")
    index = next((i for i, s in enumerate(scales) if _is_key(s.get("key")) and around.real(s["key"]) == real), None)
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
    store = open_store(around, "neuroglancer_precomputed", scale_index=index).T
    # From x, y, z, channel: reverse all axes, then turn the spatial ones back.
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
    return ForeignArray(place, spec, store, PrecomputedFiles(place, end))


def _is_key(key: object) -> bool:
    """True if a scale's key can be a path."""
    return isinstance(key, str) and "\0" not in key
