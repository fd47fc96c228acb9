"""RunLease: one run at a time works on a dataset; its epoch distinguishes the records of runs.

The main process of a run holds the lease and renews it while it lives. If the holder was a process of this host and is dead,
the lease is taken over at once; a lease of another host only if it was not renewed for a long time, or if the user breaks it.
A lease that this user cannot read belongs to another user and counts as alive. Every run has an epoch, one higher than the last.
Jobs check before each rename of a shard and before each record that their run still holds the lease: the results of an orphan of
an older run are discarded. A process renews or takes over the lease with a write that succeeds only if the lease has not changed
(`Place.put` with a stamp): if a suspended holder and a new one compete, only one wins.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import TryAgain, WkpipeError
from wkpipe.storage.access import owner, owner_and_mode
from wkpipe.storage.barrier import Ways
from wkpipe.storage.claim import Claim
from wkpipe.storage.disk import MOST_SMALL_BYTES
from wkpipe.storage.holder import Holder
from wkpipe.storage.lock import Clock, MetadataLock, SeenLock, is_expired
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place
from wkpipe.storage.reasons import read_refusals

LEASE_NAME: Final = "run.lease"
EPOCH_NAME: Final = "epoch"
RENEW_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Epoch:
    """The right of a run to write: its number, and the token of its lease, which is stored in `locks`.

    With a `claim`, it is the right of one process of the run, which does one task. `ways` are the directories that a process has made
    durable since it has this right.
    """

    number: int
    locks: Place
    token: str
    claim: Claim | None = None
    ways: Ways = field(default_factory=Ways, compare=False, repr=False)

    def check(self) -> None:
        """Check that the run still holds the dataset, and the process its task.

        Raises:
            TryAgain: it does not.
            NotWritable: the lease cannot be read.
        """
        data = _content(self.locks, LEASE_NAME)
        holder = None if data is None else Holder.from_bytes(data)
        if holder is None or holder.token != self.token:
            raise TryAgain(f"another run has taken over {_dataset(self.locks)} ({holder or 'the lease is gone'}), so this one stops")
        if self.claim is not None:
            self.claim.check()

    def cause_of(self, error: WkpipeError) -> WkpipeError:
        """Return the cause of an error: if the run has lost the dataset (its temporary files are gone then), that loss; else the error."""
        try:
            self.check()
        except TryAgain as lost:
            return lost
        except WkpipeError:
            pass
        return error

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "lease": str(self.locks.path(LEASE_NAME)), "token": self.token}

    @classmethod
    def from_json(cls, values: dict[str, Any], place_at: Callable[[Path], Place]) -> Epoch:
        """Return the epoch of these values; `place_at` returns the place of a path."""
        return cls(values["number"], place_at(Path(values["lease"]).parent), values["token"])


def _content(locks: Place, key: str) -> bytes | None:
    """Return the content of a file of the locks; None if there is none.

    Raises:
        NotWritable: it cannot be read: a run that cannot check its lease may not write.
    """
    with read_refusals(locks.path(key)):
        try:
            return locks.content(key, MOST_SMALL_BYTES)
        except TooLarge:
            return b""


def _dataset(locks: Place) -> Path:
    """Return the dataset whose locks these are."""
    return locks.path().parent.parent


def read_epoch(locks: Place) -> int:
    """Return the number of the newest run; 0 if there was none, or if there is no number in the file.

    Raises:
        NotWritable: it cannot be read. If epochs started from 0 again, all newer records would look old.
    """
    data = _content(locks, EPOCH_NAME)
    try:
        return 0 if data is None else int(json.loads(data))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return 0


class RunLease(MetadataLock):
    """The lease of a run, as a context manager that gives the run's `Epoch` as `epoch`.

    `newest` returns the number of the newest run and is called when the lease is held; by default, it reads the epoch file.
    `taken_from` is the token of the previous holder if it was dead or the user broke its lease.

    Raises:
        TryAgain: on entering, another run works on the dataset; names it.
    """

    def __init__(self, locks: Place, break_lock: bool = False, wait: float = 0.0, newest: Callable[[], int] | None = None) -> None:
        super().__init__(locks, wait, LEASE_NAME, lasting=True)
        self._break = break_lock
        self._newest = newest or (lambda: read_epoch(locks))
        self.taken_from = ""
        self._stop = threading.Event()
        self._renewal: threading.Thread | None = None
        self.epoch = Epoch(0, locks, "")

    def __enter__(self) -> RunLease:
        super().__enter__()
        assert self._holder is not None
        try:
            number = self._newest() + 1
            self._place.put(EPOCH_NAME, str(number).encode())
        except BaseException:
            super().__exit__()
            raise
        self.epoch = Epoch(number, self._place, self._holder.token)
        self._stop.clear()
        self._renewal = threading.Thread(target=self._keep, name="wkpipe-lease", daemon=True)
        self._renewal.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        if self._renewal is not None:
            self._renewal.join()  # otherwise it could write the lease again after its removal
        super().__exit__(*details)

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            with contextlib.suppress(WkpipeError):
                self.renew()

    def renew(self) -> None:
        """Renew the lease, to show that the run is alive.

        Raises:
            TryAgain: the lease was taken over while this process was suspended.
            NotWritable: the place refuses the write.
        """
        mine, seen = self._holder, self._seen()
        if mine is None or seen is None or seen.holder is None or seen.facts is None or seen.holder.token != mine.token:
            raise TryAgain(f"another run has taken over {_dataset(self._place)}, so this one stops")
        self._place.put(self.name, mine.to_bytes(), if_stamp=seen.facts.stamp)

    def _is_dead(self, seen: SeenLock, clock_ns: Clock) -> bool:
        if seen.holder is None or seen.facts is None or seen.holder.is_surely_alive():
            return False
        return seen.holder.is_surely_dead() or self._break or is_expired(seen.facts, clock_ns)

    def _take_over(self, dead: SeenLock, mine: Holder) -> bool:
        if not super()._take_over(dead, mine):
            return False
        self.taken_from = "" if dead.holder is None else dead.holder.token
        return True

    def live_holder(self) -> Holder | None:
        """Return the holder of the lease if it may be alive; None if there is none.

        Raises:
            TryAgain: the lease is held, but its holder is not known.
        """
        seen = self._seen()
        if seen is not None and seen.holder is None:
            raise self._busy(None)
        return None if seen is None or self._is_dead(seen, time.time_ns) else seen.holder

    def check_free(self) -> None:
        """Check that nobody holds the lease.

        Raises:
            TryAgain: a run holds it; names it.
        """
        if (holder := self.live_holder()) is not None:
            raise self._busy(holder)

    def _busy(self, holder: Holder | None) -> TryAgain:
        dataset = _dataset(self._place)
        if holder is None:
            with contextlib.suppress(OSError):
                whose = f"{owner(self.path)}, whose lease {self.path} cannot be read ({owner_and_mode(self.path)})"
                return TryAgain(
                    f"{dataset} is being worked on by a process of {whose}",
                    fix=f"wait for it, or ask {owner(self.path)} to remove that file if it is gone",
                )
        who = holder or "an unknown process"
        is_alive = holder is not None and holder.is_surely_alive()
        fix = "wait for it, or stop it" if is_alive else "wait for it, or pass --break-lock if it is gone"
        return TryAgain(f"{dataset} is being worked on by {who}", fix=fix)


def check_free(locks: Place) -> None:
    """Check that no run works on the dataset, before arrays are changed outside of a run.

    Raises:
        TryAgain: a run works on it; names the run.
    """
    RunLease(locks).check_free()
