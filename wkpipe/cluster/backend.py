"""The contract between wkpipe and a cluster: five calls, and three kinds of errors.

A backend submits job scripts and reports on jobs. It decides nothing. `wkpipe.cluster.watch` has the policy, the
same for every cluster: when to ask, what to try again, when to give up. `wkpipe.cluster.testing` has a backend that runs jobs as
processes of this host, and the contract as tests that run for every backend.

- A job is named by its submitter, uniquely for a run and a try (`wkpipe.cluster.orphans`). All jobs of a dataset or a run are found
  by a prefix of their names, even by a process that submitted none of them.
- A job's script gets the run's secret and wkpipe's other variables from the environment of the submitting process, and the job's id as
  `wkpipe.runs.job_note.JOB_ID_VARIABLE`. The rest of that environment is passed on if jobs run on hosts like the submitting one.
- A cluster may start a job again by itself. The process that starts last does the task (`wkpipe.storage.claim`).
- A call that raises `Away` may have had its effect. A submission whose answer was lost is found by the job's name.
- A cluster may forget a job after its end. The job's own records say how it ended; the backend's report is only a hint at
  what was short.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wkpipe.cluster.resources import JobResources


class Away(Exception):
    """The cluster does not answer; the same call may succeed later."""


class Full(Away):
    """The cluster takes no more jobs at once; the same call may succeed when others have ended."""


class Refused(Exception):
    """The cluster will never accept this request."""


class Cause(enum.Enum):
    """Why a job ended without an error of its own."""

    MEMORY = "ran out of memory"
    TIME = "ran out of time"
    NODE = "lost its node"
    PREEMPTED = "was preempted"
    CANCELLED = "was cancelled"
    REMOVED = "was removed"
    ERROR = "failed"
    DEADLINE = "missed its deadline"
    NOT_STARTED = "could not start"
    UNKNOWN = "was killed"


class Phase(enum.Enum):
    """The phase of a job's life."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Outlook(enum.Enum):
    """What can become of a job that has not ended."""

    USUAL = "it starts when it is its turn"
    ODD = "it starts when something changes that the user may want to know about"
    NEVER = "it can never start"
    HELD = "the cluster does not go on with it"


@dataclass(frozen=True)
class Request:
    """The resources that a job requests. Memory is in MiB, 0 is all of a node. None requests nothing: the cluster's default applies.

    `options` are pairs of an option and its value (None for an option without one) in the words of the cluster; `extra` are arguments
    that are passed on unchanged.
    """

    cpus: int = 1
    memory_mib: int | None = None
    minutes: int | None = None
    options: tuple[tuple[str, str | None], ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A script to run: under a name, in a directory, with its output appended to a log."""

    name: str
    script: str
    directory: Path
    log: Path
    request: Request


@dataclass(frozen=True)
class Seen:
    """A job as the cluster knows it.

    `cause` says why a failed job ended, or why the cluster does not go on with one; None if the cluster does not know. `reason` says why
    a job waits or has ended. `state` is the cluster's own word for its state.
    """

    id: str
    name: str
    phase: Phase
    state: str = ""
    cause: Cause | None = None
    reason: str = ""
    outlook: Outlook = Outlook.USUAL

    @property
    def is_live(self) -> bool:
        return self.phase in (Phase.PENDING, Phase.RUNNING)


@dataclass(frozen=True)
class Used:
    """What a cluster's accounting knows about a job: how it ended, and the memory (MiB) of its largest part; None if not measured."""

    phase: Phase | None
    state: str
    cause: Cause | None
    memory_mib: int | None


@dataclass(frozen=True)
class Limits:
    """The most that one job can get: memory (MiB), cores, minutes (None: no limit)."""

    memory_mib: int
    cpus: int
    minutes: int | None


class Backend(Protocol):
    """A cluster. The calls come from one thread.

    `title` is its name for users, `key` its name in files. `pool` is what a job's limits depend on, such as "partition". `log_causes`
    are texts that the cluster writes into a job's log, each with the cause that it names. `calls` counts the calls by command.
    """

    @property
    def key(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def pool(self) -> str: ...

    @property
    def log_causes(self) -> Sequence[tuple[re.Pattern[str], Cause]]: ...

    @property
    def calls(self) -> Counter[str]: ...

    def submit(self, job: Submission) -> str:
        """Submit a job and return its id.

        Raises:
            Full: the call may succeed when other jobs have ended.
            Away: the call may succeed later. The job may have been submitted nevertheless.
            Refused: with the reason.
        """

    def jobs(self, prefix: str) -> list[Seen]:
        """Return this user's jobs whose names have a prefix, including those that ended recently.

        Raises:
            Away: as `submit`.
        """

    def cancel(self, ids: Iterable[str]) -> None:
        """Cancel jobs without waiting for their end; unknown and ended jobs are no error.

        Raises:
            Away: as `submit`.
        """

    def used(self, ids: Sequence[str]) -> dict[str, Used]:
        """Return what accounting knows about jobs, by their ids; nothing if there is no accounting, or no answer."""

    def limits(self, request: JobResources) -> Limits | None:
        """Return the most that one job of this kind can get; None if the cluster does not say.

        Raises:
            Away: as `submit`.
            Refused: this host cannot use the cluster.
        """
