"""The readers of image files: a table of magic bytes and file endings, so that only the reader of a file is imported.

`BUILT_IN` lists wkpipe's own readers. Another distribution adds one with an entry point of the group ``wkpipe.images``. Nothing is
imported to choose a reader, so the name of the entry point has all that is needed, separated by spaces: the reader's name, then
endings (they begin with a dot; those of directories end with a slash) and magic bytes (``OFFSET:HEX``). Its value is the path of
the `ImageReader`::

    [project.entry-points."wkpipe.images"]
    "mrc .mrc .rec .st 208:4D4150" = "wkpipe_mrc:READER"

A file is an image if its ending is known. Its content decides the reader: the one with the longest magic bytes that match, and among
equal ones wkpipe's own. If no magic bytes match, the reader with the longest ending is used.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import InputRefused, UnreadableInput, one_line
from wkpipe.images.composed import BLANK, MOSAIC
from wkpipe.images.reader import ImageReader, opened

GROUP = "wkpipe.images"


@dataclass(frozen=True)
class Magic:
    """Bytes that all files of a format have at an offset."""

    offset: int
    content: bytes

    @classmethod
    def of(cls, text: str) -> Magic:
        """Return the magic bytes in a text like ``0:49492A00``.

        >>> Magic.of("0:49492A00")
        Magic(offset=0, content=b'II*\\x00')
        """
        found = re.fullmatch(r"(\d+):((?:[0-9A-Fa-f]{2})+)", text)
        if found is None:
            raise ValueError(f"not magic bytes: {text}")
        return cls(int(found[1]), bytes.fromhex(found[2]))

    @property
    def end(self) -> int:
        """The number of bytes of a file that must be read to check the magic bytes."""
        return self.offset + len(self.content)

    def is_in(self, head: bytes) -> bool:
        """True if the first bytes of a file contain the magic bytes."""
        return head[self.offset : self.end] == self.content


@dataclass(frozen=True)
class Registered:
    """A reader that can be imported: its name, the endings and magic bytes of its files, and its path (``module:attribute``)."""

    name: str
    endings: tuple[str, ...]
    magic: tuple[Magic, ...]
    where: str
    is_built_in: bool = False

    @classmethod
    def of(cls, name: str, where: str, is_built_in: bool = False) -> Registered:
        """Return the reader that the name of an entry point describes.

        Raises:
            ValueError: the name does not have the right form.
        """
        first, *rest = name.split()
        endings = tuple(word.lower() for word in rest if word.startswith("."))
        return cls(first, endings, tuple(Magic.of(word) for word in rest if not word.startswith(".")), where, is_built_in)

    def ending_of(self, path: Path, is_dir: bool) -> int:
        """Return the length of the longest of the reader's endings that a path has; 0 if it has none."""
        name = path.name.lower() + ("/" if is_dir else "")
        return max((len(ending) for ending in self.endings if name.endswith(ending) and len(name) > len(ending)), default=0)

    def magic_of(self, head: bytes) -> int:
        """Return the length of the longest of the reader's magic bytes that a file has; 0 if it has none."""
        return max((len(magic.content) for magic in self.magic if magic.is_in(head)), default=0)

    @functools.cached_property
    def reader(self) -> ImageReader:
        """The reader, imported.

        Raises:
            InputRefused: another distribution's reader cannot be imported.
        """
        module, _, attribute = self.where.partition(":")
        try:
            loaded: ImageReader = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            if self.is_built_in:
                raise
            text = one_line(error, 200) or type(error).__name__
            raise InputRefused(
                f"the reader {self.name} ({self.where}) cannot be loaded: {text}", fix="install it again, or remove it"
            ) from error
        return loaded


BUILT_IN = (
    Registered.of(
        "tiff .tif .tiff .btf .tf8 .tf2 .lsm .stk .qptiff .svs .scn .ndpi .gel 0:49492A00 0:4D4D002A 0:49492B00 0:4D4D002B",
        "wkpipe.images.readers.tiff:READER",
        True,
    ),
    Registered.of(
        "pillow .png .jpg .jpeg .bmp .gif 0:89504E470D0A1A0A 0:FFD8FF 0:424D 0:474946383761 0:474946383961",
        "wkpipe.images.readers.pillow:READER",
        True,
    ),
    Registered.of("unreadable", "wkpipe.images.readers.unreadable:READER", True),
)


@functools.cache
def registered() -> tuple[Registered, ...]:
    """Return all readers: wkpipe's own, then those of other distributions, sorted by name; none of them is imported."""
    return (*BUILT_IN, *_of_other_distributions())


def _of_other_distributions() -> Iterator[Registered]:
    taken = {BLANK, MOSAIC, *(entry.name for entry in BUILT_IN)}
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            found = Registered.of(point.name, point.value)
        except ValueError:  # not the form of this version: ignored
            continue
        if found.name not in taken:
            taken.add(found.name)
            yield found


def is_image(path: Path, is_dir: bool = False) -> bool:
    """True if there is a reader for files (or directories) of this name."""
    return bool(ending_of(path, is_dir))


def ending_of(path: Path, is_dir: bool = False) -> str:
    """Return the longest ending of a path that a reader has, in lower case; empty if there is none."""
    return next((ending for ending in endings_of(path, is_dir) if ending in _known_endings()), "")


def endings_of(path: Path, is_dir: bool = False) -> Iterator[str]:
    """Yield what a name has from each of its dots on, in lower case, the longest first; of directories with a slash.

    >>> [*endings_of(Path(".a/Scan.ome.TIF"))]
    ['.ome.tif', '.tif']
    """
    name = path.name.lower() + ("/" if is_dir else "")
    dot = name.find(".", 1)
    while dot > 0:
        yield name[dot:]
        dot = name.find(".", dot + 1)


@functools.cache
def _known_endings() -> frozenset[str]:
    return frozenset(ending for entry in registered() for ending in entry.endings)


def reader_for(path: Path, is_dir: bool = False) -> ImageReader | None:
    """Return the reader for an image; None if no reader has its ending. The content decides between readers."""
    if not is_image(path, is_dir):
        return None
    head = b"" if is_dir else _head(path)
    return max(registered(), key=lambda entry: (entry.magic_of(head), entry.ending_of(path, is_dir), entry.is_built_in)).reader


def _head(path: Path) -> bytes:
    """Return as many first bytes of a file as any magic bytes need; empty if it cannot be read, which its reader will report."""
    length = max((magic.end for entry in registered() for magic in entry.magic), default=0)
    try:
        with opened(path) as (file, _):
            return file.read(length)
    except (UnreadableInput, OSError):
        return b""


def reader_named(name: str) -> ImageReader:
    """Return the reader that made an `ImageFile`.

    Raises:
        InputRefused: it is not installed here.
    """
    entry = next((entry for entry in BUILT_IN if entry.name == name), None)
    entry = entry or next((entry for entry in registered() if entry.name == name), None)
    if entry is None:
        raise InputRefused(f"the images were planned with the reader {name}, which is not installed here", fix="install it where jobs run")
    return entry.reader


def supported_extensions() -> tuple[str, ...]:
    """Return the file endings of all readers, in lower case and without the dot."""
    return tuple(dict.fromkeys(ending.lstrip(".") for entry in registered() for ending in entry.endings))
