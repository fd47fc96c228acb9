"""Shared by the tests of formats: fixtures of the reference package, specs, and a function that writes a whole array."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.formats import create_array, make_spec
from wkpipe.formats.base import ArraySpec, Compression, DataFormat, StoredArray, UnitProof, Voxels
from wkpipe.storage.scratch import Scratch

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]


def noise(shape: Sequence[int], dtype: Any, seed: int = 0, holes: bool = True) -> Voxels:
    """Return full-range noise, Fortran-contiguous, with empty regions unless `holes` is off."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    raw = rng.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    data = rng.normal(size=shape).astype(dtype) if dtype.kind == "f" else raw.view(dtype).reshape(shape)
    data = np.asfortranarray(data)
    if holes:
        data[..., : shape[-1] // 3] = 0
        data[..., : shape[-2] // 4, :] = 0
    return data


def write_array(array: StoredArray, data: Voxels, scratch: Scratch, seed: int | None = None) -> dict[tuple[int, ...], UnitProof]:
    """Write all units of an array; chunks in a random order if there is a seed. The data is padded with zeros."""
    spec = array.spec
    proofs = {}
    for unit in np.ndindex(*spec.unit_grid):
        base = [u * n for u, n in zip(unit, spec.unit_shape, strict=True)]
        # Units of chunk files have 1024³ voxels, so only the chunks with data are visited.
        used = [
            min(n, max(0, -(-(size - b) // c)))
            for n, size, b, c in zip(spec.chunks_per_unit, data.shape, base, spec.chunk_shape, strict=True)
        ]
        chunks = list(np.ndindex(*used))
        if seed is not None:
            random.Random(f"{seed} {unit}").shuffle(chunks)
        with array.unit_writer(unit, scratch) as writer:
            for chunk in chunks:
                first = [b + p * c for b, p, c in zip(base, chunk, spec.chunk_shape, strict=True)]
                part = data[tuple(slice(a, a + c) for a, c in zip(first, spec.chunk_shape, strict=True))]
                whole = np.zeros(spec.chunk_shape, spec.dtype, order="F")
                whole[tuple(map(slice, part.shape))] = part
                encoded = writer.encode(whole)
                if encoded is not None:
                    writer.append(chunk, encoded)
            proofs[unit] = writer.commit()
    return proofs


def new_array(
    path: Path,
    data_format: str,
    shape: Sequence[int],
    dtype: Any = "uint8",
    axes: Sequence[str] = ("c", "x", "y", "z"),
    chunk: int | Sequence[int] = 8,
    shard: int | Sequence[int] = 16,
    compression: Compression | bool = True,
) -> StoredArray:
    """Create an array in the canonical layout."""
    return create_array(path, spec_of(data_format, shape, dtype, axes, chunk, shard, compression), scratch_of(path))


def spec_of(
    data_format: str,
    shape: Sequence[int],
    dtype: Any = "uint8",
    axes: Sequence[str] = ("c", "x", "y", "z"),
    chunk: int | Sequence[int] = 8,
    shard: int | Sequence[int] = 16,
    compression: Compression | bool = True,
) -> ArraySpec:
    """Return a spec in the canonical layout; Zarr 2 gets chunks instead of shards."""
    chunk = (chunk,) * 3 if isinstance(chunk, int) else chunk
    shard = (shard,) * 3 if isinstance(shard, int) else shard
    if data_format == "zarr":
        shard = chunk
    channels = shape[list(axes).index("c")] if "c" in axes else 1
    return make_spec(DataFormat(data_format), axes, shape, dtype, channels, chunk, shard, compression)


def scratch_of(path: Path) -> Scratch:
    """Return a scratch directory beside an array."""
    return Scratch(path.parent / "scratch")


def leftovers(path: Path) -> list[Path]:
    """Return the temporary files beside an array."""
    return list((path.parent / "scratch").glob("*")) + [p for p in path.rglob("*") if p.suffix == ".tmp"]


def files_of(path: Path) -> dict[str, bytes]:
    """Return all files below a directory."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
