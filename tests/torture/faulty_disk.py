"""An ``os`` for the seam (`wkpipe.storage.disk` and `names`) whose n-th call fails, kills the process, or cuts the power.

It does not need pytest, so a process that a test starts can install it too.
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
from types import FrameType
from typing import Any

from wkpipe.storage import disk, names, opened

CALLS = frozenset(
    {
        "open",
        "write",
        "pwrite",
        "pwritev",
        "ftruncate",
        "posix_fallocate",
        "fsync",
        "replace",
        "link",
        "symlink",
        "unlink",
        "mkdir",
        "makedirs",
        "rmdir",
        "utime",
    }
)
"""The calls that are counted: those with which the seam changes a disk. `disk._syncfs` counts too."""

NEEDS_ROOM = frozenset({"write", "pwrite", "pwritev", "posix_fallocate", "link", "symlink", "mkdir", "makedirs"})
FAULTS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "kill", "power")
"""EIO: only the n-th call fails. ENOSPC, EDQUOT: from then on every call that needs space fails. EROFS: from then on every call
fails, as if the kernel removes a broken disk. kill: SIGKILL. power: SIGKILL, and everything that was not synced is lost."""


class FaultyOs:
    """Count the calls; the call with number `at` (from 1) suffers `fault`. With `at` = 0, none does.

    Syncs are counted but not done: a killed process loses nothing that it has written, and `power` itself makes the losses.
    `reads`: opening a file to read it counts too. `is_traced`: note in `sites` where each call comes from. A write that fails
    or dies has written half of its bytes, as on a full disk or in a torn page.
    """

    def __init__(self, at: int = 0, fault: str = "kill", stash: Path | None = None, is_traced: bool = False, reads: bool = False) -> None:
        self.calls = 0
        self.sites: list[str] = []
        self._at, self._fault, self._is_traced = at, fault, is_traced
        self._process = 0
        self._lock = threading.RLock()
        self._modules: list[Any] = [disk, names, *([opened] if reads else [])]
        self._power = _PowerCut(stash, at) if fault == "power" and stash is not None else None

    @contextlib.contextmanager
    def installed(self) -> Iterator[FaultyOs]:
        before, self._process = disk._syncfs, os.getpid()
        try:
            for module in self._modules:
                module.os = self
            disk._syncfs = self._sync_all
            yield self
        finally:
            for module in self._modules:
                module.os = os
            disk._syncfs = before

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
        if self.calls < self._at or not self._at or (self._fault == "power" and os.getpid() != self._process):
            return  # the power of forked processes is cut by the one that has installed this
        now = self.calls == self._at
        if now and name in ("write", "pwrite", "pwritev"):
            data = b"".join(arguments[1]) if name == "pwritev" else arguments[1]
            if half := data[: len(data) // 2]:
                real(arguments[0], [half] if name == "pwritev" else half, *arguments[2:])
        if self._fault in ("kill", "power"):
            if self._power:
                self._power.cut()
            os.kill(os.getpid(), signal.SIGKILL)
        needs_room = name in NEEDS_ROOM or (name == "open" and arguments[1] & os.O_CREAT)
        if now or self._fault == "EROFS" or (self._fault in ("ENOSPC", "EDQUOT") and needs_room):
            code = getattr(errno, self._fault)
            raise OSError(code, os.strerror(code))


def _site(name: str) -> str:
    """Return the name of a call: the call chain through wkpipe, without line numbers; a thread was called by what waits for it."""
    frames: list[FrameType | None] = [sys._getframe(3)]
    if threading.current_thread() is not threading.main_thread():
        frames.append(sys._current_frames().get(threading.main_thread().ident or 0))
    way = []
    for frame in frames:
        while frame is not None:
            code = frame.f_code
            if f"{os.sep}wkpipe{os.sep}" in code.co_filename and "<" not in code.co_name:
                way.append(f"{Path(code.co_filename).stem}.{code.co_name}")
            frame = frame.f_back
    return f"{name} in {' < '.join(way)}"


def _path(name: str | Path, directory: int | None) -> Path:
    """Return the path of a name in a call, which may be relative to an open directory."""
    return Path(name) if directory is None else Path(f"/proc/self/fd/{directory}").readlink() / name


class _PowerCut:
    """Know what has been synced, and undo the rest. Files that forked processes have written are not synced either until this one does it.

    Every directory loses some of the newest entries that were made, renamed or removed since it was synced: all of them, or a
    random number. Every file loses all bytes that were written since it was synced. POSIX promises no more than this,
    although a file system may keep more.
    """

    def __init__(self, stash: Path, seed: int) -> None:
        self._stash = stash
        self._random = random.Random(seed)
        self._paths: dict[int, Path] = {}  # by descriptor
        self._files: dict[int, tuple[Path, int]] = {}  # written since their sync: by inode, the path and the number of safe bytes
        self._safe: dict[int, int] = {}
        self._changes: list[tuple[Path, Callable[[], None]]] = []  # the directory, and how to undo the change
        self._mine = set(stash.parent.rglob("*"))  # what was there before, was made by this process, or is synced

    def watched(self, name: str, real: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Do a call and note how to undo it."""
        first = _path(arguments[0], more.get("dir_fd")) if isinstance(arguments[0], (str, Path)) else None
        if name == "open" and first is not None:
            is_new = not first.exists()
            descriptor = real(*arguments, **more)
            self._paths[descriptor] = first
            if is_new:
                self._mine.add(first)
                inode = os.fstat(descriptor).st_ino  # the system uses numbers again
                self._files.pop(inode, None)
                self._safe.pop(inode, None)
                self._changes.append((first.parent, lambda: first.unlink(missing_ok=True)))
            return descriptor
        if name in ("write", "pwrite", "pwritev", "ftruncate", "posix_fallocate"):
            inode = os.fstat(arguments[0]).st_ino
            self._files[inode] = (self._paths[arguments[0]], self._safe.get(inode, 0))
            return real(*arguments, **more)
        kept = self._kept(Path(arguments[1]) if name in ("replace", "link") else first)
        result = real(*arguments, **more)
        if first is not None:
            self._note(name, first, Path(arguments[1]) if len(arguments) > 1 else first, kept)
        return result

    def _kept(self, path: Path | None) -> Path | None:
        """Give the file at a path a second name, to restore it."""
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
            "symlink": (target.parent, lambda: target.unlink(missing_ok=True)),
            "unlink": (source.parent, lambda: restore(source)),
            "mkdir": (source.parent, lambda: shutil.rmtree(source, ignore_errors=True)),
            "rmdir": (source.parent, lambda: source.mkdir(exist_ok=True) if source.parent.is_dir() else None),
        }
        if name == "replace":
            inode = target.stat().st_ino
            if inode in self._files:
                self._files[inode] = (target, self._files[inode][1])
            elif source not in self._mine and target.is_file():
                self._files[inode] = (target, 0)
        if name in ("replace", "link") and source in self._mine:
            self._mine.add(target)
        if name in undo:
            self._changes.append(undo[name])

    def synced(self, descriptor: int) -> None:
        stat = os.fstat(descriptor)
        self._files.pop(stat.st_ino, None)
        self._safe[stat.st_ino] = stat.st_size
        path = self._paths.get(descriptor)
        if path is not None:
            self._mine.add(path)
        if path is not None and path.is_dir():
            self._changes = [change for change in self._changes if change[0] != path]

    def synced_all(self) -> None:
        for inode, (path, _) in self._files.items():
            if path.exists():
                self._safe[inode] = path.stat().st_size
        self._files, self._changes = {}, []
        self._mine.update(self._stash.parent.rglob("*"))

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
