"""The names of jobs, and the jobs that a dead main process has left behind.

A job is named ``wkpipe-DATASET-RUN-TRY.TASK``: DATASET is a hash of the path of wkpipe's directory in the dataset, RUN is the name of
the run; neither contains a dash. So a later run, which knows only the dataset, finds all jobs on it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wkpipe.cluster.backend import Away, Backend
from wkpipe.storage.guard import read_holder
from wkpipe.storage.lease import LEASE_NAME
from wkpipe.stored.locations import Locations


def prefix_of(inside: Path, run: Path | None = None) -> str:
    """Return the prefix of the names of all jobs on a dataset, or of one run.

    `inside` is wkpipe's directory in the dataset, wherever the state is; `run` is the run's directory.
    """
    return f"wkpipe-{hashlib.sha256(os.fsencode(inside)).hexdigest()[:10]}-{'' if run is None else f'{run.name}-'}"


def end_jobs(backend: Backend, prefix: str, spare: str = "\0", seconds: float = 60.0, say: Callable[[str], None] = lambda _: None) -> int:
    """Cancel the jobs with a prefix, except those with the longer prefix `spare`, and wait until they are gone.

    Return how many there were. Jobs that are not gone after `seconds` are reported: their node may be lost.

    Raises:
        Away: the cluster does not answer.
    """
    deadline, pause, before = time.monotonic() + seconds, 0.3, 0
    while live := [job.id for job in backend.jobs(prefix) if job.is_live and not job.name.startswith(spare)]:
        if not before:
            before = len(live)
            backend.cancel(live)
        if time.monotonic() > deadline:
            say(f"{backend.title} has not ended {_some(backend, live)} yet; whatever they still write is discarded")
            break
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return before


def await_orphans(backend: Backend, locations: Locations, say: Callable[[str], None], poll: float = 15.0) -> None:
    """Wait for jobs that a dead main process has left, as long as they hold the dataset's lease."""
    prefix, lease = prefix_of(locations.inside.path()), locations.locks.path(LEASE_NAME)
    was_away: bool | None = None
    while (holder := read_holder(lease)) is not None and not holder.is_surely_alive():
        away = ""
        live: list[str] = []
        try:
            live = [job.id for job in backend.jobs(prefix) if job.is_live]
        except Away as reason:
            away = str(reason)
        if not live and not away:
            return
        if was_away is not bool(away):
            was_away = bool(away)
            waiting = f"waiting for {_some(backend, live)} that an earlier run has left ({holder})"
            say(f"{backend.title} does not answer ({away}); waiting for it" if away else waiting)
        time.sleep(poll)


def _some(backend: Backend, ids: Sequence[str]) -> str:
    """Name some jobs, up to five."""
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"{backend.title} job{'s' if len(ids) > 1 else ''} {', '.join(ids[:5])}{more}"
