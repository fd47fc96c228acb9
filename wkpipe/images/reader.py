"""The interface of a format reader: the facts of one image file from its headers, and boxes of its voxels.

A new format needs one module with an `ImageReader`, and one line in `wkpipe.images.registry` or an entry point.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from wkpipe.errors import UnreadableInput
from wkpipe.images import archives
from wkpipe.images.accounting import Account
from wkpipe.images.source import AxisSizes, Channel, Voxels

GRAY, INVERTED, RGB, PALETTE = "gray", "gray in which 0 is white", "RGB", "indices into a palette"
"""What the values of an image mean."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user says about the pages and the values of image files; a reader uses what concerns it.

    series: the number or name of the series of a file to convert, or ``all``. sparse: ``fill`` reads strips and tiles that a file
    leaves out as fill, ``fail`` refuses them. is_labels: True if the stored ids are wanted, not the colours that they are shown in.
    """

    series: str | None = None
    sparse: str = "fill"
    is_labels: bool = False


class FilePart(NamedTuple):
    """Another file that has planes of the same image."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class About:
    """What a file says about itself, besides its voxels: it is needed to plan, and not stored.

    series: the name of the series. voxel_size: x, y, z in `unit`; None for an axis of which the file says nothing. channels: their
    names, colours and display ranges. palette: the colours (RGB) of the stored indices. notes: what the user should know.
    """

    series: str = ""
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    unit: str = ""
    channels: tuple[Channel, ...] = ()
    palette: bytes = b""
    notes: tuple[str, ...] = ()


class Corner(NamedTuple):
    """The first position of a box of a file's voxels."""

    t: int
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class ImageFile:
    """The facts in the headers of one image file.

    `dtype` is the numpy name of the type of the voxels that are read, always little-endian (so without a byte order). `is_rgb` is True
    if the three channels are red, green and blue of one image. `block` is the number of rows and columns that are decoded at once.
    `scratch_bytes` is the most memory that a read needs beside its result, and `plane_bytes` the memory that is kept for each plane
    that was read. `layout` is the reader's own description of where the planes are, as plain JSON, so that a later read need not
    inspect the file again. `account` is the account of the file's pages, if the reader makes one: all of them, whatever is used.
    `meaning` is what the values mean (``gray``, …): files of one layer have the same. `parts` are other files with planes of the image.
    """

    path: Path
    size: int
    mtime_ns: int
    reader: str
    sizes: AxisSizes
    dtype: str
    is_rgb: bool
    block: tuple[int, int]
    scratch_bytes: int
    plane_bytes: int = 0
    layout: Mapping[str, Any] = field(default_factory=dict, hash=False)
    account: Account | None = field(default=None, compare=False)
    meaning: str = GRAY
    parts: tuple[FilePart, ...] = ()
    about: About = field(default=About(), compare=False)


class ImageReader(Protocol):
    """A reader of one image format. It has no state: all threads use the same object."""

    name: str

    def inspect(self, path: Path, how: ReadOptions) -> Sequence[ImageFile]:
        """Check that a file is complete and return the facts in its headers, for each series to convert; voxels are not decoded.

        Raises:
            UnreadableInput: the file is missing, truncated, or not what its name says.
            InputRefused: the file is complete, but of a kind that cannot be converted.
        """
        ...

    def read_into(self, out: Voxels, file: ImageFile, corner: Corner, channels: Sequence[int]) -> None:
        """Fill `out`, axes (z, y, x, c), with the given channels of a file, starting at `corner`.

        Raises:
            UnreadableInput: the file changed since it was inspected, or its data cannot be decoded.
        """
        ...


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open an input file, or a member of an archive, for reading; provide its handle, and the status of that handle.

    Raises:
        UnreadableInput: the file cannot be opened, or is empty.
    """
    with contextlib.ExitStack() as stack:
        if (inside := archives.split(path)) is not None:
            yield stack.enter_context(archives.opened_member(*inside))
            return
        try:
            handle = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise UnreadableInput(f"cannot be opened: {error.strerror}", where=path, fix="check that it exists and may be read") from None
        stat = os.fstat(handle.fileno())
        if stat.st_size == 0:
            raise UnreadableInput("the file is empty (0 bytes)", where=path, fix="replace or remove it")
        yield handle, stat


@contextlib.contextmanager
def reopened(file: ImageFile) -> Iterator[BinaryIO]:
    """Open a file that was inspected earlier.

    Raises:
        UnreadableInput: see `reopened_part`.
    """
    with reopened_part(FilePart(file.path, file.size, file.mtime_ns)) as handle:
        yield handle


@contextlib.contextmanager
def reopened_part(part: FilePart) -> Iterator[BinaryIO]:
    """Open one of the files of an image that was inspected earlier.

    Raises:
        UnreadableInput: it is gone, or is not the file that was inspected: its size or time of change differs.
    """
    with opened(part.path) as (handle, stat):
        if (stat.st_size, stat.st_mtime_ns) != (part.size, part.mtime_ns):
            found, expected = f"{stat.st_size} bytes, mtime {stat.st_mtime_ns}", f"{part.size} bytes, mtime {part.mtime_ns}"
            raise UnreadableInput(
                "changed while it was converted", where=part.path, found=found, expected=f"{expected} as planned", fix="start again"
            )
        yield handle
