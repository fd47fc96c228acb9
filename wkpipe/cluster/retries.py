"""The resources of a killed job when it is tried again."""

from __future__ import annotations

from typing import Final

from wkpipe.cluster.backend import Backend, Cause, Limits, Refused
from wkpipe.cluster.job import ClusterJob
from wkpipe.cluster.resources import JobResources

MOST_ATTEMPTS: Final = 3

_BY_MEMORY: Final = (Cause.MEMORY, Cause.UNKNOWN)
_BY_TIME: Final = (Cause.TIME, Cause.UNKNOWN)


class Retries:
    """Doubles what was short, or may have been, within the cluster's limits for jobs of this kind."""

    def __init__(self, backend: Backend, resources: JobResources) -> None:
        self._backend, self._resources = backend, resources
        self._limits: Limits | None = None
        self._are_known = False

    def wider(self, job: ClusterJob, cause: Cause) -> tuple[int | None, int | None] | None:
        """Return memory and minutes for the next try; None if the cluster has no more of what was short.

        Raises:
            Away: the cluster does not answer.
        """
        had, had_minutes = job.request.memory_mib, job.request.minutes
        memory = max(2 * had, job.need_mib) if had and cause in _BY_MEMORY else had
        minutes = 2 * had_minutes if had_minutes is not None and cause in _BY_TIME else had_minutes
        if (limits := self._known_limits()) is not None:
            memory = max(min(memory, limits.memory_mib), had or 0) if memory else memory
            if minutes is not None and limits.minutes is not None:
                minutes = max(min(minutes, limits.minutes), had_minutes or 0)
        is_short = (cause is Cause.MEMORY and memory == had) or (cause is Cause.TIME and minutes == had_minutes)
        return None if is_short else (memory, minutes)

    def _known_limits(self) -> Limits | None:
        if not self._are_known:
            try:
                self._limits = self._backend.limits(self._resources)
            except Refused:
                self._limits = None
            self._are_known = True
        return self._limits


def missing_amount(job: ClusterJob, cause: Cause) -> str:
    """Return the beginning of an advice: how much memory a job needs, if it may have lacked memory."""
    return f"it needs about {job.need_mib} MiB, " if cause in _BY_MEMORY else ""
