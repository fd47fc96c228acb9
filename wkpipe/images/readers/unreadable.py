"""Unreadable slices: files among many whose headers are broken; the error comes when a unit needs them, so that all others are made."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import UnreadableInput
from wkpipe.images.reader import Corner, ImageFile, ReadOptions
from wkpipe.images.source import Voxels


def unreadable(path: Path, like: ImageFile, error: UnreadableInput) -> ImageFile:
    """Return the facts of a file that cannot be read, as if it had the form of another slice of its folder."""
    size = mtime_ns = 0
    with contextlib.suppress(OSError):
        stat = path.stat()
        size, mtime_ns = stat.st_size, stat.st_mtime_ns
    said = {"what": error.what, "where": error.where, "found": error.found, "expected": error.expected, "fix": error.fix}
    return replace(like, path=path, size=size, mtime_ns=mtime_ns, reader=UnreadableReader.name, layout=said, parts=(), account=None)


class UnreadableReader:
    """Reports why a slice cannot be read."""

    name = "unreadable"

    def inspect(self, path: Path, how: ReadOptions) -> Sequence[ImageFile]:  # noqa: ARG002
        raise UnreadableInput("cannot be read", where=path)

    def read_into(self, out: Voxels, file: ImageFile, corner: Corner, channels: Sequence[int]) -> None:  # noqa: ARG002
        raise UnreadableInput(**file.layout)


READER = UnreadableReader()
