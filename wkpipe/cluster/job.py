"""A job on a cluster as its main process sees it: what it requests, and why it ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from wkpipe.cluster.backend import Cause, Phase, Request
from wkpipe.cluster.records import Records
from wkpipe.errors import WkpipeError, one_line
from wkpipe.runs.job_note import ERROR_PREFIX
from wkpipe.storage import disk
from wkpipe.storage.notes import text_from
from wkpipe.storage.place import Place
from wkpipe.stored.places import place_at

TAIL_BYTES: Final = 16 << 10

_OUT_OF_MEMORY: Final = re.compile(r"oom.kill|out.of.memory|exceeded (job |step )?memory limit|MemoryError", re.IGNORECASE)
"""Texts in a log that mean a lack of memory, whoever wrote them."""


@dataclass
class ClusterJob:
    """A job, from when it may be submitted until it has ended for good.

    `name` is unique in the run. `need_mib` is the predicted memory with its margin. `phase`, `state` and `cause` are the cluster's
    last report; None and "" if there is none yet, or the cluster has forgotten the job.
    """

    name: str
    script: str
    log: Path
    records: Records
    need_mib: int
    request: Request
    attempt: int = 1
    id: str | None = None
    phase: Phase | None = None
    state: str = ""
    cause: Cause | None = None
    reason: str = ""
    missing: int = 0
    ended_at: float | None = None
    log_start: int = field(default=0, repr=False)

    def is_seen(self, phase: Phase | None, state: str = "", cause: Cause | None = None, reason: str = "") -> None:
        """Take over the cluster's report."""
        self.phase, self.state, self.cause, self.reason = phase, state, cause, reason

    def submitted_as(self, id_: str) -> None:
        """Note the id of this try."""
        self.id, self.missing, self.ended_at = id_, 0, None
        self.is_seen(Phase.PENDING, "PENDING")

    def ask_for(self, memory_mib: int | None, minutes: int | None) -> None:
        """Change what the next try requests."""
        self.request = replace(self.request, memory_mib=memory_mib, minutes=minutes)

    def next_try(self) -> None:
        """Prepare the job to be submitted again."""
        self.attempt, self.id, self.missing, self.ended_at = self.attempt + 1, None, 0, None
        self.is_seen(None)

    @property
    def amounts(self) -> str:
        """The memory of this try, and its time if that is limited, in words."""
        memory, limit = f"{self.request.memory_mib or 'all'} MiB", self.request.minutes
        return memory if limit is None else f"{memory} and {limit} minute{'s' if limit > 1 else ''}"

    def tail(self) -> str:
        """Return the end of this try's output."""
        return text_from(self._logs, self.log.name, self.log_start, most=TAIL_BYTES).decode(errors="replace")

    def begin_log(self) -> None:
        """Note where the output of the next try begins: the cluster appends it to the log."""
        with contextlib.suppress(WkpipeError):
            facts = self._logs.facts(self.log.name)
            self.log_start = 0 if facts is None else facts.size
        disk.make_directory(self.log.parent)

    def has_log(self) -> bool:
        """True if the job has begun to write its log."""
        return self._logs.has(self.log.name)

    @property
    def _logs(self) -> Place:
        return place_at(self.log.parent)


def cause_of(job: ClusterJob, log_causes: Sequence[tuple[re.Pattern[str], Cause]]) -> tuple[Cause, str]:
    """Infer from the cluster's report and the log why a job without records ended; also return its last informative line.

    `log_causes` are texts with which the cluster itself names a cause in the log.
    """
    if job.cause not in (None, Cause.CANCELLED):  # clusters also cancel jobs for other causes; the log names these
        return job.cause, job.reason
    tail = job.tail()
    found = [cause for pattern, cause in ((_OUT_OF_MEMORY, Cause.MEMORY), *log_causes) if pattern.search(tail)]
    if job.cause is Cause.CANCELLED and not found:
        found = [Cause.CANCELLED]
    if found:
        return found[0], ""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    own = [line.removeprefix(ERROR_PREFIX) for line in lines if line.startswith(ERROR_PREFIX)]
    if own:
        return Cause.ERROR, one_line(own[-1])
    said = one_line(lines[-1], 300) if lines else ""
    return (Cause.UNKNOWN if job.records.has_begun() else Cause.NOT_STARTED), said
