"""The files of a run through which a cluster's executor reports to the main process: events, and numbers of jobs.

Events and numbers are named by the cluster's key, as in ``KEY-jobs/``.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from wkpipe.cluster.job import ClusterJob
from wkpipe.runs.job_note import NOTICES, leave_notice
from wkpipe.storage.notes import NoteSeries, note_text, note_values, series_keys, series_text
from wkpipe.stored.places import place_at

LOOK_SECONDS: Final = 1.0


def events_directory(key: str) -> str:
    """Return the name of the directory of the notes that say, line by line, what became of each job."""
    return f"{key}-jobs"


def job_events(run: Path, key: str) -> list[dict[str, Any]]:
    """Return the events of the jobs of a run; those that a full disk has cut off are missing."""
    events = []
    for line in series_text(place_at(run).child(events_directory(key))).splitlines():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def status_file(key: str) -> str:
    """Return the name of the file that says how many jobs there are now, and how often the cluster was called."""
    return f"{key}.json"


class NewsWriter:
    """Writes the news of a run, and prints what the user must know."""

    def __init__(self, run: Path, key: str, say: Callable[[str], None]) -> None:
        self._place, self._key, self._say_aloud = place_at(run), key, say
        self._events = NoteSeries(self._place.child(events_directory(key)))
        self._said: set[str] = set()
        self._status = ""

    def say(self, text: str, once: str = "") -> None:
        """Print a notice for the user; of those with the same key `once`, only the first."""
        if once in self._said:
            return
        if once:
            self._said.add(once)
        self._say_aloud(text)
        leave_notice(self._place, text)

    def event(self, job: ClusterJob, event: str, **more: object) -> None:
        """Record an event of a job."""
        values = {"time": time.time(), "event": event, "task": job.name, "job": job.id, "attempt": job.attempt, "state": job.state}
        self._events.add(json.dumps(values | more) + "\n")

    def status(self, running: int, pending: int, calls: Mapping[str, int]) -> None:
        """Record the numbers of jobs, if they have changed."""
        text = json.dumps({"running": running, "pending": pending, "calls": dict(calls)})
        if text != self._status:
            self._status = text
            self._place.note(status_file(self._key), text)


class ClusterNews:
    """Reads the news of a run; `key` is that of the cluster, None if jobs run on this host."""

    def __init__(self, run: Path, key: str | None) -> None:
        self._place, self._key = place_at(run), key
        self._shown: set[str] = set()
        self._looked = 0.0

    def new_notices(self, now: bool = False) -> list[str]:
        """Return the notices that were added since the last call; looks once a second, or `now`."""
        if not now and time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        place = self._place.child(NOTICES)
        found = []
        for key in series_keys(place):
            text = "" if key in self._shown else note_text(place, key)
            if text.endswith("\n"):  # otherwise it is being written
                self._shown.add(key)
                found += text.splitlines()
        return found

    def status(self) -> dict[str, Any]:
        """Return numbers of jobs by `running` and `pending`, and of `calls` by command."""
        return {} if self._key is None else note_values(self._place, status_file(self._key))

    def jobs(self) -> str:
        """Return the numbers of jobs as the end of a line; an empty text if there are no jobs."""
        status = self.status()
        return f"; jobs: {status['running']} running, {status['pending']} waiting" if status else ""
