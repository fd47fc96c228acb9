"""Where files are while they have no name yet: one directory a process, on the file system of the dataset."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.errors import InputRefused
from wkpipe.storage import disk
from wkpipe.storage.access import leads_elsewhere
from wkpipe.storage.barrier import Barrier, Ways
from wkpipe.storage.process import signature

if TYPE_CHECKING:
    from wkpipe.storage.commit import PendingFile

FIX_OF_LINK = "put a copy in the place of the link, or remove it"


class Scratch:
    """The directory for temporary files of one process; the files in it have unique names.

    `fence` is called before files get their final names; it raises an error if the process may no longer write. Below `root`,
    a resolved path, files are never renamed or removed through a link. `postpone` gets each file when it is complete, to commit it
    together with others (`wkpipe.storage.commits`). `ways` are shared by the scratches of a run.
    """

    def __init__(
        self,
        directory: Path,
        fence: Callable[[], None] = lambda: None,
        root: Path | None = None,
        postpone: Callable[[PendingFile], None] | None = None,
        ways: Ways | None = None,
    ) -> None:
        self.directory = directory
        self.fence = fence
        self.root = root
        self.postpone = postpone
        self._admitted: set[str] = set()
        self._ways = ways or Ways()
        self._made = False

    def postponing(self, postpone: Callable[[PendingFile], None]) -> Scratch:
        """Return a scratch in the same directory whose files are committed later."""
        return Scratch(self.directory, self.fence, self.root, postpone, self._ways)

    def admit(self, directory: Path) -> None:
        """Check that no part of a directory's path below `root` is a link.

        Raises:
            InputRefused: a part is a link.
        """
        path = str(directory)
        if self.root is None or path in self._admitted or not directory.is_relative_to(self.root):
            return
        if (real := leads_elsewhere(path, self._admitted)) is not None:
            raise InputRefused(f"a link leads to {real}, and wkpipe writes only inside of the dataset", where=directory, fix=FIX_OF_LINK)

    def make_way(self, directory: Path, barrier: Barrier) -> None:
        """Create a directory; see `Ways.make`. Raises: as `admit`."""
        self.admit(directory)
        self._ways.make(directory, self.root, barrier)

    def way_lasts(self, directory: Path) -> None:
        """Note that the barrier of `make_way` was waited for."""
        self._ways.last(directory)

    def new_path(self) -> Path:
        """Return an unused name in the directory; the first call creates the directory."""
        if not self._made:
            self._make()
            self._made = True
        return self.directory / f"{uuid.uuid4().hex}.{signature()}.tmp"

    def _make(self) -> None:
        """Create the directory. That of a run is worthless after a crash, so its name need not be durable."""
        if self.root is None:
            disk.make_directory(self.directory)
        elif not self.directory.is_dir():
            disk.make_directory(self.directory.parent)
            disk.make_unsynced(self.directory)

    def remove(self) -> None:
        """Remove the directory with all that is in it.

        Raises:
            NotWritable: the disk refuses it.
        """
        disk.remove_tree(self.directory, self.root)

    def unlinked_file(self) -> int:
        """Return the descriptor of a file without a name: it vanishes with the process, however the process ends."""
        path = self.new_path()
        descriptor = disk.create(path)
        disk.unlink(path)
        return descriptor
