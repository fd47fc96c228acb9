"""What the events say about Jobs without pods and about pods that do not start: whom wkpipe asks about, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from wkpipe.cluster.kubernetes import warnings
from wkpipe.cluster.kubernetes.warnings import PATIENCE_SECONDS, Warnings

Json = dict[str, Any]


class Events:
    """The events of a cluster by their selectors, and the questions that were asked."""

    def __init__(self, found: dict[str, list[Json]]) -> None:
        self.found, self.asked = found, list[str]()

    def events(self, selector: str) -> list[Json]:
        self.asked.append(selector)
        return self.found.get(selector, [])


def job(name: str) -> Json:
    return {"metadata": {"name": name}, "status": {}}


def pod(uid: str, reason: str | None = "ContainerCreating", node: str = "n") -> Json:
    statuses = [{"state": {"waiting": {"reason": reason}}}] if reason else []
    return {"metadata": {"uid": uid}, "spec": {"nodeName": node}, "status": {"phase": "Pending", "containerStatuses": statuses}}


def event(kind: str, message: str, time: str, about: str = "") -> Json:
    return {"type": kind, "message": message, "lastTimestamp": time, "involvedObject": {"name": about}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(warnings.time, "monotonic", lambda: now[0])
    return now


def test_a_pod_without_its_volume_is_explained_by_its_newest_event(clock: list[float]) -> None:
    found = [event("Warning", "MountVolume failed:\nno such directory", "T2"), event("Normal", "Scheduled", "T1")]
    events = Events({"involvedObject.uid=u": found})
    looked_up = Warnings(events)  # type: ignore[arg-type]
    assert looked_up.of([(job("a"), [pod("u")])]) == {}
    assert events.asked == []
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of([(job("a"), [pod("u")])]) == {"a": "MountVolume failed: no such directory"}
    clock[0] += 1
    assert looked_up.of([(job("a"), [pod("u")])]) == {"a": "MountVolume failed: no such directory"}
    assert len(events.asked) == 1, "not asked at every look"
    found.append(event("Normal", "Pulling image", "T3"))
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of([(job("a"), [pod("u")])]) == {}


@pytest.mark.parametrize("other", [pod("u", "ImagePullBackOff"), pod("u", node=""), pod("u") | {"gone": True}])
def test_pods_with_a_reason_of_their_own_are_not_asked_about(clock: list[float], other: Json) -> None:
    events = Events({})
    looked_up = Warnings(events)  # type: ignore[arg-type]
    for _ in range(3):
        assert looked_up.of([(job("a"), [other])]) == {}
        clock[0] += PATIENCE_SECONDS
    assert events.asked == []


def test_many_pods_are_asked_about_in_turn(clock: list[float]) -> None:
    events = Events({"involvedObject.uid=v": [event("Warning", "no network", "T1")]})
    looked_up = Warnings(events)  # type: ignore[arg-type]
    both = [(job("a"), [pod("u", None)]), (job("b"), [pod("v", None)])]
    looked_up.of(both)
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of(both) == {}
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of(both) == {"b": "no network"}
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of(both[:1]) == {}, "b has started"
    assert events.asked == [f"involvedObject.uid={uid}" for uid in "uvu"]


def test_a_job_without_a_pod_is_explained_by_the_event_about_the_job(clock: list[float]) -> None:
    message = 'Error creating: pods "a-x1" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    events = Events({"reason=FailedCreate": [event("Warning", message, "T1", about="a")]})
    looked_up = Warnings(events)  # type: ignore[arg-type]
    assert looked_up.of([(job("a"), [])]) == {}
    clock[0] += PATIENCE_SECONDS
    assert looked_up.of([(job("a"), [])]) == {"a": "exceeded quota: q, requested: pods=1, limited: pods=1"}
