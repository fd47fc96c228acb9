"""Barrier: files and directories that must be on the disk before the next step, and one wait for all of them.

A wait costs a disk or a file server some milliseconds, whether it is for one file or for many: the file system writes its journal once
for all that are requested at the same time. So the syncs of a barrier are made by several threads. (Measured on ext4: 60 syncs
one after the other 0.12 to 0.25 s, in six barriers 0.03 s.) The threads have ended when `wait` returns, so the process may fork.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from wkpipe.errors import NotWritable
from wkpipe.storage import disk
from wkpipe.storage.reasons import explained
from wkpipe.storage.side_by_side import at_once

MOST_SYNCED_ALONE: Final = 64
"""More files and directories than this share one sync of their file system, which is several times as fast. It also waits for what
other processes have written, but only once."""


class Barrier:
    """What must be durable before the next step. `final` paths are the names of files in error messages."""

    def __init__(self) -> None:
        self._syncs: list[tuple[Path | str, Callable[[], None]]] = []  # each with a path on its file system
        self._directories: set[str] = set()

    def add_open(self, descriptor: int, temporary: Path, final: Path) -> None:
        """Add an open file, which must stay open until `wait` has returned."""
        self._syncs.append((temporary.parent, partial(disk.sync, descriptor, final)))

    def add_closed(self, temporary: Path | str, final: Path | str) -> None:
        """Add a file that was written and closed."""
        self._syncs.append((os.path.dirname(temporary), partial(disk.sync_closed, temporary, final)))

    def add_directory(self, directory: Path | str) -> None:
        """Add a directory, whose entries then are durable; one that was added already counts once."""
        if (path := str(directory)) not in self._directories:
            self._directories.add(path)
            self._syncs.append((path, partial(disk.sync_directory, Path(path))))

    def wait(self) -> None:
        """Wait until all that was added since the last wait is durable.

        Raises:
            NotWritable: the disk reports an error; names the first file or directory that it concerns.
        """
        syncs, self._syncs, self._directories = self._syncs, [], set()
        if len(syncs) > MOST_SYNCED_ALONE and _reports_all_errors():
            try:
                for where in {_volume(where): where for where in {where for where, _ in syncs}}.values():
                    disk.sync_file_system(where)
            except NotWritable:
                at_once([sync for _, sync in syncs])  # names the file
                raise
        else:
            at_once([sync for _, sync in syncs])


def _volume(path: Path | str) -> int:
    with explained(path):
        return os.stat(path).st_dev


@functools.cache
def _reports_all_errors() -> bool:
    """True if a sync of a file system reports the errors of all its files, as since Linux 5.8 (syncfs(2))."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return found is not None and (int(found[1]), int(found[2])) >= (5, 8)


class Ways:
    """The directories whose names are durable, as far as a process knows.

    It does not matter who has made a directory: another process may have done so just now, and not synced its name yet. So each one
    on the way to a file is synced once.
    """

    def __init__(self) -> None:
        self._lasting: set[str] = set()

    def make(self, directory: Path, root: Path | None, barrier: Barrier) -> None:
        """Create a directory and its parents, and add to a barrier what makes their names durable.

        Outside of `root`, directories that exist are taken for durable.
        """
        missing: list[str] = []
        path, within = str(directory), "" if root is None else f"{root}/"
        while not (os.path.isdir(path) and (path in self._lasting or not within or not path.startswith(within))):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            if not os.path.isdir(path):
                disk.make_unsynced(Path(path))
            barrier.add_directory(os.path.dirname(path))

    def last(self, directory: Path) -> None:
        """Note that the names of a directory and of its parents are durable."""
        path, parent = str(directory), ""
        while path not in self._lasting and path != parent:
            self._lasting.add(path)
            path, parent = os.path.dirname(path), path
