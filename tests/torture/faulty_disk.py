"""An ``os`` for `wkpipe.storage.disk` whose n-th call fails, kills the process, or cuts the power.

Needs nothing of pytest, so that a process that a test starts can install it too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wkpipe.storage import disk

CALLS = frozenset(
    {"open", "write", "pwrite", "ftruncate", "posix_fallocate", "fsync", "replace", "link", "unlink", "mkdir", "makedirs", "rmdir", "utime"}
)
"""What is counted: all that the seam asks of the operating system to change a disk. `disk._syncfs` counts as one more."""

NEEDS_ROOM = frozenset({"write", "pwrite", "posix_fallocate", "link", "mkdir", "makedirs"})
FAULTS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "kill", "power")
"""EIO: the n-th call alone fails. ENOSPC, EDQUOT: from there on all that needs room fails. EROFS: from there on everything
fails, as when the kernel takes a broken disk away. kill: SIGKILL. power: SIGKILL, and what was not synced is lost."""


class FaultyOs:
    """Counts the calls; the one with number `at` (from 1) suffers `fault`. With `at` = 0 nothing does.

    Syncs are counted and left out: a killed process loses nothing that it has written, and `power` does the losing itself.
    `is_traced`: note in `sites` where each call comes from.
    A write that fails or dies has written half of its bytes, as a full disk and a torn page do.
    """

    def __init__(self, at: int = 0, fault: str = "kill", stash: Path | None = None, is_traced: bool = False) -> None:
        self.calls = 0
        self.sites: list[str] = []
        self._at, self._fault, self._is_traced = at, fault, is_traced
        self._lock = threading.RLock()
        self._power = _PowerCut(stash, at) if fault == "power" and stash is not None else None

    @contextlib.contextmanager
    def installed(self) -> Iterator[FaultyOs]:
        before = disk.os, disk._syncfs
        disk.os, disk._syncfs = self, self._sync_all  # type: ignore[assignment, attr-defined]
        try:
            yield self
        finally:
            disk.os, disk._syncfs = before  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*arguments: Any, **more: Any) -> Any:
            with self._lock:
                self._count(name, real, *arguments)
                if name == "fsync":
                    return self._power.synced(arguments[0]) if self._power else None
                if self._power:
                    return self._power.watched(name, real, *arguments, **more)
                return real(*arguments, **more)

        return call

    def _sync_all(self, descriptor: int) -> None:
        with self._lock:
            self._count("syncfs", lambda *_: None)
            if self._power:
                self._power.synced_all()

    def _count(self, name: str, real: Callable[..., Any], *arguments: Any) -> None:
        self.calls += 1
        if self._is_traced:
            self.sites.append(_site(name))
        if self.calls < self._at or not self._at:
            return
        now = self.calls == self._at
        if now and name in ("write", "pwrite") and len(arguments[1]) > 1:
            real(arguments[0], arguments[1][: len(arguments[1]) // 2], *arguments[2:])
        if self._fault in ("kill", "power"):
            if self._power:
                self._power.cut()
            os.kill(os.getpid(), signal.SIGKILL)
        needs_room = name in NEEDS_ROOM or (name == "open" and arguments[1] & os.O_CREAT)
        if now or self._fault == "EROFS" or (self._fault in ("ENOSPC", "EDQUOT") and needs_room):
            code = getattr(errno, self._fault)
            raise OSError(code, os.strerror(code))


def _site(name: str) -> str:
    """Return which call this is: the way to it through wkpipe, without line numbers."""
    frame, way = sys._getframe(3), []
    while frame is not None:
        code = frame.f_code
        if f"{os.sep}wkpipe{os.sep}" in code.co_filename and "<" not in code.co_name:
            way.append(f"{Path(code.co_filename).stem}.{code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return f"{name} in {' < '.join(way)}"


def _path(name: str | Path, directory: int | None) -> Path:
    """Return the path of what a call names, perhaps relative to an open directory."""
    return Path(name) if directory is None else Path(f"/proc/self/fd/{directory}").readlink() / name


class _PowerCut:
    """Knows what has been synced, and takes the rest back.

    Of every directory some of the newest entries are lost that were made, renamed or removed since it was synced: all of
    them, or a random number. Of every file all bytes are lost that were written since it was synced. What POSIX promises
    is no more than this, however much more a file system may keep.
    """

    def __init__(self, stash: Path, seed: int) -> None:
        self._stash = stash
        self._random = random.Random(seed)
        self._paths: dict[int, Path] = {}  # by descriptor
        self._files: dict[int, tuple[Path, int]] = {}  # written since their sync: by inode, where it lies and how much is safe
        self._safe: dict[int, int] = {}
        self._changes: list[tuple[Path, Callable[[], None]]] = []  # the directory, how to take it back

    def watched(self, name: str, real: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Do a call for real and note how it would be undone."""
        first = _path(arguments[0], more.get("dir_fd")) if isinstance(arguments[0], (str, Path)) else None
        if name == "open" and first is not None:
            is_new = not first.exists()
            descriptor = real(*arguments, **more)
            self._paths[descriptor] = first
            if is_new:
                inode = os.fstat(descriptor).st_ino  # numbers are used again
                self._files.pop(inode, None)
                self._safe.pop(inode, None)
                self._changes.append((first.parent, lambda: first.unlink(missing_ok=True)))
            return descriptor
        if name in ("write", "pwrite", "ftruncate", "posix_fallocate"):
            inode = os.fstat(arguments[0]).st_ino
            self._files[inode] = (self._paths[arguments[0]], self._safe.get(inode, 0))
            return real(*arguments, **more)
        kept = self._kept(Path(arguments[1]) if name in ("replace", "link") else first)
        result = real(*arguments, **more)
        if first is not None:
            self._note(name, first, Path(arguments[1]) if len(arguments) > 1 else first, kept)
        return result

    def _kept(self, path: Path | None) -> Path | None:
        """Give what lies at a path a second name, to bring it back."""
        if path is None or not path.is_file():
            return None
        copy = self._stash / uuid.uuid4().hex
        os.link(path, copy)
        return copy

    def _note(self, name: str, source: Path, target: Path, kept: Path | None) -> None:
        def restore(path: Path) -> None:
            if kept is not None and path.parent.is_dir():
                os.link(kept, self._stash / "again")
                (self._stash / "again").replace(path)
                with contextlib.suppress(FileNotFoundError):
                    (self._stash / "again").unlink()

        def unname() -> None:
            if target.exists() and source.parent.is_dir():
                target.replace(source)
            restore(target)

        undo: dict[str, tuple[Path, Callable[[], None]]] = {
            "replace": (target.parent, unname),
            "link": (target.parent, lambda: target.unlink(missing_ok=True)),
            "unlink": (source.parent, lambda: restore(source)),
            "mkdir": (source.parent, lambda: shutil.rmtree(source, ignore_errors=True)),
            "rmdir": (source.parent, lambda: source.mkdir(exist_ok=True) if source.parent.is_dir() else None),
        }
        if name == "replace":
            inode = target.stat().st_ino
            if inode in self._files:
                self._files[inode] = (target, self._files[inode][1])
        if name in undo:
            self._changes.append(undo[name])

    def synced(self, descriptor: int) -> None:
        stat = os.fstat(descriptor)
        self._files.pop(stat.st_ino, None)
        self._safe[stat.st_ino] = stat.st_size
        path = self._paths.get(descriptor)
        if path is not None and path.is_dir():
            self._changes = [change for change in self._changes if change[0] != path]

    def synced_all(self) -> None:
        for inode, (path, _) in self._files.items():
            if path.exists():
                self._safe[inode] = path.stat().st_size
        self._files, self._changes = {}, []

    def cut(self) -> None:
        for path, size in self._files.values():
            if path.is_file():
                os.truncate(path, min(size, path.stat().st_size))
        lost: dict[Path, int] = {}
        for directory in {directory for directory, _ in self._changes}:
            count = sum(1 for where, _ in self._changes if where == directory)
            lost[directory] = count if self._random.random() < 0.5 else self._random.randint(0, count)
        for directory, take_back in reversed(self._changes):
            if lost[directory] > 0:
                lost[directory] -= 1
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    take_back()
