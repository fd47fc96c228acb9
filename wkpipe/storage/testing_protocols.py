"""The contract of locks, leases and ledgers on a place, as tests; `wkpipe.storage.testing` adds those of the place itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from wkpipe.errors import TryAgain
from wkpipe.storage.holder import Holder
from wkpipe.storage.lease import LEASE_NAME, RunLease
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger, LedgerWriter, fold
from wkpipe.storage.lock import LOCK_FILE_NAME, MetadataLock
from wkpipe.storage.place import Facts, Place
from wkpipe.storage.proof import FILL, Position
from wkpipe.storage.record import MADE, Record

LIMIT = 1 << 20

Result = TypeVar("Result")


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Make calls in threads that start together, and return their results."""
    barrier = threading.Barrier(len(calls))

    def begin(call: Callable[[], Result]) -> Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def content(place: Place, key: str) -> bytes | None:
    """Return the content of a small object."""
    return place.content(key, LIMIT)


def now(place: Place, key: str) -> Facts:
    """Return the facts of an object that exists, as they are now."""
    facts = place.facts(key, fresh=True)
    assert facts is not None
    return facts


def refused(call: Callable[[], object], *kinds: type[Exception]) -> bool:
    """True if a call raises an error of these kinds."""
    try:
        call()
    except kinds:
        return True
    return False


def _segments(place: Place) -> int:
    return sum(name.endswith(SEGMENT_SUFFIX) for name in place.names())


class ProtocolTests:
    """The tests of what is built on a place."""

    def elsewhere(self, call: Callable[[], Result]) -> Result:
        """Make a call as another host would; override it for places with caches in this process."""
        return call()

    def test_a_lock_has_one_holder(self, place: Place) -> None:
        with MetadataLock(place) as lock:
            lock.check()
            assert refused(MetadataLock(place, timeout=0.05).__enter__, TryAgain)
        assert place.names() == []

        counts = [0]

        def count() -> None:
            for _ in range(3):
                with MetadataLock(place):
                    seen = counts[0]
                    content(place, LOCK_FILE_NAME)
                    counts[0] = seen + 1

        at_once([count] * 3)
        assert counts == [9]

    def test_the_lock_of_a_dead_holder_is_taken_over(self, place: Place) -> None:
        dead = replace(Holder.myself(), pid=2**30)
        place.put(LOCK_FILE_NAME, dead.to_bytes())
        with MetadataLock(place, timeout=5) as lock:
            lock.check()
        assert place.names() == []

    def test_a_lease_is_renewed_by_its_holder_alone(self, place: Place) -> None:
        with RunLease(place) as lease:
            assert lease.epoch.number == 1
            before = now(place, LEASE_NAME)
            lease.renew()
            after = now(place, LEASE_NAME)
            assert before.stamp != after.stamp
            lease.epoch.check()
            assert refused(RunLease(place).__enter__, TryAgain)
            other = Holder.myself()
            assert self.elsewhere(lambda: place.put(LEASE_NAME, other.to_bytes(), if_stamp=before.stamp)) is None
            assert self.elsewhere(lambda: place.put(LEASE_NAME, other.to_bytes(), if_stamp=after.stamp)) is not None
            assert refused(lease.renew, TryAgain)
            assert refused(lease.epoch.check, TryAgain)
        assert content(place, LEASE_NAME) == other.to_bytes()

    def test_a_ledger_keeps_every_record(self, place: Place) -> None:
        units: list[Position] = [(number, 7) for number in range(40)]
        with LedgerWriter(place, 3, "task") as writer:
            for number, unit in enumerate(units, 1):
                writer.add(Record(unit, MADE, FILL, "fill"))
                assert len(Ledger.load(place).records) == number
                assert _segments(place) <= 20
        assert _segments(place) == 1
        with LedgerWriter(place, 4) as writer:
            writer.add(Record((0, 7), MADE, FILL, "newer"))
        assert _segments(place) == 2
        with LedgerWriter(place, 4, keeps=2) as writer:
            writer.add(Record((0, 7), MADE, FILL, "older"))
            writer.add(Record((0, 7), MADE, FILL, "newer"))
        assert _segments(place) == 4
        fold(place, 4)
        assert _segments(place) == 1
        ledger = Ledger.load(place)
        assert (sorted(ledger.records), ledger.records[0, 7].token, ledger.damaged_lines) == (units, "newer", 0)
