"""AppendedFile: a file that grows by lines. Only a disk can append, so only what may lose its last lines is written like this."""

from __future__ import annotations

from wkpipe.storage import disk
from wkpipe.storage.place import Place


class AppendedFile:
    """A file of a place on a disk, which the first line creates. Not thread-safe.

    A line may be lost in a crash until `sync` has returned, and may then be incomplete; it never spoils later lines.
    """

    def __init__(self, place: Place, key: str) -> None:
        self._path = place.path(key)
        self._descriptor = -1

    def add(self, line: bytes) -> None:
        """Append a line.

        Raises:
            NotWritable: the disk refuses it.
        """
        if self._descriptor < 0:
            self._descriptor = disk.open_append(self._path)
            disk.sync_directory(self._path.parent)
            disk.write(self._descriptor, b"\n", self._path)  # it ends a line that a crash cut short
        disk.write(self._descriptor, line, self._path)

    def sync(self) -> None:
        """Make all lines durable that were added.

        Raises:
            NotWritable: the disk refuses it.
        """
        disk.sync(self._descriptor, self._path)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor >= 0:
            disk.close(self._descriptor, self._path)
            self._descriptor = -1
