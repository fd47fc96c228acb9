"""Holder: who holds a lock, so that others can check if that process still runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import uuid
from dataclasses import asdict, dataclass

from wkpipe.storage.process import is_gone, only_one, pid_namespace, start_ticks, this_system

_TOKEN = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock: its host, machine and boot, its pid, namespace and start, and the time it took the lock.

    start_ticks: start of the process in clock ticks since boot, to distinguish it from a later process with the same pid; 0
    if it is not known. token: unique for every time a lock is taken.
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
        """Return this process as a holder, with a new token."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        pid = os.getpid()
        return cls(*this_system(), pid_namespace(), pid, start_ticks(pid) or 0, now, uuid.uuid4().hex)

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder | None:
        """Return the holder in the content of a lock; None if the content is not valid."""
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
        """True if the process has surely ended: it is not in this system and pid namespace any more, or this host was rebooted."""
        host, machine_id, boot_id = this_system()
        if (self.host, self.machine_id) != (host, machine_id):
            return False
        if self.boot_id != boot_id:
            return True
        if self.pid_namespace != pid_namespace():  # another container, which has ended if only one runs at a time
            return bool(only_one())
        return is_gone(self.pid, self.start_ticks)

    def is_surely_alive(self) -> bool:
        """True if the process surely runs: it is on this system and in this pid namespace, where its end would be seen."""
        is_here = (self.host, self.machine_id, self.boot_id) == this_system() and self.pid_namespace == pid_namespace()
        return is_here and not self.is_surely_dead()

    def is_this_process(self) -> bool:
        """True if this process is the holder."""
        return self.pid == os.getpid() and self.is_surely_alive()

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host} since {self.since}"
