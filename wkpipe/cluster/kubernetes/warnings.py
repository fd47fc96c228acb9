"""Why Jobs get no pod, and pods no container: the events of the cluster say it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from wkpipe.cluster.kubernetes.api import Api
from wkpipe.errors import one_line

Json = dict[str, Any]

PATIENCE_SECONDS: Final = 10.0
"""What has waited for this long without a reason is looked up in the events, and again after this time."""


class Warnings:
    """The warnings about Jobs without pods, and about pods that a node has taken but does not start."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._since: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._about_pods: dict[str, str] = {}

    def of(self, found: Iterable[tuple[Json, Sequence[Json]]]) -> Mapping[str, str]:
        """Return what is said about Jobs that have waited for a while, by their names; `found` are all Jobs with their pods."""
        now = time.monotonic()
        podless, preparing = [], {}
        for job, pods in found:
            name = job["metadata"]["name"]
            if not pods and not job["status"].get("conditions"):
                podless.append(name)
            elif pods and _is_prepared(pods[-1]):
                preparing[name] = pods[-1]
        self._since = {name: self._since.get(name, now) for name in (*podless, *preparing)}
        late = [name for name, since in self._since.items() if now - since >= PATIENCE_SECONDS]
        self._about_pods = {name: text for name, text in self._about_pods.items() if name in preparing}
        self._ask_about_one([name for name in late if name in preparing], preparing, now)
        return self._about_pods | (self._about_jobs() if any(name in podless for name in late) else {})

    def _about_jobs(self) -> dict[str, str]:
        events = self._api.events("reason=FailedCreate")
        return {event["involvedObject"]["name"]: _gist(event.get("message", "")) for event in events}

    def _ask_about_one(self, late: Sequence[str], pods: Mapping[str, Json], now: float) -> None:
        """Ask about the pod that was asked about least recently: what holds thousands of pods up is the same for all."""
        self._asked = {name: asked for name, asked in self._asked.items() if name in pods}
        if not late or now - max(self._asked.values(), default=-PATIENCE_SECONDS) < PATIENCE_SECONDS:
            return
        name = min(late, key=lambda each: self._asked.get(each, 0.0))
        self._asked[name] = now
        events = self._api.events(f"involvedObject.uid={pods[name]['metadata']['uid']}")
        newest = max(events, key=_time, default={})  # a volume that was mounted late is followed by the pull of the image
        self._about_pods.pop(name, None)
        if newest.get("type") == "Warning":
            self._about_pods[name] = one_line(newest.get("message", ""), 300)


def _is_prepared(pod: Json) -> bool:
    """True if a node prepares a pod, and says nothing about it: it mounts volumes, makes a network, or pulls the image."""
    status = pod["status"]
    if pod.get("gone") or status.get("phase") != "Pending" or not pod["spec"].get("nodeName"):
        return False
    states = [each.get("state", {}).get("waiting", {}).get("reason") for each in status.get("containerStatuses") or []]
    return states in ([], ["ContainerCreating"])


def _time(event: Json) -> str:
    return event.get("lastTimestamp") or (event.get("series") or {}).get("lastObservedTime") or event.get("eventTime") or ""


def _gist(message: str) -> str:
    """Return what an event says about a pod that could not be created, without what differs from pod to pod and from time to time."""
    return one_line(re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?|, used: .*(?=, limited: )', "", message), 300)
