"""Start wkpipe's main process in the cluster, attach to one that runs already, follow its output, cancel it."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from wkpipe.cluster.backend import Away, Cause, Outlook, Phase, Refused, Seen
from wkpipe.cluster.kubernetes.api import Api
from wkpipe.cluster.kubernetes.main_job import COMMAND, GRACE_SECONDS, MAIN, SUBMISSION, main_job
from wkpipe.cluster.kubernetes.manifest import Options
from wkpipe.cluster.kubernetes.reasons import look
from wkpipe.cluster.kubernetes.waits import Waits
from wkpipe.cluster.kubernetes.warnings import Warnings
from wkpipe.cluster.main_process import MainProcess
from wkpipe.cluster.resources import JobResources
from wkpipe.errors import TryAgain, UsageError, WkpipeError, one_line

Json = dict[str, Any]
Show = Callable[[bytes], None]
Say = Callable[[str], None]

POLL_SECONDS: Final = 1.0
END_SECONDS: Final = GRACE_SECONDS + 30.0
_MEMORY: Final = 'it ran out of memory; give it more, as with "main-mem": "4G"'


class MainOnKubernetes:
    """A main process as a Job; see `wkpipe.cluster.main_process.MainRun`."""

    def __init__(self, main: MainProcess, resources: JobResources) -> None:
        self._target = main.target
        self._api = Api(resources.options.get("context"), resources.options.get("namespace"))
        try:
            self._body = main_job(main, Options(resources.options))
        except Refused as refusal:
            raise UsageError(str(refusal)) from None
        self._name: str = self._body["metadata"]["name"]
        self._waits, self._warnings = Waits.of(resources.options), Warnings(self._api)
        self._shown: dict[str, int] = {}
        self._whole: set[str] = set()
        self._said: set[str] = set()

    @property
    def place(self) -> str:
        return f"Job {self._name} in namespace {self._api.namespace}"

    def start(self, say: Say) -> None:
        with self._explained():
            while not self._is_started(say):
                time.sleep(POLL_SECONDS)

    def follow(self, show: Show, say: Say) -> int:
        while True:
            with self._surviving(say):
                job, pods = self._look()
                self._show_logs(pods, show, say)
                if job is None:
                    raise WkpipeError(f"{self.place} was deleted", fix="the same command starts again, and resumes")
                warning = self._warnings.of([(job, pods)]).get(self._name, "")
                (seen,) = self._waits.limited([look(job, pods, warning)], time.monotonic())
                if seen.phase is Phase.DONE:
                    return 0
                if seen.phase is Phase.FAILED:
                    return self._code(seen, pods)
                self._tell(seen, bool(warning) and not pods and "exceeded quota" not in warning, say)
            time.sleep(POLL_SECONDS)

    def cancel(self, show: Show, say: Say) -> None:
        deadline = time.monotonic() + END_SECONDS
        is_asked = False
        while time.monotonic() < deadline:
            with self._surviving(say):
                job, pods = self._look()
                if job is not None and job["metadata"]["annotations"].get(COMMAND) != self._body["metadata"]["annotations"][COMMAND]:
                    return  # another command's
                if not is_asked:
                    self._api.delete_job(self._name)
                    is_asked = True
                self._show_logs(pods, show, say)
                if job is None:
                    return
            time.sleep(POLL_SECONDS)
        say(f"{self.place} has not ended yet; look with: kubectl --namespace {self._api.namespace} get pods -l {MAIN}={self._name}")

    # -- start ------------------------------------------------------------------------------------------------------

    def _is_started(self, say: Say) -> bool:
        """Create the Job if none of its name exists; True if the command runs in one now."""
        job = self._api.create_job(self._body)
        found, own = job["metadata"].get("annotations", {}), self._body["metadata"]["annotations"]
        if found.get(SUBMISSION) == own[SUBMISSION]:
            return True
        if COMMAND not in found:
            raise UsageError(f"{self.place} exists, and wkpipe has not made it", fix="delete or rename that Job")
        if "deletionTimestamp" in job["metadata"]:
            self._once(say, f"waiting for the end of {self.place}, which was stopped")
        elif any(each["status"] == "True" and each["type"] in ("Complete", "Failed") for each in job["status"].get("conditions") or []):
            self._api.delete_job(self._name)
        elif found[COMMAND] == own[COMMAND]:
            say(f"attached to the run that is in the cluster already: {self.place}")
            return True
        else:
            other = one_line(shlex.join(["wkpipe", *json.loads(found[COMMAND])]), 300)
            raise TryAgain(
                f"another command works on {self._target} in the cluster ({self.place}): {other}",
                fix=f"wait for it, or stop it: kubectl --namespace {self._api.namespace} delete job {self._name}",
            )
        return False

    # -- follow -----------------------------------------------------------------------------------------------------

    def _look(self) -> tuple[Json | None, list[Json]]:
        """Return the Job, None if it is gone, and its pods from the oldest to the newest."""
        selector = f"{MAIN}={self._name}"
        jobs, _ = self._api.listed("jobs", selector)
        pods, _ = self._api.listed("pods", selector)
        return next(iter(jobs), None), sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _show_logs(self, pods: list[Json], show: Show, say: Say) -> None:
        for pod in pods:
            name = pod["metadata"]["name"]
            states = [status.get("state", {}) for status in pod["status"].get("containerStatuses") or []]
            has_ended = any("terminated" in state for state in states)
            if name in self._whole or not (has_ended or any("running" in state for state in states)):
                continue
            if name not in self._shown and self._shown:
                say(f"the main process was ended by the cluster, and resumes in pod {name}")
            self._shown.setdefault(name, 0)
            try:
                self._show_log(name, show)
            except Away:
                return  # silent for long, or broken: what follows is shown next time
            except Refused as refusal:
                self._once(say, f"the output cannot be shown: {refusal}")
            if has_ended:
                self._whole.add(name)

    def _show_log(self, pod: str, show: Show) -> None:
        """Show what is new in the log of a pod, until its container ends."""
        skipped = self._shown[pod]
        for data in self._api.followed(pod):
            new = data[skipped:]
            skipped -= len(data) - len(new)
            self._shown[pod] += len(new)
            show(new)

    def _tell(self, seen: Seen, is_hopeless: bool, say: Say) -> None:
        if seen.outlook is Outlook.NEVER or is_hopeless:
            with contextlib.suppress(Away, Refused):
                self._api.delete_job(self._name)
            raise UsageError(f"the main process cannot start in the cluster: {seen.reason}")
        if seen.phase is Phase.PENDING and seen.reason:
            self._once(say, f"the main process waits: {seen.reason}")

    def _code(self, seen: Seen, pods: list[Json]) -> int:
        """Return the exit code of a main process that has failed.

        Raises:
            WkpipeError: the cluster has ended it.
        """
        statuses = [status for pod in pods[-1:] for status in pod["status"].get("containerStatuses") or []]
        ended: Json = next((status["state"]["terminated"] for status in statuses if "terminated" in status.get("state", {})), {})
        if seen.cause is None and 0 < ended.get("exitCode", 0) < 128:
            return int(ended["exitCode"])
        reason = _MEMORY if seen.cause is Cause.MEMORY else seen.reason or seen.state
        if seen.cause is Cause.NOT_STARTED:
            raise UsageError(f"the main process cannot start in the cluster: {reason}")
        raise WkpipeError(f"the cluster has ended the main process too often ({self.place}): {reason}")

    # -- failures ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _surviving(self, say: Say) -> Iterator[None]:
        """Bear in this block that the cluster does not answer: the run in it goes on."""
        try:
            with self._explained(bears_away=True):
                yield
        except Away as reason:
            self._once(say, f"the cluster does not answer ({reason}); the run in it goes on, and is asked for again")

    @contextlib.contextmanager
    def _explained(self, bears_away: bool = False) -> Iterator[None]:
        """Turn a refusal of the cluster in this block, and its silence, into errors for the user."""
        try:
            yield
        except Refused as refusal:
            raise UsageError(f"the cluster refuses --in-cluster: {refusal}") from None
        except Away as reason:
            if bears_away:
                raise
            raise TryAgain(f"Kubernetes does not answer: {reason}", fix="try again later; nothing was submitted twice") from None

    def _once(self, say: Say, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(text)
