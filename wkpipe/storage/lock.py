"""MetadataLock: one process at a time changes the metadata of a dataset.

The lock is an object that says who holds it. It is created only if there is none. A lock whose holder is surely dead is replaced
only if it has not changed since. These are the two conditional writes of a `Place`, so disks and object stores share this protocol.

A process cannot see if a holder on another host is alive. Nobody holds the lock for longer than a few changes of small files
take. A much older lock (`EXPIRY_SECONDS`, by the place's own clock) was left behind or copied with the dataset.
A holder that was suspended for that long notices it before it writes (`check`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from wkpipe.errors import DamagedShard, TryAgain, UnreadableInput
from wkpipe.storage.disk import MOST_SMALL_BYTES
from wkpipe.storage.holder import Holder
from wkpipe.storage.place import Facts, Place

LOCK_FILE_NAME: Final = "metadata.lock"
WRITING: Final = "write-"
"""How the names of the locks begin that are held while a storage shard is changed outside of a run."""

EXPIRY_SECONDS: Final = 900.0
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1

Clock: TypeAlias = Callable[[], int]


@dataclass(frozen=True)
class SeenLock:
    """A lock that exists: its facts and its holder; each is None if it is not known or cannot be read."""

    facts: Facts | None
    holder: Holder | None


class MetadataLock:
    """A short lock for the metadata of a dataset, as a context manager.

    >>> from pathlib import Path
    >>> from wkpipe.storage.local import Local
    >>> from pathlib import Path
    >>> with MetadataLock(Local(Path("locks"))) as lock:
    ...     lock.path.exists()  # read, change, write
    True
    >>> lock.path.exists()
    False

    Not re-entrant: a thread that takes it twice waits for itself. `timeout` is the longest wait in seconds. Taking it
    does not wait until its name is on the disk: after a power failure, its holder is dead, whether it is there or not. Neither does
    returning it, unless it is `lasting`: a lock that comes back blocks other hosts until it expires.

    Raises:
        TryAgain: on entering, the lock was not free within `timeout`; names the holder and the time it took the lock.
        NotWritable: on entering, the place cannot be written.
    """

    def __init__(self, place: Place, timeout: float = 30.0, name: str = LOCK_FILE_NAME, lasting: bool = False) -> None:
        self.name = name
        self.path = place.path(name)
        self._place = place
        self._timeout = timeout
        self._lasting = lasting
        self._holder: Holder | None = None

    def __enter__(self) -> MetadataLock:
        self._holder = self._acquire(time.monotonic() + self._timeout)
        return self

    def __exit__(self, *_: object) -> None:
        mine, self._holder = self._holder, None
        found = self._seen()
        if mine is not None and found is not None and found.holder is not None and found.holder.token == mine.token:
            self._place.remove([self.name], lasting=self._lasting)

    def _acquire(self, deadline: float) -> Holder:
        mine = Holder.myself()
        pause = _FIRST_PAUSE
        while True:
            seen = self._seen()
            if seen is None:
                if self._place.put(self.name, mine.to_bytes(), if_absent=True, lasting=False) is not None:
                    return mine
                seen = self._seen()  # another process was faster
            elif self._is_dead(seen, self._place.clock_ns) and self._take_over(seen, mine):
                return mine
            if time.monotonic() >= deadline:
                raise self._busy(None if seen is None else seen.holder)
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _take_over(self, dead: SeenLock, mine: Holder) -> bool:
        """Replace the lock of a dead holder; return False if another process was faster."""
        assert dead.facts is not None
        return self._place.put(self.name, mine.to_bytes(), if_stamp=dead.facts.stamp) is not None

    def _seen(self) -> SeenLock | None:
        """Return the lock as it is now; None if there is none."""
        return look(self._place, self.name)

    def check(self) -> None:
        """Check that this process still holds the lock.

        Raises:
            TryAgain: another process has taken it over.
        """
        seen = self._seen()
        found = None if seen is None else seen.holder
        if self._holder is None or found is None or found.token != self._holder.token:
            raise TryAgain(
                f"another process has taken over the lock ({found or 'it is gone'})", where=self.path, fix="run the same command again"
            )

    def _is_dead(self, seen: SeenLock, clock_ns: Clock) -> bool:
        """True if the holder of a lock is gone; `clock_ns` is called only if the lock's age decides."""
        if seen.holder is None or seen.facts is None or seen.holder.is_surely_alive():
            return False
        return seen.holder.is_surely_dead() or is_expired(seen.facts, clock_ns)

    def _busy(self, holder: Holder | None) -> TryAgain:
        who, fix = holder or "an unknown process", "try again later, or remove that file if the process is gone"
        return TryAgain(f"the metadata are locked by {who} (waited {self._timeout:g} s)", where=self.path, fix=fix)


def look(place: Place, name: str) -> SeenLock | None:
    """Return a lock and its holder; None if there is no lock."""
    facts: Facts | None = None
    try:
        facts = place.facts(name, fresh=True)
        data = None if facts is None else place.content(name, MOST_SMALL_BYTES)
    except (UnreadableInput, DamagedShard):
        return SeenLock(facts, None)
    return None if data is None else SeenLock(facts, Holder.from_bytes(data))


def is_expired(facts: Facts, clock_ns: Clock) -> bool:
    """True if a lock is so old that nobody can still hold it."""
    return clock_ns() - facts.modified_ns > EXPIRY_SECONDS * 1e9
