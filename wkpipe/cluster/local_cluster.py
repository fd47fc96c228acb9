"""A cluster for tests: a real backend that runs jobs as processes of this host, with the faults of real clusters.

It can lose answers, be away, be full, refuse, kill jobs, and forget them. It keeps its jobs in a directory, so another object or
another process with that directory is the same cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.cluster.backend import Away, Cause, Full, Limits, Outlook, Phase, Refused, Seen, Submission, Used
from wkpipe.cluster.resources import JobResources
from wkpipe.runs.job_note import JOB_ID_VARIABLE
from wkpipe.storage import disk
from wkpipe.storage.process import is_gone, start_ticks

_RUN_AND_NOTE = 'bash "$1" >> "$2" 2>&1; echo $? > "$3"'


@dataclass
class Faults:
    """The faults from now on.

    `lost_answers` is the number of next submissions that succeed without an answer. `most_jobs` is the number of jobs that may be live
    at once.
    `refusal` returns why a job is refused, or an empty text. `held` returns the reason and the outlook of a job that stays
    pending. `forgets` makes the cluster forget jobs as soon as they have ended.
    """

    is_away: bool = False
    lost_answers: int = 0
    most_jobs: int | None = None
    refusal: Callable[[Submission], str] = lambda _: ""
    held: Callable[[Submission], tuple[str, Outlook] | None] = lambda _: None
    forgets: bool = False
    has_accounting: bool = True


@dataclass
class LocalCluster:
    """Runs jobs as processes of this host; see `wkpipe.cluster.backend.Backend`. Jobs outlive the process that submits them."""

    directory: Path
    faults: Faults = field(default_factory=Faults)
    most: Limits = field(default_factory=lambda: Limits(memory_mib=64_000, cpus=8, minutes=600))
    calls: Counter[str] = field(default_factory=Counter)
    key: str = "local-cluster"
    title: str = "LocalCluster"
    pool: str = "queue"
    log_causes: Sequence[tuple[re.Pattern[str], Cause]] = ((re.compile("killed for its time"), Cause.TIME),)

    # -- the five calls -----------------------------------------------------------------------------------------

    def submit(self, job: Submission) -> str:
        self._call("submit")
        if why := self.faults.refusal(job):
            raise Refused(why)
        if job.request.cpus > self.most.cpus:
            raise Refused(f"no node has {job.request.cpus} cores")
        live = [seen for seen in self._all() if seen.is_live]
        if self.faults.most_jobs is not None and len(live) >= self.faults.most_jobs:
            raise Full("too many jobs")
        id_ = str(1 + max((int(path.stem) for path in self.directory.glob("*.json")), default=0))
        held = self.faults.held(job)
        values = {"name": job.name, "pid": 0, "ticks": 0, "memory_mib": job.request.memory_mib, "minutes": job.request.minutes}
        if held is None:
            pid = self._start(id_, job)
            values |= {"pid": pid, "ticks": start_ticks(pid) or 0}
        else:
            values |= {"reason": held[0], "outlook": held[1].name}
        self._write(id_, values)
        if self.faults.lost_answers:
            self.faults.lost_answers -= 1
            raise Away("the answer was lost")
        return id_

    def jobs(self, prefix: str) -> list[Seen]:
        self._call("jobs")
        return [seen for seen in self._all() if seen.name.startswith(prefix) and not (self.faults.forgets and not seen.is_live)]

    def cancel(self, ids: Iterable[str]) -> None:
        self._call("cancel")
        for id_ in ids:
            self.kill(id_, Cause.CANCELLED)

    def used(self, ids: Sequence[str]) -> dict[str, Used]:
        if not ids or not self.faults.has_accounting or self.faults.is_away:
            return {}
        self._call("used")
        return {seen.id: Used(seen.phase, seen.state, seen.cause, 1) for seen in self._all() if seen.id in ids}

    def limits(self, request: JobResources) -> Limits | None:  # noqa: ARG002
        self._call("limits")
        return self.most

    # -- for tests ---------------------------------------------------------------------------------

    def kill(self, id_: str, cause: Cause | None, log: Path | None = None) -> None:
        """Kill a job for a cause; None if the cluster does not know it. With `log`, the cause is written only there."""
        values = self._read(id_)
        if values is None or not self._seen(id_, values).is_live:
            return
        state = "" if cause is None or log is not None else cause.name
        self._write(id_, values | {"killed": state, "reason": ""})
        if log is not None:
            disk.note(log, "killed for its time\n", add=True)
        if values["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(values["pid"], signal.SIGKILL)

    def requests(self, prefix: str = "") -> list[tuple[int | None, int | None]]:
        """Return memory and minutes of all submissions, in their order."""
        found = [(seen, self._read(seen.id) or {}) for seen in self._all()]
        return [(values["memory_mib"], values["minutes"]) for seen, values in found if seen.name.startswith(prefix)]

    # -- jobs ---------------------------------------------------------------------------------------------------

    def _call(self, what: str) -> None:
        self.calls[what] += 1
        if self.faults.is_away:
            raise Away("it is away")

    def _start(self, id_: str, job: Submission) -> int:
        script = self.directory / f"{id_}.sh"
        disk.make_directory(self.directory)
        disk.note(script, job.script)
        # As on a cluster, a job is no child of its submitter: the shell between them notes its exit code.
        command = ["bash", "-c", _RUN_AND_NOTE, "job", str(script), str(job.log), str(self.directory / f"{id_}.exit")]
        process = subprocess.Popen(
            command,
            cwd=job.directory,
            env=os.environ | {JOB_ID_VARIABLE: id_},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return process.pid

    def _all(self) -> list[Seen]:
        ids = sorted((path.stem for path in self.directory.glob("*.json")), key=int)
        return [self._seen(id_, values) for id_ in ids if (values := self._read(id_)) is not None]

    def _seen(self, id_: str, values: dict[str, Any]) -> Seen:
        name: str = values["name"]
        if "killed" in values:
            word: str = values["killed"]
            return Seen(id_, name, Phase.FAILED, word or "FAILED", Cause[word] if word else None)
        if "outlook" in values:
            return Seen(id_, name, Phase.PENDING, "PENDING", None, values["reason"], Outlook[values["outlook"]])
        with contextlib.suppress(OSError):
            if code := (self.directory / f"{id_}.exit").read_text().strip():
                return Seen(id_, name, Phase.DONE if code == "0" else Phase.FAILED, "DONE" if code == "0" else "FAILED")
        if is_gone(values["pid"], values["ticks"]):
            return Seen(id_, name, Phase.FAILED, "FAILED")
        return Seen(id_, name, Phase.RUNNING, "RUNNING")

    def _read(self, id_: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            values: dict[str, Any] = json.loads((self.directory / f"{id_}.json").read_text())
            return values
        return None

    def _write(self, id_: str, values: dict[str, Any]) -> None:
        disk.note(self.directory / f"{id_}.json", json.dumps(values))
