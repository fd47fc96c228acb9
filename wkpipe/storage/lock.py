"""MetadataLock: one process at a time changes the metadata of a dataset.

The lock is a file that is made by an exclusive hard link of a complete, synced one: that is atomic on local disks, NFS
and Lustre alike, and the lock always tells who holds it. (Where there are no hard links, by an exclusive rename.)
A lock whose holder is surely dead is taken over. For that the one who takes over first takes a lock of its own that is
named after the dead one's token; only its holder may remove a lock with that token, after it looked again. So a slow
process can never remove the lock of one that was faster.

Whether a holder on another host is alive cannot be seen. Nobody holds the lock for longer than some changes of small files
take; one that is much older (`EXPIRY_SECONDS`) was left behind, or came along with a copy of the dataset. A holder that was
asleep for that long finds out before it writes (`check`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import random
import re
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from wkpipe.errors import TryAgain
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch
from wkpipe.storage.process import is_gone, pid_namespace, start_ticks, this_system

LOCK_FILE_NAME: Final = "metadata.lock"
_TOKEN = re.compile("[0-9a-f]{32}")
EXPIRY_SECONDS: Final = 900.0
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: host, machine and boot of the system, process (in its pid namespace) and its start, since when.

    start_ticks: start of the process in clock ticks since boot, which tells it from a later one with the same pid; 0
    where the system does not tell. token: unique for every time a lock is taken.
    """

    host: str
    machine_id: str
    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: int
    since: str
    token: str

    @classmethod
    def myself(cls) -> Holder:
        """Describe this process, with a fresh token."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        pid = os.getpid()
        return cls(*this_system(), pid_namespace(), pid, start_ticks(pid) or 0, now, uuid.uuid4().hex)

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """Read the content of a lock; None where it is not one."""
        try:
            content = json.loads(data)
            holder = cls(**content)
        except (ValueError, TypeError, RecursionError):
            return None
        kinds = {"pid": int, "start_ticks": int}
        is_sound = all(isinstance(value, kinds.get(key, str)) for key, value in content.items())
        return holder if is_sound and _TOKEN.fullmatch(holder.token) else None

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), indent=4).encode()

    def is_surely_dead(self) -> bool:
        """Tell whether the process is gone: on this system, in this pid namespace, or before a reboot of this host."""
        host, machine_id, boot_id = this_system()
        if (self.host, self.machine_id) != (host, machine_id):
            return False
        if self.boot_id != boot_id:
            return True
        return self.pid_namespace == pid_namespace() and is_gone(self.pid, self.start_ticks)

    def is_surely_alive(self) -> bool:
        """Tell whether the process runs here: on this system and in this pid namespace, so that its end would be seen."""
        is_here = (self.host, self.machine_id, self.boot_id) == this_system() and self.pid_namespace == pid_namespace()
        return is_here and not self.is_surely_dead()

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.since}"


class MetadataLock:
    """A short lock for the metadata of a dataset, as a context manager.

    >>> with MetadataLock(dataset / ".wkpipe" / "locks"):  # doctest: +SKIP
    ...     ...  # read, change, write

    Not re-entrant: a thread that takes it twice waits for itself. `directory` is made where it is missing; `scratch` is
    a directory for temporary files on the same file system (default: `directory`); `timeout` is in seconds.

    Raises:
        TryAgain: on entering, the lock was not free within `timeout`; names the holder and since when.
        NotWritable: on entering, the directory can not be written.
    """

    def __init__(self, directory: Path, scratch: Scratch | None = None, timeout: float = 30.0, name: str = LOCK_FILE_NAME) -> None:
        self.path = directory / name
        self._scratch = scratch or Scratch(directory)
        self._timeout = timeout
        self._holder: Holder | None = None

    def __enter__(self) -> MetadataLock:
        self._holder = self._acquire(time.monotonic() + self._timeout)
        return self

    def __exit__(self, *_: object) -> None:
        mine, self._holder = self._holder, None
        found = read_holder(self.path)
        if mine is not None and found is not None and found.token == mine.token:
            disk.unlink(self.path)

    def _acquire(self, deadline: float) -> Holder:
        disk.make_directory(self.path.parent)
        mine = Holder.myself()
        temporary = self._scratch.new_path()
        try:
            _write(temporary, mine)
            pause = _FIRST_PAUSE
            # The second question is for NFS, where the answer to a link that was made may be lost.
            while not disk.take_name(temporary, self.path) and temporary.stat().st_nlink != 2:
                holder = read_holder(self.path)
                if holder is not None and self._is_dead(holder):
                    self._remove_dead(holder, deadline)
                    continue
                if time.monotonic() >= deadline:
                    raise self._busy(holder)
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        finally:
            disk.unlink(temporary)
        return mine

    def check(self) -> None:
        """Make sure that this process still holds the lock.

        Raises:
            TryAgain: another one has taken it over.
        """
        found = read_holder(self.path)
        if self._holder is None or found is None or found.token != self._holder.token:
            raise TryAgain(f"{self.path}: another process has taken over the lock ({found or 'it is gone'}); run the same command again")

    def _is_dead(self, holder: Holder) -> bool:
        return holder.is_surely_dead() or (not holder.is_surely_alive() and self._is_expired())

    def _is_expired(self) -> bool:
        with contextlib.suppress(OSError):
            return time.time() - os.stat(self.path).st_mtime > EXPIRY_SECONDS
        return False

    def _remove_dead(self, dead: Holder, deadline: float) -> None:
        """Remove the lock of a dead holder, unless somebody else did so already."""
        left = max(deadline - time.monotonic(), 0.0)
        with MetadataLock(self.path.parent, self._scratch, left, f"{self.path.name}.{dead.token}"):
            found = read_holder(self.path)
            if found is not None and found.token == dead.token:
                disk.unlink(self.path)

    def _busy(self, holder: Holder | None) -> TryAgain:
        who, mend = holder or "an unknown process", "try again later, or remove that file if the process is gone"
        return TryAgain(f"{self.path}: the metadata are locked by {who}; waited {self._timeout:g} s; {mend}")


def _write(path: Path, holder: Holder) -> None:
    descriptor = disk.create(path)
    try:
        disk.write(descriptor, holder.to_bytes(), path)
        disk.sync(descriptor, path)
    finally:
        disk.close(descriptor, path)


def read_holder(path: Path) -> Holder | None:
    """Return who holds the lock in a file; None where nobody does."""
    try:
        return Holder.from_bytes(disk.read_small(path))
    except OSError:
        return None
