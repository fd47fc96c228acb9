"""The lease of a dataset, wherever its state is; and the lookout of planning for other runs.

Lease and epoch are in the dataset (`Locations.locks`). The number of a run must be higher than the number of every record
of the dataset, or new records would count as old ones. So a run also looks at the epoch that an earlier version kept
with a state elsewhere, and at the names of the ledger's segments there.

A plan is made without the lease. It may find the work in progress of another run: a directory without a recipe, a mag
that is not published. So a refusal counts only if no other run worked meanwhile (`Lookout`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wkpipe.errors import DamagedShard, InputRefused, IntegrityError, TryAgain, UnreadableInput
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.storage.lease import RunLease, check_free, read_epoch
from wkpipe.storage.ledger import SEGMENT_SUFFIX
from wkpipe.storage.place import Place
from wkpipe.stored.locations import STATE_NAME, Locations, state_key
from wkpipe.stored.places import place_at

STATE_NOTE: Final = "state"
"""The file in `locks` that says where the newest run kept its state, if that is not the dataset."""


class DatasetLease(RunLease):
    """The lease of a run on a dataset.

    Raises:
        TryAgain: on entering, another run works on the dataset; names that run.
        NotWritable: on entering, the dataset cannot be written, wherever the state is.
    """

    def __init__(self, locations: Locations, break_lock: bool = False) -> None:
        super().__init__(locations.locks, break_lock, newest=lambda: newest_epoch(locations))
        self._locations = locations

    def __enter__(self) -> DatasetLease:
        if not self._locations.is_inside:
            check_free(self._locations.earlier_locks)
        super().__enter__()
        if not self._locations.is_inside:
            self._locations.locks.put(STATE_NOTE, os.fsencode(self._locations.state))
        elif self._locations.locks.has(STATE_NOTE):
            self._locations.locks.remove([STATE_NOTE])
        return self


def recorded_epoch(locations: Locations) -> int:
    """Return the number of the newest run from the epoch files; 0 if there was none."""
    known = read_epoch(locations.locks)
    return known if locations.is_inside else max(known, read_epoch(locations.earlier_locks))


def newest_epoch(locations: Locations) -> int:
    """Return the number of the newest run from the epoch files and, if the state is elsewhere, from the records there."""
    known = recorded_epoch(locations)
    return known if locations.is_inside else max(known, _newest_segment(locations.ledgers))


def _newest_segment(ledgers: Place) -> int:
    numbers = [0]
    for layer in _names(ledgers, ""):
        for mag in _names(ledgers, layer):
            names = (name for name in _names(ledgers, f"{layer}/{mag}") if name.endswith(SEGMENT_SUFFIX))
            numbers += [int(number) for name in names if (number := name.partition("-")[0]).isdecimal()]
    return max(numbers)


def _names(place: Place, prefix: str) -> list[str]:
    """Return the names below a prefix; none if this user cannot read them."""
    try:
        return place.names(prefix)
    except (UnreadableInput, DamagedShard):
        return []


@dataclass(frozen=True)
class Lookout:
    """What was known of other runs when planning began: the number of the newest, and the token of a working one."""

    locations: Locations
    epoch: int
    working: str = ""
    break_lock: bool = False

    @classmethod
    def begin(cls, locations: Locations, break_lock: bool = False) -> Lookout:
        """Begin to plan; a run whose lease the user breaks does not count.

        Raises:
            UnreadableInput: the state cannot be read.
        """
        locations.check_readable()
        # The number first: a run that takes the lease later has another number.
        epoch = newest_epoch(locations)
        try:
            holder = DatasetLease(locations).live_holder()
        except TryAgain:
            return cls(locations, epoch, "unknown", break_lock)
        return cls(locations, epoch, "" if holder is None else holder.token, break_lock)

    def check(self) -> None:
        """Check that no other run works on the dataset, or has worked on it since planning began.

        Raises:
            TryAgain: another run does or has.
        """
        DatasetLease(self.locations, self.break_lock).check_free()
        if newest_epoch(self.locations) != self.epoch or (self.working and not self.break_lock):
            raise self._disturbed()

    def check_lease(self, lease: RunLease) -> None:
        """Check, while this run holds the lease, that no other has worked on the dataset since planning began.

        Raises:
            TryAgain: another run has.
        """
        is_broken = self.break_lock and lease.taken_from == self.working
        if lease.epoch.number != self.epoch + 1 or (self.working and not is_broken):
            raise self._disturbed()

    def _disturbed(self) -> TryAgain:
        return TryAgain(f"another run has worked on {self.locations.dataset} since this one was planned", fix="run the same command again")

    @contextlib.contextmanager
    def refusals_checked(self) -> Iterator[None]:
        """Let a refusal in the block count only if no other run works: it may be due to the work in progress of that run.

        Raises:
            TryAgain: another run works on the dataset, or has worked on it since planning began.
        """
        try:
            yield
        except (InputRefused, IntegrityError, OSError):
            self.check()
            raise


def state_elsewhere(locations: Locations) -> Path | None:
    """Return where else a dataset without state seems to have one; None if no other place is known.

    Runs note the place in the dataset. Versions up to 0.1 could choose the user's home by themselves.
    """
    if locations.has_state:
        return None
    if not locations.is_inside and (inside := locations.with_state_inside).has_state:
        return inside.state
    with contextlib.suppress(UnreadableInput, DamagedShard):
        if (noted := locations.locks.content(STATE_NOTE, MAX_BYTES)) is not None:
            state = Path(os.fsdecode(noted))
            return None if state == locations.state else state
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "wkpipe" / state_key(locations.dataset)
    return home if home != locations.state and place_at(home).is_directory() else None


def elsewhere_text(state: Path) -> str:
    """Return a text that the state seems to be in a directory, and how to use it."""
    if state.name == STATE_NAME:
        return f"wkpipe's state of it is in {state}, which is not used with another --state-dir (or WKPIPE_STATE_DIR)"
    return f"wkpipe's state of it seems to be in {state}, which is used only if given: --state-dir {state.parent}"
