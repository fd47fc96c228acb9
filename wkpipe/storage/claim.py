"""Claim: of all processes that were started for the same task of a run, the last one works on it.

A cluster may start a job again by itself: because a node does not answer, but may still run the old process; or because it has ended
that. Both processes belong to the same run, so the lease and its epoch do not keep them apart. A process therefore claims its
task first: it replaces the file that names the process of the task. Every process checks before each rename and each record that the
claim is still its own (`Epoch.check`), so the older one stops at its next file.

A process may claim a task between the check of an older one and its rename. The bytes are the same, whoever writes them, and the
two files have different mtimes, so that a record of one never proves the file of the other (`wkpipe.storage.commit`). To make that
rare, the new process waits for a moment if there was an older one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wkpipe.errors import TryAgain
from wkpipe.storage.disk import MOST_SMALL_BYTES
from wkpipe.storage.place import Place

FENCE_SECONDS: Final = 2.0
"""The time that a process needs, unless it is suspended, from its check to the rename or record that follows."""


class Superseded(TryAgain):
    """Another process was started for the task and has claimed it."""


@dataclass(frozen=True)
class Claim:
    """The right of a process to do a task: `key` names the task in a place, `process` is unique to the process."""

    place: Place
    key: str
    process: str

    @classmethod
    def taken(cls, place: Place, key: str, process: str, wait: Callable[[float], None] = time.sleep) -> Claim:
        """Claim a task; if another process has claimed it before, return when that one has surely noticed.

        Raises:
            TryAgain: the run has lost the dataset.
            NotWritable: the place refuses the claim.
        """
        claim = cls(place, key, process)
        before = place.content(key, MOST_SMALL_BYTES)
        place.put(key, process.encode())
        if before not in (None, process.encode()):
            wait(FENCE_SECONDS)
        return claim

    def check(self) -> None:
        """Check that the task is still this process's own.

        Raises:
            Superseded: it is not.
        """
        if self.place.content(self.key, MOST_SMALL_BYTES) != self.process.encode():
            raise Superseded(f"another process has taken over the task {self.key}, so this one stops")
