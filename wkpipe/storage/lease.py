"""RunLease: one run at a time works on a dataset; its epoch tells the records of runs apart.

The main process of a run holds the lease and renews it while it lives. A lease whose holder is dead on this host is
taken over at once; one of another host only after it was not renewed for a long time, or when the user breaks it.
A lease that this user cannot read is another user's, and alive. Every run has an epoch, one higher than the one before.
Jobs check before each rename of a shard and before each record that their run still holds the lease: what an orphan of an
older run still computes is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import TryAgain, WkpipeError
from wkpipe.storage import disk
from wkpipe.storage.access import owner, owner_and_mode
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.lock import Holder, MetadataLock, read_holder

LEASE_NAME: Final = "run.lease"
EPOCH_NAME: Final = "epoch"
RENEW_SECONDS: Final = 30.0
EXPIRY_SECONDS: Final = 900.0


@dataclass(frozen=True)
class Epoch:
    """The right of a run to write: its number, and the lease that it rests on."""

    number: int
    lease: Path
    token: str

    def check(self) -> None:
        """Make sure that the run still holds the dataset.

        Raises:
            TryAgain: it does not.
            NotWritable: the disk does not tell.
        """
        holder = None
        with disk.explained(self.lease), contextlib.suppress(FileNotFoundError):
            holder = Holder.from_bytes(disk.read_small(self.lease))
        if holder is None or holder.token != self.token:
            raise TryAgain(
                f"another run has taken over {self.lease.parent.parent.parent} ({holder or 'the lease is gone'}); this one stops"
            )

    def cause_of(self, error: WkpipeError) -> WkpipeError:
        """Return why the run failed: if it has lost the dataset, that explains all else (its temporary files are gone)."""
        try:
            self.check()
        except TryAgain as lost:
            return lost
        except WkpipeError:
            pass
        return error

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "lease": str(self.lease), "token": self.token}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Epoch:
        return cls(values["number"], Path(values["lease"]), values["token"])


def read_epoch(locks: Path) -> int:
    """Return the number of the newest run; 0 where there was none, or where no number stands in the file.

    Raises:
        NotWritable: the disk does not tell. To count from 0 again would make all newer records look old.
    """
    path = locks / EPOCH_NAME
    if not os.path.isfile(path):
        return 0
    with disk.explained(path):
        data = disk.read_small(path)
    try:
        return int(json.loads(data))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return 0


class RunLease(MetadataLock):
    """The lease of a run, as a context manager that gives the run's `Epoch` as `epoch`.

    `newest` returns the number of the newest run, asked for when the lease is held; default: what the epoch file says.
    `taken_from` is the token of a holder that was dead, or that the user broke.

    Raises:
        TryAgain: on entering, another run works on the dataset; names it.
    """

    def __init__(
        self, locks: Path, scratch: Scratch, break_lock: bool = False, wait: float = 0.0, newest: Callable[[], int] | None = None
    ) -> None:
        super().__init__(locks, scratch, wait, LEASE_NAME)
        self._break = break_lock
        self._newest = newest or (lambda: read_epoch(locks))
        self.taken_from = ""
        self._stop = threading.Event()
        self.epoch = Epoch(0, self.path, "")

    def __enter__(self) -> RunLease:
        super().__enter__()
        assert self._holder is not None
        try:
            number = self._newest() + 1
            replace_file(self.path.parent / EPOCH_NAME, str(number).encode(), self._scratch)
        except BaseException:
            super().__exit__()
            raise
        self.epoch = Epoch(number, self.path, self._holder.token)
        self._stop.clear()
        threading.Thread(target=self._renew, name="wkpipe-lease", daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        super().__exit__(*details)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            # It may have been taken over while this process was asleep: another's lease is not to be kept alive.
            with contextlib.suppress(WkpipeError):
                self.epoch.check()
                disk.touch(self.path)

    def _is_dead(self, holder: Holder) -> bool:
        if holder.is_surely_dead():
            return True
        if holder.is_surely_alive():
            return False
        if self._break:
            return True
        with contextlib.suppress(OSError):
            return time.time() - self.path.stat().st_mtime > EXPIRY_SECONDS
        return False

    def _remove_dead(self, dead: Holder, deadline: float) -> None:
        super()._remove_dead(dead, deadline)
        self.taken_from = dead.token

    def live_holder(self) -> Holder | None:
        """Return who holds the lease and may be alive; None if nobody does.

        Raises:
            TryAgain: somebody holds it who cannot be seen.
        """
        holder = read_holder(self.path)
        if holder is None and os.path.lexists(self.path) and (holder := read_holder(self.path)) is None and os.path.lexists(self.path):
            raise self._busy(None)
        return None if holder is None or self._is_dead(holder) else holder

    def check_free(self) -> None:
        """Make sure that nobody holds the lease.

        Raises:
            TryAgain: somebody does; names who.
        """
        if (holder := self.live_holder()) is not None:
            raise self._busy(holder)

    def _busy(self, holder: Holder | None) -> TryAgain:
        dataset = self.path.parent.parent.parent
        if holder is None:
            with contextlib.suppress(OSError):
                return TryAgain(
                    f"{dataset} is being worked on by a process of {owner(self.path)}, whose lease {self.path} cannot be read "
                    f"({owner_and_mode(self.path)}); wait for it, or ask {owner(self.path)} to remove that file if it is gone"
                )
        who = holder or "an unknown process"
        is_alive = holder is not None and holder.is_surely_alive()
        mend = "wait for it, or stop it" if is_alive else "wait for it, or pass --break-lock if it is gone"
        return TryAgain(f"{self.path.parent.parent.parent} is being worked on by {who}; {mend}")


def check_free(locks: Path) -> None:
    """Refuse to go on while a run holds the lease, for those who change arrays outside of a run.

    Raises:
        TryAgain: a run that is alive works on the dataset; names it.
    """
    RunLease(locks, Scratch(locks)).check_free()
