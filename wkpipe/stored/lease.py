"""The lease of a dataset, wherever its state is; and the lookout that planning keeps for other runs.

Lease and epoch are in the dataset (`Locations.locks`). The number of a run must be higher than that of any record of the
dataset, or new records would count as old ones. Therefore a run also looks at the epoch that an earlier version kept
with a state elsewhere, and at the names of the ledger's segments there.

A plan is made without the lease. What it finds may be the work in progress of another run: a directory without a
recipe, a mag that is not published. So a refusal counts only if nobody else worked meanwhile (`Lookout`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wkpipe.errors import InputRefused, IntegrityError, TryAgain
from wkpipe.storage import disk
from wkpipe.storage.access import is_directory
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.lease import RunLease, check_free, read_epoch
from wkpipe.storage.ledger import SEGMENT_SUFFIX
from wkpipe.stored.locations import STATE_NAME, Locations, state_key

STATE_NOTE: Final = "state"
"""The file in `locks` that says where the newest run kept its state, if that is not the dataset."""


class DatasetLease(RunLease):
    """The lease of a run on a dataset.

    Raises:
        TryAgain: on entering, another run works on the dataset; names it.
        NotWritable: on entering, the dataset cannot be written, wherever the state is.
    """

    def __init__(self, locations: Locations, break_lock: bool = False) -> None:
        super().__init__(locations.locks, Scratch(locations.locks), break_lock, newest=lambda: newest_epoch(locations))
        self._locations = locations

    def __enter__(self) -> DatasetLease:
        if not self._locations.is_inside:
            check_free(self._locations.earlier_locks)
        super().__enter__()
        note = self._locations.locks / STATE_NOTE
        if self._locations.is_inside:
            disk.unlink(note)
        else:
            replace_file(note, os.fsencode(self._locations.state), Scratch(self._locations.locks))
        return self


def recorded_epoch(locations: Locations) -> int:
    """Return the number of the newest run, as the epoch files say; 0 if there was none."""
    known = read_epoch(locations.locks)
    return known if locations.is_inside else max(known, read_epoch(locations.earlier_locks))


def newest_epoch(locations: Locations) -> int:
    """Return the number of the newest run, by the epoch files and, if the state is elsewhere, by the records there."""
    known = recorded_epoch(locations)
    return known if locations.is_inside else max(known, _newest_segment(locations.ledgers))


def _newest_segment(ledgers: Path) -> int:
    numbers = [0]
    for layer in _entries(ledgers):
        for mag in _entries(layer):
            names = (segment.name for segment in _entries(mag) if segment.name.endswith(SEGMENT_SUFFIX))
            numbers += [int(number) for name in names if (number := name.partition("-")[0]).isdecimal()]
    return max(numbers)


def _entries(directory: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(directory)]
    except OSError:
        return []


@dataclass(frozen=True)
class Lookout:
    """What was known of other runs when planning began: the newest one's number, and the token of one that was at work."""

    locations: Locations
    epoch: int
    working: str = ""
    break_lock: bool = False

    @classmethod
    def begin(cls, locations: Locations, break_lock: bool = False) -> Lookout:
        """Begin to plan; a run whose lease the user breaks is not in the way.

        Raises:
            UnreadableInput: the state cannot be read.
        """
        locations.check_readable()
        # The number first: a run that takes the lease after this has another one.
        epoch = newest_epoch(locations)
        try:
            holder = DatasetLease(locations).live_holder()
        except TryAgain:
            return cls(locations, epoch, "unknown", break_lock)
        return cls(locations, epoch, "" if holder is None else holder.token, break_lock)

    def check(self) -> None:
        """Make sure that no other run works on the dataset, or has worked on it since planning began.

        Raises:
            TryAgain: one does or has.
        """
        DatasetLease(self.locations, self.break_lock).check_free()
        if newest_epoch(self.locations) != self.epoch or (self.working and not self.break_lock):
            raise self._disturbed()

    def check_lease(self, lease: RunLease) -> None:
        """Make sure, now that this run holds the lease, that no other has worked on the dataset since planning began.

        Raises:
            TryAgain: one has.
        """
        is_broken = self.break_lock and lease.taken_from == self.working
        if lease.epoch.number != self.epoch + 1 or (self.working and not is_broken):
            raise self._disturbed()

    def _disturbed(self) -> TryAgain:
        return TryAgain(f"another run has worked on {self.locations.dataset} since this one was planned; run the same command again")

    @contextlib.contextmanager
    def refusals_checked(self) -> Iterator[None]:
        """Let a refusal in the block count only if nobody else works: what was found may be that one's work in progress.

        Raises:
            TryAgain: another run works on the dataset, or has worked on it since planning began.
        """
        try:
            yield
        except (InputRefused, IntegrityError, OSError):
            self.check()
            raise


def state_elsewhere(locations: Locations) -> Path | None:
    """Return where a state of the dataset seems to be if it has none where it is looked for; None if none is known.

    Runs note it in the dataset. Versions up to 0.1 fell back to the user's home by themselves.
    """
    if locations.has_state:
        return None
    if not locations.is_inside and Locations(locations.dataset, locations.inside).has_state:
        return locations.inside
    with contextlib.suppress(OSError):
        noted = Path(os.fsdecode(disk.read_small(locations.locks / STATE_NOTE)))
        return None if noted == locations.state else noted
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "wkpipe" / state_key(locations.dataset)
    return home if home != locations.state and is_directory(home) else None


def elsewhere_text(state: Path) -> str:
    """Say that the state seems to be in a directory, and how to use it."""
    if state.name == STATE_NAME:
        return f"wkpipe's state of it is in {state}, which is not used with another --state-dir (or WKPIPE_STATE_DIR)"
    return f"wkpipe's state of it seems to be in {state}, which is used only if given: --state-dir {state.parent}"
