"""Guard: one process at a time replaces a file of a given version, on a disk.

A disk has no call that replaces a file only if it has not changed. So a process that wants to do that first takes a name beside
the file, with an exclusive hard link to a complete, synced file that says who holds it. This is atomic on local disks, NFS and
Lustre (without hard links, an exclusive rename is). The name contains the version, so a guard that was left behind blocks
nobody once the file has changed.

A guard is taken over if its holder is surely dead, or if it is old by the file system's own clock. The process that takes over
first takes another guard, named after the dead holder's token, and then looks again. So a slow process never removes the
guard of a faster one.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Final

from wkpipe.errors import NotWritable, TryAgain
from wkpipe.storage import disk, names
from wkpipe.storage.holder import Holder
from wkpipe.storage.opened import read_small
from wkpipe.storage.scratch import Scratch

EXPIRY_SECONDS: Final = 900.0
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1


_held: set[str] = set()
"""The tokens of the guards that this process holds: any other guard in its name was left behind, for example because its removal failed."""


class Guard:
    """A guard that stops other processes from replacing a file, as a context manager.

    Raises:
        TryAgain: on entering, another process holds the guard for longer than `timeout` seconds.
        NotWritable: on entering, the directory cannot be written.
    """

    def __init__(self, path: Path, scratch: Scratch, timeout: float = 30.0) -> None:
        self._path = path
        self._scratch = scratch
        self._timeout = timeout
        self._mine = Holder.myself()

    def __enter__(self) -> Guard:
        _held.add(self._mine.token)
        try:
            self._acquire()
        except BaseException:
            _held.discard(self._mine.token)
            raise
        return self

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._timeout
        disk.make_directory(self._path.parent)
        temporary = self._scratch.new_path()
        try:
            now = _write(temporary, self._mine)
            pause = _FIRST_PAUSE
            while not names.take_name(temporary, self._path):
                holder = read_holder(self._path)
                if holder is not None and self._is_dead(holder, now):
                    self._remove_dead(holder, deadline)
                    continue
                if time.monotonic() >= deadline:
                    raise TryAgain(
                        f"{holder or 'an unknown process'} is changing this file", where=self._path, fix="run the same command again"
                    )
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        finally:
            disk.unlink(temporary)

    def __exit__(self, *_: object) -> None:
        _held.discard(self._mine.token)
        with contextlib.suppress(NotWritable):  # a guard that is left behind blocks nobody
            if (found := read_holder(self._path)) is not None and found.token == self._mine.token:
                disk.unlink(self._path)

    def _is_dead(self, holder: Holder, now: float) -> bool:
        """True if the holder is gone; `now` is the time by the file system's clock, which may differ from this host's."""
        if holder.is_surely_alive():
            return holder.is_this_process() and holder.token not in _held
        if holder.is_surely_dead():
            return True
        with contextlib.suppress(OSError):
            return now - os.stat(self._path).st_mtime > EXPIRY_SECONDS
        return False

    def _remove_dead(self, dead: Holder, deadline: float) -> None:
        """Remove the guard of a dead holder, unless another process has done so."""
        left = max(deadline - time.monotonic(), 0.0)
        with Guard(self._path.with_name(f"{self._path.name}.{dead.token}"), self._scratch, left):
            found = read_holder(self._path)
            if found is not None and found.token == dead.token:
                disk.unlink(self._path)


def _write(path: Path, holder: Holder) -> float:
    """Write a temporary file and return its mtime, which is by the file system's clock."""
    descriptor = disk.create(path)
    try:
        disk.write(descriptor, holder.to_bytes(), path)
        disk.sync(descriptor, path)
        return os.fstat(descriptor).st_mtime
    finally:
        disk.close(descriptor, path)


def read_holder(path: Path) -> Holder | None:
    """Return the holder that a file names; None if there is none, or if the file cannot be read."""
    try:
        return Holder.from_bytes(read_small(path))
    except OSError:
        return None
