"""All Jobs and pods of a dataset, kept up to date by one LIST and one WATCH of each.

A thread for each kind follows the watch. It lists again if the API server no longer knows the version to go on from (410), and goes
on from the last version after any other failure. As long as a watch fails, and if its thread has ended by an error that nobody
expects, every question first lists, so that nobody works with old news.
"""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass, field
from typing import Any, Final

from wkpipe.cluster.backend import Away, Refused
from wkpipe.cluster.kubernetes.api import Api, TooOld

Json = dict[str, Any]

KINDS: Final = ("jobs", "pods")
PAUSE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 15.0
_JOB_OF_A_POD: Final = "batch.kubernetes.io/job-name"


@dataclass
class _Known:
    """The known objects of a kind by their names, and by their uids those that are gone."""

    version: str = ""
    there: dict[str, Json] = field(default_factory=dict)
    gone: dict[str, Json] = field(default_factory=dict)
    trouble: str = ""
    is_old: bool = True

    def replace(self, items: list[Json], version: str) -> None:
        now = {item["metadata"]["name"]: _slim(item) for item in items}
        uids = {item["metadata"]["uid"] for item in now.values()}
        for thing in self.there.values():
            if thing["metadata"]["uid"] not in uids:
                self._note_gone(thing)
        self.there, self.version, self.trouble, self.is_old = now, version, "", False

    def apply(self, event: Json) -> None:
        thing, metadata = event["object"], event["object"]["metadata"]
        self.version = metadata["resourceVersion"]
        self.trouble = ""
        if event["type"] in ("ADDED", "MODIFIED"):
            self.there[metadata["name"]] = _slim(thing)
        elif event["type"] == "DELETED":
            self.there.pop(metadata["name"], None)
            self._note_gone(_slim(thing))

    def _note_gone(self, thing: Json) -> None:
        self.gone[thing["metadata"]["uid"]] = thing | {"gone": True}


class Inventory:
    """The Jobs and pods that a selector selects."""

    def __init__(self, api: Api, selector: str) -> None:
        self._api, self._selector = api, selector
        self._lock = threading.Lock()
        self._kinds = {kind: _Known() for kind in KINDS}
        self._threads: dict[str, threading.Thread] = {}
        self._is_closed = threading.Event()
        self._asked_for: set[str] = set()

    def look(self) -> list[tuple[Json, list[Json]]]:
        """Return all Jobs, also deleted ones that were seen before, each with its pods from the oldest to the newest.

        Raises:
            Away: the API server does not answer, or refuses.
        """
        for name, kind in self._kinds.items():
            if kind.is_old or kind.trouble or not self._is_watched(name):
                self._list(name)
        if not self._threads:
            self._follow()
        if self._lacks_an_end():
            self._list("pods")
        with self._lock:
            return self._joined()

    def note(self, job: Json) -> None:
        """Take over a Job that was just created."""
        with self._lock:
            self._kinds["jobs"].there.setdefault(job["metadata"]["name"], _slim(job))

    def close(self) -> None:
        """End the watches. Python aborts if it ends while a thread is in foreign code, such as that of the client."""
        self._is_closed.set()
        self._api.end_watches()
        for thread in self._threads.values():
            thread.join(CLOSE_SECONDS)

    def doubt(self) -> None:
        """List before the next answer: another call has failed."""
        for kind in self._kinds.values():
            kind.is_old = True

    def _joined(self) -> list[tuple[Json, list[Json]]]:
        jobs, pods = (self._kinds[kind] for kind in KINDS)
        of_job: dict[str, list[Json]] = {}
        for pod in (*pods.gone.values(), *pods.there.values()):
            of_job.setdefault(pod["metadata"].get("labels", {}).get(_JOB_OF_A_POD, ""), []).append(pod)
        known = {thing["metadata"]["name"]: thing for thing in jobs.gone.values()} | jobs.there
        return [(job, sorted(of_job.get(name, []), key=_age)) for name, job in known.items()]

    def _lacks_an_end(self) -> bool:
        """True if a Job has failed, but the end of its pod is not known: the two watches are not in step. True once for each Job."""
        with self._lock:
            lacking = {job["metadata"]["uid"] for job, pods in self._joined() if _has_failed(job) and not (pods and _has_ended(pods[-1]))}
        is_news = not lacking <= self._asked_for
        self._asked_for |= lacking
        return is_news

    def _list(self, name: str) -> None:
        try:
            items, version = self._api.listed(name, self._selector)
        except Refused as refusal:
            raise Away(str(refusal)) from None
        with self._lock:
            self._kinds[name].replace(items, version)

    def _follow(self) -> None:
        atexit.register(self.close)
        for name in KINDS:
            thread = threading.Thread(target=self._watch, args=(name,), name=f"wkpipe-watch-{name}", daemon=True)
            self._threads[name] = thread
            thread.start()

    def _is_watched(self, name: str) -> bool:
        return name in self._threads and self._threads[name].is_alive()

    def _watch(self, name: str) -> None:
        """Follow a watch until `close`."""
        kind = self._kinds[name]
        while not self._is_closed.is_set():
            try:
                self._follow_once(name, kind)
            except (Away, Refused) as reason:
                kind.trouble = str(reason)
                self._is_closed.wait(PAUSE_SECONDS)

    def _follow_once(self, name: str, kind: _Known) -> None:
        try:
            for event in self._api.watched(name, self._selector, kind.version):
                with self._lock:
                    kind.apply(event)
        except TooOld:
            self._list(name)


def _slim(thing: Json) -> Json:
    """Return an object without what nobody reads: thousands are kept."""
    kept = ("name", "uid", "labels", "annotations", "creationTimestamp", "deletionTimestamp")
    metadata = {key: value for key, value in thing["metadata"].items() if key in kept}
    spec = {key: value for key, value in thing.get("spec", {}).items() if key == "nodeName"}
    return {"metadata": metadata, "spec": spec, "status": thing.get("status", {})}


def _has_failed(job: Json) -> bool:
    return any(each["type"] == "Failed" and each["status"] == "True" for each in job["status"].get("conditions") or [])


def _has_ended(pod: Json) -> bool:
    return pod.get("gone", False) or pod["status"].get("phase") in ("Succeeded", "Failed")


def _age(pod: Json) -> tuple[str, bool]:
    return pod["metadata"].get("creationTimestamp", ""), not pod.get("gone", False)
