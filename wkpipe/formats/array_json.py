"""Read an array's metadata file without trusting it: every error names the file, the key, what was found and what was expected."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from wkpipe.errors import DamagedShard, MetadataError, one_line
from wkpipe.formats.base import Position
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch

MAX_METADATA_BYTES = 16 << 20
MAX_CHUNK_BYTES = 2 << 30
MAX_CHUNKS_PER_SHARD = 1 << 24
MAX_EXTENT = 1 << 48
MAX_AXES = 16

DTYPES = {name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")}


class ArrayJson:
    """The JSON object in a metadata file, with checked access.

    Raises (the constructor as well as the methods):
        MetadataError: the file or a key is missing or is not what it must be.
    """

    def __init__(self, place: Place, key: str) -> None:
        self.place, self.key = place, key
        path = self.path = place.path(key)
        try:
            raw = place.content(key, MAX_METADATA_BYTES)
        except TooLarge as error:
            raise MetadataError(f"{error.problem}: this is not array metadata", where=path) from error
        except DamagedShard as error:
            raise MetadataError.of(error) from error
        if raw is None:
            raise MetadataError("the file does not exist", where=path)
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"is not valid JSON: {one_line(error, 200)}", where=path) from error
        if not isinstance(content, dict):
            raise MetadataError(where=path, found=shown(content), expected="a JSON object")
        self.content: dict[str, Any] = content

    def refusal(self, key: str, found: Any, expected: str) -> MetadataError:
        """Return the error that names a key, its value and what it should be."""
        return MetadataError(where=f"{self.path}: {key}", found=shown(found), expected=expected)

    def require(self, key: str, expected: Any) -> None:
        """Check that a key has the one value that is supported."""
        found = self.content.get(key)
        if found != expected or isinstance(found, bool):
            raise self.refusal(key, found, shown(expected))

    def extents(self, key: str, found: Any, ndim: int | None, least: int) -> Position:
        """Return a value that must be a list of integers of at least `least`, one per axis."""
        if (
            not isinstance(found, list)
            or not 1 <= len(found) <= MAX_AXES
            or any(type(n) is not int or not least <= n <= MAX_EXTENT for n in found)
        ):
            raise self.refusal(key, found, f"a list of integers from {least} to {MAX_EXTENT}")
        if ndim is not None and len(found) != ndim:
            raise self.refusal(key, found, f"{ndim} values, one per axis of shape")
        return tuple(found)

    def check_size(self, key: str, chunk: Position, dtype: np.dtype[Any], chunks_per_file: int = 1) -> None:
        """Refuse chunks that are too large for memory, and shards with too many chunks."""
        size = math.prod(chunk) * dtype.itemsize
        if size > MAX_CHUNK_BYTES:
            raise self.refusal(key, list(chunk), f"chunks of at most {MAX_CHUNK_BYTES} bytes, these have {size}")
        if chunks_per_file > MAX_CHUNKS_PER_SHARD:
            raise self.refusal(key, list(chunk), f"at most {MAX_CHUNKS_PER_SHARD} chunks in a shard, here are {chunks_per_file}")

    def fill_value(self, found: Any, dtype: np.dtype[Any]) -> int | float:
        """Return the fill value: a number; for floats also NaN, Infinity, -Infinity or the bits as ``0x…``."""
        if found is None:
            return 0
        value = _float_of(found, dtype) if dtype.kind == "f" else _integer_of(found, dtype)
        if value is None:
            raise self.refusal("fill_value", found, f"a value of {dtype}")
        return value

    def axes(self, wanted: Sequence[str] | None, named: Any, ndim: int) -> tuple[str, ...]:
        """Return the names of the axes: those wanted, else those in the file, else the usual ones."""
        if wanted is not None:
            if len(wanted) != ndim or len(set(wanted)) != ndim:
                raise self.refusal(
                    "shape", self.content.get("shape", self.content.get("dimensions")), f"one value per axis of {tuple(wanted)}"
                )
            return tuple(wanted)
        if isinstance(named, list) and len(named) == ndim and all(isinstance(n, str) and n for n in named) and len(set(named)) == ndim:
            return tuple(named)
        return self.usual_axes(ndim)

    def usual_axes(self, ndim: int) -> tuple[str, ...]:
        """Return x, y, z, with c in front of four-dimensional arrays."""
        if ndim not in (3, 4):
            raise self.refusal("shape", f"{ndim} axes without names", "3 or 4 axes, or dimension_names")
        return ("c", "x", "y", "z")[4 - ndim :]


def write_shape(json: ArrayJson, shape: Sequence[int], scratch: Scratch) -> None:
    """Change the shape in an array's metadata file; everything else in it stays, unknown keys too."""
    content = ArrayJson(json.place, json.key).content
    content["shape"] = [int(n) for n in shape]
    json.place.writing(scratch).put(json.key, as_json(content))


def shown(value: Any) -> str:
    """Return a JSON value as one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."


def as_json(content: dict[str, Any]) -> bytes:
    """Return the bytes of a metadata file."""
    return (json.dumps(content, indent=2) + "\n").encode()


_NAMED_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _float_of(found: Any, dtype: np.dtype[Any]) -> float | None:
    """Return the float that a JSON value stands for; None if it stands for none."""
    if isinstance(found, str):
        return _NAMED_FLOATS[found] if found in _NAMED_FLOATS else _float_of_bits(found, dtype)
    if type(found) is int:
        return float(found) if -1.8e308 < found < 1.8e308 else None
    return found if type(found) is float else None


def _float_of_bits(text: str, dtype: np.dtype[Any]) -> float | None:
    """Return the float with the bits ``0x…``, as many as the dtype has."""
    try:
        bits = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return None
    if not text.startswith("0x") or len(bits) != dtype.itemsize:
        return None
    return float(struct.unpack(">f" if dtype.itemsize == 4 else ">d", bits)[0])


def _integer_of(found: Any, dtype: np.dtype[Any]) -> int | None:
    """Return the integer of the dtype that a JSON number stands for; None if it stands for none."""
    if type(found) not in (int, float) or found != found or abs(found) == math.inf or int(found) != found:
        return None
    info = np.iinfo(dtype)
    return int(found) if info.min <= found <= info.max else None
