"""Submit the jobs of one run to Slurm, follow them, and try those again that were killed.

Whether a job is done, its records on the shared file system tell; Slurm is asked, for all jobs in one call and not more often than
every `poll` seconds, which ones are gone. So no job is forgotten when Slurm's controller is away, or forgets them itself, and it
does not matter whether accounting is on.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wkpipe.errors import UsageError, WkpipeError
from wkpipe.run.cluster_job import Cause, ClusterJob, cause_of
from wkpipe.run.cluster_news import JOBS_FILE, STATUS_FILE
from wkpipe.run.slurm import Away, Full, Limits, Refused, Seen, Slurm, prefix_of
from wkpipe.steps.job_note import NOTICES_FILE, note_error
from wkpipe.storage import disk

POLL_SECONDS: Final = 15.0
FIRST_POLL_SECONDS: Final = 4.0
"""Slurm is asked so soon after the first job was submitted: what fails at once, as settings that do not fit, is to be told at once."""

MOST_ATTEMPTS: Final = 3

_NEVER: Final = re.compile(
    r"BadConstraints|Invalid(Account|QOS)|Partition(Node|Time)Limit|(Account|QOS)NotAllowed|\w*NeverSatisfied|QOSMin\w*NotSatisfied"
    r"|(Assoc|QOS)Max(\w*PerJob\w*|Wall\w*|MemoryPerJob)"
)
"""Reasons of pending jobs that will never start."""

_USUAL: Final = re.compile(r"None|Priority|Resources|BeginTime|Prolog|Cleaning|\(null\)|")
_STUCK: Final = re.compile(r"launch failed requeued held|JobHoldMaxRequeue", re.IGNORECASE)

FAILED_SECONDS: Final = 10.0
"""How long records of a job that Slurm knows to have failed may be on their way; it was read anew whether they are there."""

Settled = tuple[ClusterJob, str]
"""A job that has ended for good, and its error; an empty one if it is done."""


class SlurmWatch:
    """The jobs of one run. All calls but `add` and `stop` come from one thread.

    `run` is the run's directory, `inside` wkpipe's in the dataset; `directory` is where jobs run. A record that does not
    show `latency` seconds after a job is gone is taken to be missing.
    """

    def __init__(
        self,
        run: Path,
        inside: Path,
        directory: Path,
        latency: float,
        say: Callable[[str], None],
        *,
        poll: float = POLL_SECONDS,
        partition: str | None = None,
    ) -> None:
        self.slurm = Slurm()
        self.prefix, self.run_prefix = prefix_of(inside), prefix_of(inside, run)
        self._run, self._directory, self._latency, self._poll = run, directory, latency, poll
        self._partition = partition
        self._say_aloud = say
        self._jobs: dict[str, ClusterJob] = {}
        self._added: list[ClusterJob] = []
        self._refused: dict[tuple[str, ...], str] = {}
        self._ended: list[Settled] = []
        self._told: set[str] = set()
        self._status = ""
        self._asked: float | None = None
        self._tried = -1e9
        self._is_away = False
        self._most, self._full_at = math.inf, -math.inf
        self._is_stopped = False
        self._orphans_ended = False
        self._has_begun = False
        self._broken = ""
        self._is_enforced = False
        self._limits: Limits | bool | None = False

    def add(self, job: ClusterJob) -> None:
        """Have a job submitted."""
        self._added.append(job)

    def stop(self) -> None:
        """Submit nothing more."""
        self._is_stopped = True

    def cancel(self) -> int:
        """Cancel all jobs of the run and wait for their end; returns how many there were.

        Raises:
            Away: Slurm does not answer.
        """
        self.stop()
        return self.slurm.end(self.run_prefix, seconds=30.0, say=self._say)

    @property
    def is_idle(self) -> bool:
        """Whether no job is waiting or running."""
        return not self._jobs and not self._added

    def tick(self) -> list[Settled]:
        """Do what is to be done now, and return the jobs that have ended for good since."""
        while self._added:
            job = self._added.pop(0)
            self._jobs[job.name] = job
        for job in self._submitted():
            self._settle_by_records(job)
        now = time.monotonic()
        try:
            if self._submitted() and self._asked is None:
                self._asked = now - max(0.0, self._poll - FIRST_POLL_SECONDS)
            elif self._submitted() and self._asked is not None and now - self._asked >= self._poll:
                self._asked = now
                self._ask()
                self._answers()
            if not self._is_stopped and (not self._is_away or now - self._tried >= self._poll):
                self._tried = now
                self._submit_waiting()
        except Full as reason:
            self._answers()
            self._most, self._full_at = len(self._submitted()), time.monotonic()
            self._say_once(f"Slurm takes no more jobs at once ({reason}); the others are submitted as these end", "full")
        except Away as reason:
            self._tried = time.monotonic()
            if not self._is_away:
                self._is_away = True
                self._say(f"Slurm does not answer ({reason}); waiting, running jobs go on")
        self._note_status()
        ended, self._ended = self._ended, []
        return ended

    # -- submitting ---------------------------------------------------------------------------------------------

    def _submitted(self) -> list[ClusterJob]:
        return [job for job in self._jobs.values() if job.id is not None]

    def _submit_waiting(self) -> None:
        waiting = [job for job in self._jobs.values() if job.id is None]
        if waiting and not self._orphans_ended:
            if ended := self.slurm.end(self.prefix, self.run_prefix, say=self._say):
                self._say(f"cancelled {ended} Slurm job{'s' if ended > 1 else ''} of an earlier run")
            self._orphans_ended = True
        if time.monotonic() - self._full_at >= self._poll:
            self._most = math.inf
        count = len(self._submitted())
        for job in waiting:
            if self._is_stopped or count >= self._most:
                break
            self._submit(job)
            self._answers()
            count += job.id is not None

    def _submit(self, job: ClusterJob) -> None:
        if self._broken:
            self._settle(job, "not_started", self._broken)
            return
        if self._is_enforced and job.memory_mib is not None:
            job.memory_mib = max(job.memory_mib, job.need_mib)
        request = job.request()
        if request not in self._refused:
            name = f"{self.run_prefix}{job.attempt}.{job.name}"
            job.log_start = job.log.stat().st_size if job.log.exists() else 0
            disk.make_directory(job.log.parent)
            log = os.path.relpath(job.log, self._directory).replace("%", "%%")
            about = (f"--job-name={name}", f"--chdir={self._directory}", f"--output={log}", "--open-mode=append", "--export=ALL")
            try:
                if f"lost {name}" in self._told:  # sbatch did not answer when it was called for this job
                    job.id = next((seen.id for seen in self.slurm.jobs(name) if seen.name == name), None)
                if job.id is None:
                    job.id = self.slurm.submit((*about, *request), job.script, self._directory)
                job.state, job.missing, job.ended_at = "PENDING", 0, None
                self._note(job, "submitted", cpus=job.cpus, memory_mib=job.memory_mib, minutes=job.minutes, log=str(job.log))
                return
            except Full:
                raise
            except Away:
                self._told.add(f"lost {name}")
                raise
            except Refused as refusal:
                self._refused[request] = str(refusal)
        self._refuse(job)

    def _refuse(self, job: ClusterJob) -> None:
        error = f"Slurm refuses the job: {self._refused[job.request()]}; change --job-resources"
        self._settle(job, "refused", error, UsageError)

    # -- following ----------------------------------------------------------------------------------------------

    def _settle_by_records(self, job: ClusterJob, is_gone: bool = False) -> bool:
        left = job.records.left(is_gone)
        if left.is_done or left.error:
            self._settle(job, "done" if left.is_done else "error", left.error)
        return left.is_done or bool(left.error)

    def _ask(self) -> None:
        """Ask Slurm for all jobs, and see to those that are gone."""
        seen = {job.id: job for job in self.slurm.jobs(self.run_prefix)}
        forgotten = []
        for job in self._submitted():
            now = seen.get(str(job.id))
            if now is None:
                job.missing += 1
                if job.missing > 1:  # once may be a gap between two controllers
                    forgotten.append(job)
            elif now.is_live:
                self._look_at_live(job, now)
            else:
                job.state, job.missing = now.state, 0
                self._look_at_ended(job)
        accounted = self.slurm.accounted([str(job.id) for job in forgotten if job.ended_at is None])
        for job in forgotten:
            if job.ended_at is None:
                job.state = accounted[str(job.id)].state if str(job.id) in accounted else ""
            self._look_at_ended(job)

    def _look_at_live(self, job: ClusterJob, now: Seen) -> None:
        if job.state == "RUNNING" and now.state == "PENDING":
            self._say(f"Slurm has put job {job.id} ({job.name}) into the queue again ({now.reason}); waiting for it")
        before, job.state, job.missing, job.ended_at = job.reason, now.state, 0, None
        job.reason = now.reason if now.state in ("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT") else ""
        if _STUCK.search(job.reason):
            self.slurm.cancel([str(job.id)])
            self._try_again(job, Cause.NOT_STARTED, job.reason)
        elif _NEVER.match(job.reason):
            if before == job.reason:  # Slurm may say so for a moment while it looks
                self.slurm.cancel([str(job.id)])
                self._refused[job.request()] = f"it can never start ({job.reason})"  # nor can others like it
                self._refuse(job)
        elif not _USUAL.fullmatch(job.reason):
            self._say_once(f"Slurm job {job.id} is pending: {job.reason}", job.reason)

    def _look_at_ended(self, job: ClusterJob) -> None:
        """See to a job that Slurm has no more."""
        if self._settle_by_records(job, is_gone=True):
            return
        cause, said = cause_of(job)
        if job.ended_at is None:
            job.ended_at = time.monotonic()
        is_certain = bool(job.state) and cause not in (Cause.UNKNOWN, Cause.NOT_STARTED, Cause.ERROR)
        is_odd = job.state in ("", "COMPLETED")
        if not is_certain and time.monotonic() - job.ended_at < (self._latency if is_odd else min(self._latency, FAILED_SECONDS)):
            return  # its records may still be on their way
        self._has_begun = self._has_begun or job.records.has_begun()
        which = f"Slurm job {job.id} ({job.name})"
        if job.state == "COMPLETED" and not is_certain:
            mend = f"all nodes must see {self._run}, perhaps with a longer --latency-wait"
            self._settle(job, "lost", f"{which} ended well, but left no marker within {self._latency:g} s; {mend}")
        elif cause is Cause.CANCELLED:
            self._settle(job, "cancelled", f"{which} was cancelled; the same command goes on from there")
        elif cause is Cause.NOT_STARTED and not self._has_begun:  # and so will none
            where = f"its log is {job.log}" if job.log.exists() else f"it has no log: all nodes must see {self._run} and may write there"
            self._broken = f"{which} {cause.value}{': ' + said if said else ''}; {where}"
            self._settle(job, "not_started", self._broken)
        elif cause in (Cause.ERROR, Cause.DEADLINE):
            self._settle(job, cause.name.lower(), f"{which} {cause.value}{': ' + said if said else ''}; its log is {job.log}")
        else:
            self._try_again(job, cause, said)

    def _try_again(self, job: ClusterJob, cause: Cause, said: str) -> None:
        """Have a killed job submitted once more, with more of what it lacked; or give up."""
        had = f"Slurm job {job.id} ({job.name}) {cause.value}{': ' + said if said else ''}, with {_amounts(job)}"
        wider = self._wider(job, cause)
        if job.attempt >= MOST_ATTEMPTS or wider is None:
            how = "the partition has no more" if wider is None else f"this was try {job.attempt} of {MOST_ATTEMPTS}"
            need = f"it needs about {job.need_mib} MiB, " if cause in (Cause.MEMORY, Cause.UNKNOWN) else ""
            self._settle(job, cause.name.lower(), f"{had}; {how}; {need}ask for more with --job-resources; its log is {job.log}")
            return
        self._note(job, cause.name.lower(), said=said)
        if cause is Cause.MEMORY and not self._is_enforced and (job.memory_mib or job.need_mib) < job.need_mib:
            self._is_enforced = True
            self._say("memory is enforced here: from now on jobs ask for what they need, whatever --job-resources says")
        job.memory_mib, job.minutes = wider
        job.attempt, job.id, job.state, job.ended_at, job.missing = job.attempt + 1, None, "", None, 0
        self._say(f"{had}; it is tried again with {_amounts(job)}")

    def _wider(self, job: ClusterJob, cause: Cause) -> tuple[int | None, int | None] | None:
        """Return memory and minutes for another try, within the partition's limits; None where there is no more to have."""
        memory, limit = job.memory_mib, job.minutes
        if memory is not None and cause in (Cause.MEMORY, Cause.UNKNOWN):
            memory = max(2 * memory, job.need_mib)
        if limit is not None and cause in (Cause.TIME, Cause.UNKNOWN):
            limit *= 2
        if isinstance(self._limits, bool):
            self._limits = None
            with contextlib.suppress(Refused):
                self._limits = self.slurm.limits(self._partition)
        if self._limits is not None:
            memory = None if memory is None else max(min(memory, self._limits.memory_mib), job.memory_mib or 0)
            if limit is not None and self._limits.minutes is not None:
                limit = max(min(limit, self._limits.minutes), job.minutes or 0)
        is_short = (cause is Cause.MEMORY and memory == job.memory_mib) or (cause is Cause.TIME and limit == job.minutes)
        return None if is_short else (memory, limit)

    # -- telling ------------------------------------------------------------------------------------------------

    def _settle(self, job: ClusterJob, state: str, error: str, kind: type[WkpipeError] = WkpipeError) -> None:
        self._jobs.pop(job.name, None)
        self._has_begun = self._has_begun or state in ("done", "error")
        self._note(job, state, error=error)
        if error and state != "error":  # such a one has noted it itself
            note_error(self._run, job.name, kind.exit_code, error)
        self._ended.append((job, error))

    def _answers(self) -> None:
        if self._is_away:
            self._is_away = False
            self._say("Slurm answers again")

    def _say_once(self, text: str, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(text)

    def _say(self, text: str) -> None:
        self._say_aloud(text)
        disk.add_note(self._run / NOTICES_FILE, f"{text}\n")

    def _note(self, job: ClusterJob, event: str, **more: object) -> None:
        values = {"time": time.time(), "event": event, "task": job.name, "job": job.id, "attempt": job.attempt, "state": job.state}
        disk.add_note(self._run / JOBS_FILE, json.dumps(values | more) + "\n")

    def _note_status(self) -> None:
        running = sum(job.id is not None and (job.state == "RUNNING" or job.records.has_begun()) for job in self._jobs.values())
        values = {"running": running, "pending": len(self._jobs) - running, "calls": dict(self.slurm.calls)}
        if (text := json.dumps(values)) != self._status:
            self._status = text
            disk.note(self._run / STATUS_FILE, text)


def _amounts(job: ClusterJob) -> str:
    minutes = "1 minute" if job.minutes == 1 else f"{job.minutes or 'unlimited'} minutes"
    return f"{job.memory_mib or 'all'} MiB and {minutes}"
