"""Submit the jobs of one run to a cluster, follow them, and try killed ones again.

A job's own records say whether it is done. The cluster is asked which jobs are gone: one call for all of them, at most every
`poll` seconds. So no job is forgotten when the cluster does not answer, or forgets the job itself, and accounting is not needed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wkpipe.cluster.backend import Away, Backend, Cause, Full, Outlook, Phase, Refused, Request, Seen, Submission
from wkpipe.cluster.job import ClusterJob, cause_of
from wkpipe.cluster.news import NewsWriter
from wkpipe.cluster.orphans import end_jobs, prefix_of
from wkpipe.cluster.resources import JobResources
from wkpipe.cluster.retries import MOST_ATTEMPTS, Retries, missing_amount
from wkpipe.errors import UsageError, WkpipeError
from wkpipe.runs.job_note import note_error

POLL_SECONDS: Final = 15.0
FIRST_POLL_SECONDS: Final = 4.0
"""The time from the first submission to the first question: settings that do not fit fail at once, and the user must know at once."""

FAILED_SECONDS: Final = 10.0
"""The time to wait for records of a job that the cluster knows to have failed; its directory was read again to find them."""

Settled = tuple[ClusterJob, str]
"""A job that has ended for good, and its error; an empty text if it is done."""


class Watch:
    """The jobs of one run. All calls but `add` and `stop` come from one thread.

    `run` is the run's directory, `inside` is wkpipe's in the dataset; `directory` is where jobs run. A record that does not show
    `latency` seconds after a job is gone counts as missing. `resources` are those that the user requests.
    """

    def __init__(
        self,
        backend: Backend,
        run: Path,
        inside: Path,
        directory: Path,
        latency: float,
        say: Callable[[str], None],
        *,
        poll: float = POLL_SECONDS,
        resources: JobResources | None = None,
    ) -> None:
        self.backend = backend
        self.prefix, self.run_prefix = prefix_of(inside), prefix_of(inside, run)
        self._run, self._directory, self._latency, self._poll = run, directory, latency, poll
        self._news = NewsWriter(run, backend.key, say)
        self._retries = Retries(backend, resources or JobResources())
        self._title = backend.title
        self._jobs: dict[str, ClusterJob] = {}
        self._added: list[ClusterJob] = []
        self._refused: dict[Request, str] = {}
        self._ended: list[Settled] = []
        self._lost: set[str] = set()
        self._asked: float | None = None
        self._tried = -math.inf
        self._is_away = False
        self._most, self._full_at = math.inf, -math.inf
        self._is_stopped = False
        self._orphans_ended = False
        self._has_begun = False
        self._broken = ""
        self._is_enforced = False

    def add(self, job: ClusterJob) -> None:
        """Queue a job for submission."""
        self._added.append(job)

    def stop(self) -> None:
        """Submit no more jobs."""
        self._is_stopped = True

    def cancel(self) -> int:
        """Cancel all jobs of the run and wait for their end; return how many there were.

        Raises:
            Away: the cluster does not answer.
        """
        self.stop()
        return end_jobs(self.backend, self.run_prefix, seconds=30.0, say=self._news.say)

    @property
    def is_idle(self) -> bool:
        """True if no job is waiting or running."""
        return not self._jobs and not self._added

    def tick(self) -> list[Settled]:
        """Do what is due, and return the jobs that have ended for good since the last call."""
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
            self._news.say(f"{self._title} takes no more jobs at once ({reason}); the others are submitted as these end", once="full")
        except Away as reason:
            self._tried = time.monotonic()
            if not self._is_away:
                self._is_away = True
                self._news.say(f"{self._title} does not answer ({reason}); waiting, running jobs continue")
        running = sum(job.id is not None and (job.phase is Phase.RUNNING or job.records.has_begun()) for job in self._jobs.values())
        self._news.status(running, len(self._jobs) - running, self.backend.calls)
        ended, self._ended = self._ended, []
        return ended

    # -- submitting ---------------------------------------------------------------------------------------------

    def _submitted(self) -> list[ClusterJob]:
        return [job for job in self._jobs.values() if job.id is not None]

    def _submit_waiting(self) -> None:
        waiting = [job for job in self._jobs.values() if job.id is None]
        if waiting and not self._orphans_ended:
            if ended := end_jobs(self.backend, self.prefix, self.run_prefix, say=self._news.say):
                self._news.say(f"cancelled {ended} {self._title} job{'s' if ended > 1 else ''} of an earlier run")
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
        if self._is_enforced and job.request.memory_mib:
            job.ask_for(max(job.request.memory_mib, job.need_mib), job.request.minutes)
        if job.request not in self._refused:
            try:
                job.submitted_as(self._id_of_submission(job))
            except Refused as refusal:
                self._refused[job.request] = str(refusal)
            else:
                request = job.request
                asked = {"cpus": request.cpus, "memory_mib": request.memory_mib or None, "minutes": request.minutes}
                self._news.event(job, "submitted", **asked, log=str(job.log))
                return
        self._refuse(job)

    def _id_of_submission(self, job: ClusterJob) -> str:
        """Submit a job, unless it was submitted before and only the answer was lost."""
        name = f"{self.run_prefix}{job.attempt}.{job.name}"
        job.begin_log()
        if name in self._lost and (found := next((seen.id for seen in self.backend.jobs(name) if seen.name == name), None)) is not None:
            return found
        try:
            return self.backend.submit(Submission(name, job.script, self._directory, job.log, job.request))
        except Full:
            raise
        except Away:
            self._lost.add(name)
            raise

    def _refuse(self, job: ClusterJob) -> None:
        error = f"{self._title} refuses the job: {self._refused[job.request]}; change --job-resources"
        self._settle(job, "refused", error, UsageError)

    # -- following ----------------------------------------------------------------------------------------------

    def _settle_by_records(self, job: ClusterJob, is_gone: bool = False) -> bool:
        left = job.records.left(is_gone)
        if left.is_done or left.error:
            self._settle(job, "done" if left.is_done else "error", left.error)
        return left.is_done or bool(left.error)

    def _ask(self) -> None:
        """Ask the cluster for all jobs, and handle those that are gone."""
        found = {seen.id: seen for seen in self.backend.jobs(self.run_prefix)}
        forgotten = []
        for job in self._submitted():
            now = found.get(str(job.id))
            if now is None:
                job.missing += 1
                if job.missing > 1:  # a single time may be a gap between two controllers
                    forgotten.append(job)
            elif now.is_live:
                self._look_at_live(job, now)
            else:
                job.missing = 0
                job.is_seen(now.phase, now.state, now.cause, now.reason)
                self._look_at_ended(job)
        used = self.backend.used([str(job.id) for job in forgotten if job.ended_at is None])
        for job in forgotten:
            if job.ended_at is None:
                known = used.get(str(job.id))
                job.is_seen(None) if known is None else job.is_seen(known.phase, known.state, known.cause)
            self._look_at_ended(job)

    def _look_at_live(self, job: ClusterJob, now: Seen) -> None:
        if job.phase is Phase.RUNNING and now.phase is Phase.PENDING:
            self._news.say(f"{self._title} has put job {job.id} ({job.name}) into the queue again ({now.reason}); waiting for it")
        before, job.missing, job.ended_at = job.reason, 0, None
        job.is_seen(now.phase, now.state, reason=now.reason)
        if now.outlook is Outlook.HELD:
            self.backend.cancel([str(job.id)])
            self._try_again(job, now.cause or Cause.NOT_STARTED, job.reason)
        elif now.outlook is Outlook.NEVER:
            if before == job.reason:  # a cluster may report this for a moment while it looks for nodes
                self.backend.cancel([str(job.id)])
                self._refused[job.request] = f"it can never start ({job.reason})"  # nor can other jobs with this request
                self._refuse(job)
        elif now.outlook is Outlook.ODD:
            self._news.say(f"{self._title} job {job.id} is pending: {job.reason}", once=job.reason)

    def _look_at_ended(self, job: ClusterJob) -> None:
        """Handle a job that has ended, or that the cluster has forgotten."""
        if self._settle_by_records(job, is_gone=True):
            return
        cause, said = cause_of(job, self.backend.log_causes)
        if job.ended_at is None:
            job.ended_at = time.monotonic()
        is_certain = job.phase is not None and cause not in (Cause.UNKNOWN, Cause.NOT_STARTED, Cause.ERROR)
        patience = self._latency if job.phase in (None, Phase.DONE) else min(self._latency, FAILED_SECONDS)
        if not is_certain and time.monotonic() - job.ended_at < patience:
            return  # its records may still be on their way
        self._has_begun = self._has_begun or job.records.has_begun()
        which, log = f"{self._title} job {job.id} ({job.name})", f"its log is {job.log}"
        what = f"{which} {cause.value}{': ' + said if said else ''}"
        if job.phase is Phase.DONE and not is_certain:
            fix = f"all nodes must see {self._run}, perhaps with a longer --latency-wait"
            self._settle(job, "lost", f"{which} ended well, but left no result within {self._latency:g} s; {fix}")
        elif cause is Cause.CANCELLED:
            self._settle(job, "cancelled", f"{which} was cancelled; the same command resumes")
        elif cause is Cause.NOT_STARTED and not self._has_begun:  # so no job can start
            unseen = f"it has no log: all nodes must see {self._run} and may write there"
            self._broken = f"{what}; {log if job.has_log() else unseen}"
            self._settle(job, "not_started", self._broken)
        elif cause in (Cause.ERROR, Cause.DEADLINE):
            self._settle(job, "failed" if cause is Cause.ERROR else "deadline", f"{what}; {log}")
        else:
            self._try_again(job, cause, said)

    def _try_again(self, job: ClusterJob, cause: Cause, said: str) -> None:
        """Submit a killed job once more, with more of what it lacked; or give up."""
        had = f"{self._title} job {job.id} ({job.name}) {cause.value}{': ' + said if said else ''}, with {job.amounts}"
        wider = self._retries.wider(job, cause)
        if job.attempt >= MOST_ATTEMPTS or wider is None:
            how = f"the {self.backend.pool} has no more" if wider is None else f"this was try {job.attempt} of {MOST_ATTEMPTS}"
            need = missing_amount(job, cause)
            self._settle(job, cause.name.lower(), f"{had}; {how}; {need}ask for more with --job-resources; its log is {job.log}")
            return
        self._news.event(job, cause.name.lower(), said=said)
        if cause is Cause.MEMORY and not self._is_enforced and (job.request.memory_mib or job.need_mib) < job.need_mib:
            self._is_enforced = True
            self._news.say("memory is enforced here: from now on jobs ask for what they need, whatever --job-resources says")
        job.ask_for(*wider)
        job.next_try()
        self._news.say(f"{had}; it is tried again with {job.amounts}")

    def _settle(self, job: ClusterJob, state: str, error: str, kind: type[WkpipeError] = WkpipeError) -> None:
        self._jobs.pop(job.name, None)
        self._has_begun = self._has_begun or state in ("done", "error")
        self._news.event(job, state, error=error)
        if error and state != "error":  # the job has recorded it itself
            note_error(self._run, job.name, kind.exit_code, error)
        self._ended.append((job, error))

    def _answers(self) -> None:
        if self._is_away:
            self._is_away = False
            self._news.say(f"{self._title} answers again")
