"""Reading an array's metadata file without trusting it: every error names the file, the key, found against expected."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.errors import DamagedShard, MetadataError
from wkpipe.formats.base import Position
from wkpipe.formats.open_files import Damage, read_whole
from wkpipe.storage.commit import Scratch, replace_file

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

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw = read_whole(str(path), MAX_METADATA_BYTES)
        except Damage as error:
            raise MetadataError(f"{path}: {error}: this is no array metadata") from error
        except DamagedShard as error:
            raise MetadataError(str(error)) from error
        if raw is None:
            raise MetadataError(f"can not read {path}: there is no such file")
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise MetadataError(f"{path}: is not valid JSON: {' '.join(str(error).split())[:200]}") from error
        if not isinstance(content, dict):
            raise MetadataError(f"{path}: expected a JSON object, found {shown(content)}")
        self.content: dict[str, Any] = content

    def refusal(self, key: str, found: Any, expected: str) -> MetadataError:
        """Return the error for one key."""
        return MetadataError(f"{self.path}: {key}: found {shown(found)}, expected {expected}")

    def require(self, key: str, expected: Any) -> None:
        """Require a key to have one certain value."""
        found = self.content.get(key)
        if found != expected or isinstance(found, bool):
            raise self.refusal(key, found, shown(expected))

    def extents(self, key: str, found: Any, ndim: int | None, least: int) -> Position:
        """Return a list of integers from `least` up, one per axis."""
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
        """Refuse chunks that no memory can hold, and shards with an absurd number of them."""
        size = math.prod(chunk) * dtype.itemsize
        if size > MAX_CHUNK_BYTES:
            raise self.refusal(key, list(chunk), f"chunks of at most {MAX_CHUNK_BYTES} bytes, these have {size}")
        if chunks_per_file > MAX_CHUNKS_PER_SHARD:
            raise self.refusal(key, list(chunk), f"at most {MAX_CHUNKS_PER_SHARD} chunks in a shard, here are {chunks_per_file}")

    def fill_value(self, found: Any, dtype: np.dtype[Any]) -> int | float:
        """Return the fill value: a number, or for floats also NaN, Infinity, -Infinity or the bits as ``0x…``."""
        if found is None:
            return 0
        if dtype.kind == "f":
            if isinstance(found, str):
                named = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
                if found in named:
                    return named[found]
                try:
                    bits = bytes.fromhex(found.removeprefix("0x"))
                except ValueError:
                    bits = b""
                if found.startswith("0x") and len(bits) == dtype.itemsize:
                    return float(struct.unpack(">f" if dtype.itemsize == 4 else ">d", bits)[0])
            elif type(found) in (int, float) and -1.8e308 < found < 1.8e308:
                return float(found)
            elif type(found) is float:
                return found
        elif type(found) in (int, float) and found == found and abs(found) != math.inf and int(found) == found:
            info = np.iinfo(dtype)
            if info.min <= found <= info.max:
                return int(found)
        raise self.refusal("fill_value", found, f"a value of {dtype}")

    def axes(self, wanted: Sequence[str] | None, named: Any, ndim: int) -> tuple[str, ...]:
        """Return the axes' names: those wanted, else those in the file, else the usual ones."""
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


def write_shape(path: Path, shape: Sequence[int], scratch: Scratch) -> None:
    """Give an array another shape in its metadata file; all else in it stays, also what wkpipe does not know."""
    content = ArrayJson(path).content
    content["shape"] = [int(n) for n in shape]
    replace_file(path, as_json(content), scratch)


def shown(value: Any) -> str:
    """Return a JSON value in one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."


def as_json(content: dict[str, Any]) -> bytes:
    """Return the bytes of a metadata file."""
    return (json.dumps(content, indent=2) + "\n").encode()
