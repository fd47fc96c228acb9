"""Simulated faulty disks on a good one: each is an ``os`` for the modules of `wkpipe.storage`."""

# These calls of os replace the same calls.
# ruff: noqa: PTH102, PTH105, PTH108, PTH113, PTH116

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wkpipe.errors import NotWritable
from wkpipe.storage.commit import FileProof, PendingFile
from wkpipe.storage.local import Local, LocalGroup
from wkpipe.storage.proof import Stamp

Result = TypeVar("Result")


def modules() -> list[Any]:
    """Return the modules of the storage package that use ``os``."""
    return [
        module for name, module in sorted(sys.modules.items()) if name.startswith("wkpipe.storage.") and hasattr(module, "os")
    ]  # those with a replaced ``os`` have one too


class PlayedOs:
    """An ``os`` without faults, the base of the faulty ones; `installed` puts it into the storage package."""

    def __init__(self, every: int = 3) -> None:
        self.every = every
        self.struck: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._chance = random.Random(0)
        self._struck_last: dict[tuple[str, int], bool] = defaultdict(bool)
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def installed(self) -> Iterator[PlayedOs]:
        found = modules()
        try:
            for module in found:
                module.os = self
            yield self
        finally:
            for module in found:
                module.os = os

    def elsewhere(self, call: Callable[[], Result]) -> Result:
        """Make a call as another host would: without the caches and losses of this one."""
        found = modules()
        try:
            for module in found:
                module.os = os
            return call()
        finally:
            for module in found:
                module.os = self

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _strikes(self, what: str) -> bool:
        """True at one of `every` calls on average, never twice in a row in one thread."""
        with self._lock:
            self._calls[what] += 1
            struck = self._chance.random() * self.every < 1 and not self._struck_last[what, threading.get_ident()]
            self._struck_last[what, threading.get_ident()] = struck
            self.struck[what] += struck
        return struck


def error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class FailingOs(PlayedOs):
    """One of `every` changes is refused before it is done."""

    CALLS = frozenset({"write", "pwrite", "pwritev", "ftruncate", "fsync", "replace", "link", "unlink", "mkdir", "utime"})
    CODES = (errno.EIO, errno.ENOSPC, errno.EDQUOT)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*arguments: Any, **more: Any) -> Any:
            if self._strikes("change"):
                raise error(self.CODES[self._calls["change"] % 3])
            return real(*arguments, **more)

        return call


class LateOs(PlayedOs):
    """Errors are reported only when a file is synced or closed."""

    def fsync(self, descriptor: int) -> None:
        if self._strikes("fsync"):
            raise error(errno.EDQUOT)
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        is_file = Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".tmp"
        os.close(descriptor)
        if is_file and self._strikes("close"):
            raise error(errno.EIO)


class LossyOs(PlayedOs):
    """Calls succeed, but their answers are lost: the repeated request finds the name taken or gone, or gets no answer."""

    def link(self, source: Any, target: Any) -> None:
        os.link(source, target)
        if self._strikes("link"):
            raise error(errno.EEXIST if self._calls["link"] % 2 else errno.EIO)

    def replace(self, source: Any, target: Any) -> None:
        os.replace(source, target)
        if self._strikes("replace"):
            raise error(errno.ENOENT if self._calls["replace"] % 2 else errno.EIO)

    def mkdir(self, path: Any, *more: Any, **named: Any) -> None:
        os.mkdir(path, *more, **named)
        if self._strikes("mkdir"):
            raise error(errno.EEXIST if self._calls["mkdir"] % 2 else errno.EIO)


class StaleHandlesOs(PlayedOs):
    """The file of a name or a descriptor was replaced on the server: ESTALE, once."""

    def __init__(self) -> None:
        super().__init__(every=8)

    def open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        if not flags & os.O_CREAT and self._strikes("open"):
            raise error(errno.ESTALE)
        return os.open(path, flags, *more, **named)

    def stat(self, path: Any, **named: Any) -> os.stat_result:
        if self._strikes("stat"):
            raise error(errno.ESTALE)
        return os.stat(path, **named)

    def pread(self, descriptor: int, *more: Any) -> bytes:
        if self._strikes("pread"):
            raise error(errno.ESTALE)
        return os.pread(descriptor, *more)

    def preadv(self, descriptor: int, *more: Any) -> int:
        if self._strikes("pread"):
            raise error(errno.ESTALE)
        return os.preadv(descriptor, *more)


class _Status:
    """A file status with another mtime."""

    def __init__(self, real: os.stat_result, mtime_ns: int) -> None:
        self._real = real
        self.st_mtime_ns = mtime_ns
        self.st_mtime = mtime_ns / 1e9

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class ServerClockOs(PlayedOs):
    """Mtimes are whole seconds of a server whose clock is five minutes behind; nobody may change the owner of files."""

    BEHIND = 300

    def _seen(self, real: os.stat_result) -> Any:
        return _Status(real, (real.st_mtime_ns // 10**9 - self.BEHIND) * 10**9)

    def stat(self, path: Any, **named: Any) -> Any:
        return self._seen(os.stat(path, **named))

    def lstat(self, path: Any, **named: Any) -> Any:
        return self._seen(os.lstat(path, **named))

    def fstat(self, descriptor: int) -> Any:
        return self._seen(os.fstat(descriptor))

    def utime(self, path: Any, *, ns: tuple[int, int]) -> None:
        wanted = (ns[1] // 10**9 + self.BEHIND) * 10**9
        os.utime(path, ns=(wanted, wanted))

    def chown(self, *_: Any, **__: Any) -> None:
        raise error(errno.EPERM)

    fchown = lchown = chown

    def elsewhere(self, call: Callable[[], Result]) -> Result:
        """Make a call as another host would: the clock is still the server's."""
        return call()


class StaleAttributesOs(PlayedOs):
    """The status of a name is cached for 60 s, also if there is no such file; opening a file or its directory asks the server again."""

    SECONDS = 60

    def __init__(self, every: int = 3) -> None:
        super().__init__(every)
        self._known: dict[str, tuple[float, os.stat_result | None]] = {}

    def stat(self, path: Any, **named: Any) -> os.stat_result:
        key = str(path)
        with self._lock:
            at, known = self._known.get(key, (-1e9, None))
            if time.monotonic() - at > self.SECONDS:
                known = None
                with contextlib.suppress(FileNotFoundError):
                    known = os.stat(path, **named)
                self._known[key] = time.monotonic(), known
            else:
                self.struck["stat"] += 1
        if known is None:
            raise error(errno.ENOENT)
        return known

    def open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        with self._lock:
            directory, known = str(path), self._known.get(str(path))
            if flags & os.O_DIRECTORY:
                for key in [key for key in self._known if key.rpartition("/")[0] == directory]:
                    del self._known[key]
            elif known is not None and known[1] is None and not flags & os.O_CREAT:
                raise error(errno.ENOENT)
            self._known.pop(directory, None)
        return os.open(path, flags, *more, **named)

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in ("replace", "link", "unlink", "mkdir", "rmdir", "utime"):
            return real

        def call(*arguments: Any, **more: Any) -> Any:
            """A client knows its own changes."""
            result = real(*arguments, **more)
            with self._lock:
                for path in arguments:
                    self._known.pop(str(path), None)
            return result

        return call


class LeftoverOs(PlayedOs):
    """Files that are open while they are removed or replaced stay, under another name."""

    def unlink(self, path: Any, **named: Any) -> None:
        if named or Path(path).name.startswith(".nfs") or not self._keeps(path):
            os.unlink(path, **named)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def replace(self, source: Any, target: Any) -> None:
        self._keeps(target)
        os.replace(source, target)

    def _keeps(self, path: Any) -> bool:
        if not os.path.isfile(path) or not self._strikes("leftover"):
            return False
        with contextlib.suppress(OSError):
            os.link(path, Path(path).with_name(f".nfs{uuid.uuid4().hex}"))
        return True


class NfsOs(ServerClockOs, LossyOs, LeftoverOs):
    """Several of these faults at once."""

    def replace(self, source: Any, target: Any) -> None:
        self._keeps(target)
        LossyOs.replace(self, source, target)


class InsistentFile:
    """A pending file that is written again from its beginning if the disk refuses it."""

    def __init__(self, begin: Callable[[], PendingFile]) -> None:
        self._begin = begin
        self._done: list[tuple[str, tuple[Any, ...]]] = []
        self._shared: dict[int, mmap.mmap] = {}  # what forked processes fill, by its offset
        self.size = 0

    def append(self, data: Any) -> int:
        self._done.append(("append", (bytes(data),)))
        self.size += len(bytes(data))
        return self.size - len(bytes(data))

    def append_hole(self, length: int) -> int:
        self._done.append(("append_hole", (length,)))
        self.size += length
        return self.size - length

    def overwrite(self, offset: int, data: Any) -> None:
        self._done.append(("overwrite", (offset, bytes(data))))

    def reserve(self, length: int, crc32c: int) -> int:
        self._shared[self.size] = mmap.mmap(-1, length)
        self._done.append(("append", (self._shared[self.size],)))
        self.size += length
        return self.size - length

    def fill(self, parts: Sequence[memoryview], offset: int) -> None:
        begin = max(place for place in self._shared if place <= offset)
        data = b"".join(parts)
        self._shared[begin][offset - begin : offset - begin + len(data)] = data

    def filled(self, length: int) -> None:
        pass

    def commit(self) -> FileProof:
        return insisted(self._attempt)

    def _attempt(self) -> FileProof:
        with self._begin() as file:
            for name, arguments in self._done:
                getattr(file, name)(*arguments)
            return file.commit()

    def discard(self) -> None:
        pass

    def __enter__(self) -> InsistentFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class InsistentGroup:
    """A group of objects that is written again from its beginning if the disk refuses it."""

    def __init__(self, begin: Callable[[], LocalGroup]) -> None:
        self._begin = begin
        self._done: list[tuple[str, Any]] = []

    def add(self, key: str, data: Any, _: bytes | None = None) -> None:
        self._done.append((key, data))

    def commit(self) -> dict[str, FileProof]:
        return insisted(self._attempt)

    def _attempt(self) -> dict[str, FileProof]:
        group = self._begin()
        try:
            for key, data in self._done:
                group.add(key, data)
            return group.commit()
        finally:
            group.discard()

    def discard(self) -> None:
        pass


def insisted(call: Callable[[], Result]) -> Result:
    """Make a call until the disk accepts it."""
    for _ in range(200):
        with contextlib.suppress(NotWritable):
            return call()
    raise AssertionError("refused too often")


class Insistent(Local):
    """A place that repeats changes that the disk refuses: after a refusal, nothing is lost or half done."""

    def child(self, name: str) -> Insistent:
        return Insistent(self.root / name, self.scratch)

    def writing(self, scratch: Any) -> Insistent:
        return Insistent(self.root, scratch)

    def writer(self, key: str) -> Any:
        return InsistentFile(lambda: Local.writer(self, key))

    def group(self) -> Any:
        return InsistentGroup(lambda: Local.group(self))

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_stamp: Stamp | None = None, lasting: bool = True) -> Stamp | None:
        refused = False
        place = Local(self.root, self.scratch)

        def attempt() -> Stamp | None:
            nonlocal refused
            try:
                return place.put(key, data, if_absent=if_absent, if_stamp=if_stamp, lasting=lasting)
            except NotWritable:
                refused = True
                raise

        stamp = insisted(attempt)
        if stamp is None and refused and self.content(key, 1 << 20) == data:  # it was done before something else was refused
            facts = self.facts(key, fresh=True)
            return None if facts is None else facts.stamp
        return stamp

    def remove(self, keys: Sequence[str], lasting: bool = True) -> None:
        insisted(lambda: Local.remove(self, keys, lasting))

    def clock_ns(self) -> int:
        return insisted(lambda: Local.clock_ns(self))
