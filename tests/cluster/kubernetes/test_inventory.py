"""The list of Jobs and pods is kept up to date, whatever happens to a watch. Only the API server's answers are made up here."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wkpipe.cluster.backend import Away, Refused
from wkpipe.cluster.kubernetes.api import TooOld
from wkpipe.cluster.kubernetes.inventory import Inventory

Json = dict[str, Any]
JOB = "batch.kubernetes.io/job-name"


def job(name: str, uid: str = "u", failed: bool = False) -> Json:
    conditions = [{"type": "Failed", "status": "True"}] if failed else []
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": "9"}, "spec": {"a": 1}, "status": {"conditions": conditions}}


def pod(name: str, of: str, phase: str = "Running", created: str = "1") -> Json:
    metadata = {"name": name, "uid": name, "labels": {JOB: of}, "resourceVersion": "9", "creationTimestamp": created, "managedFields": []}
    return {"metadata": metadata, "spec": {"nodeName": "n", "containers": []}, "status": {"phase": phase}}


class Answers:
    """The answers of an API server; a watch waits for events."""

    def __init__(self, jobs: list[Json], pods: list[Json]) -> None:
        self.there = {"jobs": jobs, "pods": pods}
        self.events: dict[str, queue.Queue[Json | Exception]] = {"jobs": queue.Queue(), "pods": queue.Queue()}
        self.lists: list[str] = []
        self.versions: list[str] = []
        self.refusal: Exception | None = None

    def listed(self, kind: str, selector: str) -> tuple[list[Json], str]:
        self.lists.append(kind)
        if self.refusal:
            raise self.refusal
        return self.there[kind], "7"

    def watched(self, kind: str, selector: str, version: str) -> Iterator[Json]:
        self.versions.append(version)
        while True:
            event = self.events[kind].get()
            if isinstance(event, Exception):
                raise event
            yield event

    def end_watches(self) -> None:
        for events in self.events.values():
            events.put(Away("ended"))

    def happens(self, kind: str, what: str, thing: Json) -> None:
        self.events[kind].put({"type": what, "object": thing})


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def names(inventory: Inventory) -> dict[str, list[str]]:
    return {job["metadata"]["name"]: [pod["metadata"]["name"] for pod in pods] for job, pods in inventory.look()}


def test_one_list_and_then_only_events() -> None:
    answers = Answers([job("a")], [pod("a-1", "a")])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    assert names(inventory) == {"a": ["a-1"]}
    answers.happens("jobs", "ADDED", job("b", "v"))
    answers.happens("pods", "ADDED", pod("b-1", "b"))
    until(lambda: names(inventory) == {"a": ["a-1"], "b": ["b-1"]})
    assert answers.lists == ["jobs", "pods"]
    assert answers.versions == ["7", "7"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watch_that_ends_by_an_unexpected_error_is_replaced_by_lists() -> None:
    answers = Answers([job("a")], [])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    answers.events["jobs"].put(KeyError("KUBECONFIG"))
    until(lambda: bool(inventory.look()) and len(answers.lists) > 2)
    for name in ("b", "c"):
        answers.there["jobs"] = [job(name, name)]
        assert name in names(inventory)
    assert answers.lists.count("pods") == 1


def test_what_was_deleted_is_remembered_as_it_was() -> None:
    answers = Answers([job("a")], [pod("a-1", "a"), pod("a-2", "a", created="2")])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    answers.happens("pods", "DELETED", pod("a-1", "a", "Failed"))
    answers.happens("jobs", "DELETED", job("a"))
    until(lambda: bool(inventory.look()[0][0].get("gone")))
    ((_, pods),) = inventory.look()
    until(lambda: bool(inventory.look()[0][1][0].get("gone")))
    assert [each["status"]["phase"] for each in inventory.look()[0][1]] == ["Failed", "Running"]
    assert pods[0]["spec"] == {"nodeName": "n"}


def test_the_list_is_made_again_if_the_version_is_too_old() -> None:
    answers = Answers([job("a")], [])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    answers.there["jobs"] = [job("b", "v")]
    answers.events["jobs"].put(TooOld())
    until(lambda: names(inventory) == {"a": [], "b": []})
    assert [bool(each.get("gone")) for each, _ in inventory.look()] == [True, False]


@pytest.mark.parametrize("failure", [Away("connection refused"), Refused("forbidden")])
def test_as_long_as_a_watch_fails_each_look_lists(failure: Exception) -> None:
    answers = Answers([job("a")], [])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    answers.events["jobs"].put(failure)
    answers.refusal = failure
    until(lambda: bool(inventory._kinds["jobs"].trouble))
    with pytest.raises(Away, match=str(failure)):
        inventory.look()
    answers.refusal = None
    answers.there["jobs"] = [job("b", "v")]
    assert "b" in names(inventory)


def test_after_another_failed_call_each_look_lists() -> None:
    answers = Answers([job("a")], [])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    inventory.doubt()
    answers.refusal = Away("gone")
    with pytest.raises(Away, match="gone"):
        inventory.look()


def test_closing_ends_the_threads() -> None:
    inventory = Inventory(Answers([job("a")], []), "x=y")  # type: ignore[arg-type]
    inventory.look()
    assert [thread.is_alive() for thread in inventory._threads.values()] == [True, True]
    inventory.close()
    assert [thread.is_alive() for thread in inventory._threads.values()] == [False, False]


def test_a_job_is_known_before_the_watch_tells() -> None:
    inventory = Inventory(Answers([], []), "x=y")  # type: ignore[arg-type]
    assert inventory.look() == []
    inventory.note(job("new"))
    assert names(inventory) == {"new": []}


def test_a_failed_job_whose_pod_is_not_known_to_have_ended_is_looked_at_once_more() -> None:
    """The watch of Jobs may be ahead of that of pods."""
    answers = Answers([job("a")], [pod("a-1", "a")])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    inventory.look()
    answers.there["pods"] = [pod("a-1", "a", "Failed")]
    answers.happens("jobs", "MODIFIED", job("a", failed=True))
    until(lambda: bool(inventory.look()[0][0]["status"]["conditions"]))
    assert inventory.look()[0][1][0]["status"]["phase"] == "Failed"
    assert answers.lists.count("pods") == 2


def test_a_pod_that_never_ends_is_not_listed_for_again() -> None:
    answers = Answers([job("a", failed=True)], [pod("a-1", "a")])
    inventory = Inventory(answers, "x=y")  # type: ignore[arg-type]
    for _ in range(4):
        inventory.look()
    assert answers.lists == ["jobs", "pods", "pods"]
