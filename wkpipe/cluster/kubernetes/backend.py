"""Kubernetes as a backend: a Job for each job, and a watch of all Jobs and pods of a dataset."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from wkpipe.cluster.backend import Away, Cause, Full, Limits, Phase, Refused, Seen, Submission, Used
from wkpipe.cluster.kubernetes.api import Api
from wkpipe.cluster.kubernetes.inventory import Inventory
from wkpipe.cluster.kubernetes.manifest import check_user, manifest
from wkpipe.cluster.kubernetes.names import selector
from wkpipe.cluster.kubernetes.reasons import look
from wkpipe.cluster.kubernetes.values import cores, mib
from wkpipe.cluster.kubernetes.waits import Waits
from wkpipe.cluster.kubernetes.warnings import Warnings
from wkpipe.cluster.resources import JobResources
from wkpipe.storage import disk

Json = dict[str, Any]

KEY: Final = "kubernetes"


class Kubernetes:
    """Calls the API of a cluster; see `wkpipe.cluster.backend.Backend`. `resources` are those that the user requests."""

    key: str = KEY
    title: str = "Kubernetes"
    pool: str = "cluster"
    log_causes: Sequence[tuple[re.Pattern[str], Cause]] = ()

    def __init__(self, resources: JobResources) -> None:
        options = self._options = resources.options
        self._api = Api(options.get("context"), options.get("namespace"))
        self._waits = Waits.of(options)
        self._inventories: dict[str, Inventory] = {}
        self._logs: dict[str, Path] = {}
        self._warnings = Warnings(self._api)

    @property
    def calls(self) -> Counter[str]:
        return self._api.calls

    def submit(self, job: Submission) -> str:
        body = manifest(job)
        try:
            with self._in_doubt():
                created = self._api.create_job(body)
        except Full:
            self._make_room()
            raise
        for inventory in self._inventories.values():
            inventory.note(created)
        id_: str = created["metadata"]["name"]
        self._logs[id_] = job.log
        return id_

    def jobs(self, prefix: str) -> list[Seen]:
        wanted = selector(prefix)
        if wanted not in self._inventories:
            self._inventories[wanted] = Inventory(self._api, wanted)
        found = self._inventories[wanted].look()
        warnings = self._warnings.of(found)
        looks = [(look(job, pods, warnings.get(job["metadata"]["name"], "")), pods) for job, pods in found]
        looks = [(each, pods) for each, pods in looks if each.seen.name.startswith(prefix)]
        for each, pods in looks:
            if each.seen.phase is Phase.FAILED:
                self._save_log(each.seen.id, pods)
        return self._waits.limited([each for each, _ in looks], time.monotonic())

    def cancel(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            with self._in_doubt(), contextlib.suppress(Refused):
                self._api.delete_job(id_)

    def used(self, ids: Sequence[str]) -> dict[str, Used]:  # noqa: ARG002
        return {}  # a cluster measures memory only if it has a metrics server, and keeps nothing of it

    def limits(self, request: JobResources) -> Limits | None:  # noqa: ARG002
        """Return the most that one node has; None if this user may not list the nodes."""
        check_user(self._options)
        try:
            sizes = [node["status"]["allocatable"] for node in self._api.nodes()]
        except Refused:
            self._api.listed("jobs", selector(""))  # whoever may not do this cannot use the cluster
            return None
        if not sizes:
            return None
        return Limits(max(mib(size["memory"]) for size in sizes), max(max(1, int(cores(size["cpu"]))) for size in sizes), None)

    @contextlib.contextmanager
    def _in_doubt(self) -> Any:
        """Have the next look list everything if the cluster does not answer in this block."""
        try:
            yield
        except Full:
            raise
        except Away:
            for inventory in self._inventories.values():
                inventory.doubt()
            raise

    def _make_room(self) -> None:
        """Delete the Jobs that are done: a quota of Jobs counts them too."""
        looks = [(job, look(job, pods)) for inventory in self._inventories.values() for job, pods in inventory.look()]
        there = [(job, each) for job, each in looks if not job.get("gone") and "deletionTimestamp" not in job["metadata"]]
        self.cancel([each.seen.id for _, each in there if each.seen.phase is Phase.DONE])

    def _save_log(self, id_: str, pods: Sequence[Json]) -> None:
        """Append the log of a failed pod to that of its job: it is lost when the pod is deleted."""
        log = self._logs.pop(id_, None)
        pod = next((pod["metadata"]["name"] for pod in reversed(pods) if not pod.get("gone")), None)
        if log is None or pod is None:
            return
        with contextlib.suppress(Away, Refused):
            if text := self._api.log(pod):
                disk.note(log, text.decode(errors="replace"), add=True)
