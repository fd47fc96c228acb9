"""What a format reader offers: the facts of one image file from its headers, and rows of its planes.

A new format is one new module that defines ``READER`` (an `ImageReader`), and its name in `MODULES`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import numpy as np

from wkpipe.errors import UnreadableInput

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MODULES = ("tiff", "pillow_image")


class AxisSizes(NamedTuple):
    """How many positions a file has along every axis; 1 where it does not have the axis."""

    t: int
    c: int
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class ImageFile:
    """What the headers of one image file say.

    `dtype` is the numpy name of a voxel's type as it is delivered, always little-endian (so without a byte order). `is_rgb` tells
    that the three channels are red, green and blue of one image. `whole_planes` tells that reading some rows costs decoding the
    whole plane. `scratch_bytes` is the most memory that a read needs beyond its result. `layout` is the reader's own note on where
    the planes lie, plain JSON, so that a later read need not inspect again.
    """

    path: Path
    size: int
    mtime_ns: int
    reader: str
    sizes: AxisSizes
    dtype: str
    is_rgb: bool
    whole_planes: bool
    scratch_bytes: int
    layout: Mapping[str, Any] = field(default_factory=dict, hash=False)


class ImageReader(Protocol):
    """One image format. Stateless: the same object serves all threads."""

    name: str
    extensions: tuple[str, ...]

    def accepts(self, path: Path, is_dir: bool) -> bool:
        """Tell from the name alone (for a directory: from what lies in it) whether this reader is in charge."""
        ...

    def inspect(self, path: Path) -> ImageFile:
        """Return the facts of a file from its headers, having checked that the file is whole; voxels are not decoded.

        Raises:
            UnreadableInput: missing, truncated, or not what the name says.
            InputRefused: whole, but of a kind that can not be converted.
        """
        ...

    def read_into(self, out: Voxels, file: ImageFile, t: int, z0: int, y0: int, channels: Sequence[int]) -> None:
        """Fill `out`, axes (z, y, x, c), from time `t`, planes from `z0` on, rows from `y0` on, and the given channels.

        Raises:
            UnreadableInput: the file changed since it was inspected, or its data can not be decoded.
        """
        ...


@functools.cache
def readers() -> tuple[ImageReader, ...]:
    """Return all format readers, in the order in which they are asked."""
    return tuple(importlib.import_module(f"wkpipe.images.{module}").READER for module in MODULES)


def reader_named(name: str) -> ImageReader:
    """Return the reader that made an `ImageFile`.

    Raises:
        KeyError: there is no such reader.
    """
    return {reader.name: reader for reader in readers()}[name]


def reader_for(path: Path, is_dir: bool = False) -> ImageReader | None:
    """Return the reader in charge of a path, or None where the format is not supported."""
    return next((reader for reader in readers() if reader.accepts(path, is_dir)), None)


def supported_extensions() -> tuple[str, ...]:
    """Return the extensions of all readers, lower-case and without a dot."""
    return tuple(extension for reader in readers() for extension in reader.extensions)


def has_extension(path: Path, extensions: Sequence[str]) -> bool:
    """Tell whether a file name ends in one of the extensions, upper or lower case."""
    return path.suffix.lower().lstrip(".") in extensions


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open an input file for reading, with its size and time as of this very handle.

    Raises:
        UnreadableInput: the file can not be opened, or is empty.
    """
    with contextlib.ExitStack() as stack:
        try:
            handle = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise UnreadableInput(f"{path}: can not be opened: {error.strerror}; check that it exists and may be read") from None
        stat = os.fstat(handle.fileno())
        if stat.st_size == 0:
            raise UnreadableInput(f"{path}: the file is empty (0 bytes); replace or remove it")
        yield handle, stat


@contextlib.contextmanager
def reopened(file: ImageFile) -> Iterator[BinaryIO]:
    """Open a file that was inspected earlier.

    Raises:
        UnreadableInput: it is gone, or is not the file that was inspected: its size or time of change differs.
    """
    with opened(file.path) as (handle, stat):
        if (stat.st_size, stat.st_mtime_ns) != (file.size, file.mtime_ns):
            found, expected = f"{stat.st_size} bytes, mtime {stat.st_mtime_ns}", f"{file.size} bytes, mtime {file.mtime_ns}"
            raise UnreadableInput(f"{file.path}: changed while it was converted: found {found}, planned with {expected}; start again")
        yield handle
