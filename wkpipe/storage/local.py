"""Local: a place that is a directory of a file system. Objects are files, keys are paths below the directory.

Files are written with the commit protocol (`wkpipe.storage.commit`). The stamp of a file is its mtime, which `commit` makes different
from that of the file that it replaces. `put` with a stamp holds a guard (`wkpipe.storage.guard`) while it looks and renames.
Links are followed for reading; `Scratch.admit` refuses links on the way to a file that is written or removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wkpipe.storage import access, disk, inside, names, opened, room
from wkpipe.storage.access import exists, is_directory, is_link
from wkpipe.storage.barrier import Barrier
from wkpipe.storage.commit import FileProof, PendingFile
from wkpipe.storage.disk import LEFTOVER
from wkpipe.storage.group import PendingGroup
from wkpipe.storage.guard import Guard
from wkpipe.storage.opened import OpenFile, entries_in, facts_of, identity, names_in, read_whole, status_of, unreadable
from wkpipe.storage.place import Entry, Facts, Opened, Place
from wkpipe.storage.proof import MTIME, Stamp
from wkpipe.storage.reasons import check_room
from wkpipe.storage.removal import remove_abandoned, remove_directory, remove_files
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject

_MOST_DEPTH: Final = 200


@dataclass(frozen=True)
class Local:
    """A directory as a place; it need not exist until something is put into it.

    `scratch` is the directory for temporary files and has the fence; by default, it is the directory itself.

    >>> place = Local(Path("/"))
    >>> place.facts("no such file") is None, "etc" in place.names()
    (True, True)
    """

    root: Path
    scratch: Scratch | None = field(default=None, compare=False)
    can_rename: bool = field(default=True, compare=False)

    def child(self, name: str) -> Local:
        return Local(self.root / name, self.scratch, self.can_rename)

    def writing(self, scratch: Scratch) -> Local:
        return Local(self.root, scratch, self.can_rename)

    def path(self, key: str = "") -> Path:
        return self.root / key

    def _at(self, key: str) -> str:
        return f"{self.root}/{key}" if key else str(self.root)

    def __str__(self) -> str:
        return str(self.root)

    # -- reading ------------------------------------------------------------------------------------------------

    def facts(self, key: str, fresh: bool = False) -> Facts | None:
        status = status_of(self._at(key), fresh)
        return None if status is None else facts_of(status)

    def has(self, key: str) -> bool:
        return exists(self._at(key))

    def is_directory(self, key: str = "") -> bool:
        return is_directory(self._at(key))

    def real(self, key: str = "") -> str:
        return opened.real_path(self._at(key))

    def is_inside(self, key: str) -> bool:
        return self.real(key) == f"{self.real()}/{key}"

    def is_link(self, key: str = "") -> bool:
        return is_link(self._at(key))

    def refuse_links(self, *keys: str) -> None:
        inside.refuse_links(*map(self._at, keys))

    def refuse_strangers(self, unread: Collection[str] = ()) -> None:
        inside.refuse_strangers(self.root, unread)

    def volume(self) -> int:
        return os.stat(access.nearest(self.root)).st_dev

    def free_bytes(self) -> int | None:
        return room.free_bytes(self.root)

    def taken(self) -> Iterator[int]:
        return room.taken_below(self.root)

    def check_room(self, least: int) -> None:
        check_room(self.root, least)

    def names(self, prefix: str = "") -> list[str]:
        return [name for name in names_in(self._at(prefix)) if not name.startswith(LEFTOVER)]

    def entries(self, prefix: str = "") -> list[Entry]:
        return entries_in(self._at(prefix))

    def list(self, prefix: str = "") -> Iterator[tuple[str, Facts]]:
        return self._below(prefix.rstrip("/"), _MOST_DEPTH)

    def _below(self, prefix: str, depth: int) -> Iterator[tuple[str, Facts]]:
        """Yield the files of a directory, then those of its directories; links to directories are not followed: they may lead anywhere."""
        inner = []
        for entry in self.entries(prefix):
            key = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.facts is not None:
                yield key, entry.facts
            elif entry.is_directory and not entry.is_link:
                inner.append(key)
        for key in inner:
            if depth:
                yield from self._below(key, depth - 1)

    def content(self, key: str, limit: int) -> bytes | None:
        found = read_whole(self._at(key), limit)
        return None if found is None else found[0]

    def content_and_facts(self, key: str, limit: int) -> tuple[bytes, Facts] | None:
        return read_whole(self._at(key), limit)

    def open(self, key: str) -> OpenFile | None:
        path = self._at(key)
        if status_of(path) is None:
            return None
        try:
            return OpenFile(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error

    def is_current(self, key: str, opened: Opened) -> bool:
        status = status_of(self._at(key))
        return status is not None and isinstance(opened, OpenFile) and identity(status) == identity(opened.stat)

    # -- permission ---------------------------------------------------------------------------------------------

    def is_readable(self, key: str) -> bool:
        return os.access(self._at(key), os.R_OK)

    def check_readable(self, keys: Sequence[str], fix: str) -> None:
        access.check_readable(map(self._at, keys), fix)

    def check_writable(self, key: str = "", *, fix: str) -> None:
        access.check_writable(self.root / key, fix)

    def check_replaceable(self, key: str, fix: str) -> None:
        access.check_replaceable(self.root / key, fix)

    def check_removable(self, key: str = "", *, fix: str) -> None:
        access.check_removable(self.root / key, fix)

    # -- writing ------------------------------------------------------------------------------------------------

    @property
    def _used(self) -> Scratch:
        return self.scratch or Scratch(self.root)

    def writer(self, key: str) -> PendingFile:
        return PendingFile(self.root / key, self._used)

    def group(self) -> LocalGroup:
        return LocalGroup(self.root, self._used)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: Stamp | None = None, lasting: bool = True) -> Stamp | None:
        if if_stamp is None:
            return self._put(key, data, if_absent, lasting)
        path = self.root / key
        with Guard(path.with_name(f"{path.name}.{if_stamp.value}.guard"), self._used):
            found = self.facts(key, fresh=True)
            return None if found is None or found.stamp != if_stamp else self._put(key, data)

    def _put(self, key: str, data: bytes, if_absent: bool = False, lasting: bool = True) -> Stamp | None:
        with self.writer(key) as file:
            file.append(data)
            proof = file.commit_new(lasting) if if_absent else file.commit(lasting)
        return None if proof is None else stamp_of(proof)

    def remove(self, keys: Sequence[str], lasting: bool = True) -> None:
        remove_files([self.root / key for key in keys], self._used, lasting)

    def remove_below(self, key: str = "") -> None:
        path = self.root / key
        if is_link(path) or not is_directory(path):
            remove_files([path], self._used)
        else:
            remove_directory(path, self._used)

    def tidy(self) -> None:
        remove_abandoned(self.root)

    def make_directory(self, key: str = "") -> None:
        disk.make_directory(self.root / key)

    def move_to(self, target: Place) -> None:
        if not isinstance(target, Local) or not self.can_rename:
            raise ValueError(f"{self} cannot be renamed to {target}")
        self._used.admit(self.root.parent)
        self._used.admit(target.root.parent)
        disk.make_directory(target.root.parent)
        self._used.fence()
        names.rename(self.root, target.root)
        for directory in (target.root.parent, self.root.parent):
            disk.sync_directory(directory)

    def note(self, key: str, text: str) -> None:
        disk.note(self.root / key, text)

    def clock_ns(self) -> int:
        path = self._used.new_path()
        descriptor = disk.create(path)
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            disk.close(descriptor, path)
            disk.unlink(path)


class LocalGroup:
    """Many small files that become durable and visible together."""

    def __init__(self, root: Path, scratch: Scratch) -> None:
        self._root = f"{root}/"
        self._files = PendingGroup(scratch)

    def add(self, key: str, data: Any, digest: bytes | None = None) -> None:
        self._files.add(self._root + key, data, digest)

    def begin_apart(self) -> None:
        self._files.begin_apart()

    def write_apart(self, objects: Iterable[tuple[str, bytes, bytes]]) -> bytes:
        return self._files.write_apart((self._root + key, data, digest) for key, data, digest in objects)

    def take(self, objects: Iterable[tuple[str, int]], receipt: bytes) -> None:
        self._files.take(((self._root + key, size) for key, size in objects), receipt)

    def commit(self) -> dict[str, FileProof]:
        return {final[len(self._root) :]: proof for final, proof in self._files.commit().items()}

    def discard(self) -> None:
        self._files.discard()

    # -- in stages, see `wkpipe.storage.stages` ----------------------------------------------------------------

    @property
    def fence(self) -> Callable[[], None]:
        return self._files.fence

    def settle(self, barrier: Barrier) -> None:
        self._files.settle(barrier)

    def close(self) -> None:
        self._files.close()

    def appear(self, barrier: Barrier) -> None:
        self._files.appear(barrier)


def stamp_of(proof: FileProof) -> Stamp:
    """Return the stamp of a file that was committed."""
    return Stamp(MTIME, proof.mtime_ns)


def as_place(where: Place | Path) -> Place:
    """Return a path of this disk as a place; a place is returned unchanged.

    >>> str(as_place(Path("/data")))
    '/data'
    """
    return Local(where) if isinstance(where, Path) else where


def object_at(path: Path) -> StoredObject:
    """Return a file of this disk as an object of the place that is its directory.

    >>> str(object_at(Path("/data/a.json")))
    '/data/a.json'
    """
    return StoredObject(Local(path.parent), path.name)
