"""For how long jobs may wait, before they are given up or tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from wkpipe.cluster.backend import Cause, Outlook, Phase, Seen
from wkpipe.cluster.kubernetes.reasons import Look, Wait

WAIT_MINUTES: Final = {Wait.NODE: 30.0, Wait.IMAGE: 5.0, Wait.START: 5.0, Wait.LOST: 2.0}
"""How long a pod may wait for one reason before its job is given up, if the options do not say."""


class Waits:
    """How long jobs may wait; `minutes` are the limits."""

    def __init__(self, minutes: Mapping[Wait, float]) -> None:
        self._minutes = minutes
        self._since: dict[tuple[str, Wait], float] = {}

    @classmethod
    def of(cls, options: Mapping[str, str | None]) -> Waits:
        """Return the limits that the options of a user set, and the usual ones."""
        return cls({wait: float(options.get(wait.value) or minutes) for wait, minutes in WAIT_MINUTES.items()})

    def limited(self, looks: Sequence[Look], now: float) -> list[Seen]:
        """Return the jobs; those that have waited for too long with the outlook that they never start."""
        is_busy = any(each.seen.phase is Phase.RUNNING and each.wait is None for each in looks)
        waiting = {(each.seen.id, each.wait) for each in looks if each.wait is not None}
        # While jobs of the run have nodes, the others wait for these.
        self._since = {key: now if is_busy and key[1] is Wait.NODE else self._since.get(key, now) for key in waiting}
        return [self._limited(each, is_busy, now) for each in looks]

    def _limited(self, each: Look, is_busy: bool, now: float) -> Seen:
        seen, wait = each.seen, each.wait
        if wait is None:
            return seen
        if now - self._since[seen.id, wait] >= 60 * self._minutes[wait]:
            if wait is Wait.LOST:
                return replace(seen, outlook=Outlook.HELD, cause=Cause.NODE)
            time_waited = f"{self._minutes[wait]:g} minute{'' if self._minutes[wait] == 1 else 's'}"
            return replace(seen, outlook=Outlook.NEVER, reason=f"{seen.reason}; it has waited for {time_waited}")
        return replace(seen, outlook=Outlook.USUAL) if wait is Wait.NODE and is_busy else seen
