"""The policy for every cluster: records decide, killed jobs are tried again with more, and no job is forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wkpipe.cluster.backend import Cause, Limits, Outlook, Phase, Request, Submission
from wkpipe.cluster.job import ClusterJob
from wkpipe.cluster.local_cluster import LocalCluster
from wkpipe.cluster.news import ClusterNews, job_events
from wkpipe.cluster.orphans import prefix_of
from wkpipe.cluster.records import TaskRecords
from wkpipe.cluster.watch import Watch
from wkpipe.runs.job_note import error_note

POLL = 0.2
LATENCY = 0.6
DONE = "touch results/{task}"
BEGIN = 'echo \'{{"task": "{task}"}}\' > jobs/{task}.json; echo >> begun'
WAIT = "until [ -e go ]; do sleep 0.05; done"


class Rig:
    """A run with its own cluster."""

    def __init__(self, directory: Path) -> None:
        self.inside = directory / "dataset" / ".wkpipe"
        self.run = self.inside / "runs" / "abc"
        for name in ("results", "jobs"):
            (self.run / name).mkdir(parents=True)
        self.cluster = LocalCluster(directory / "cluster")
        self.said: list[str] = []
        self.settled: dict[str, str] = {}
        self.watch = self.another_watch(self.run)

    def another_watch(self, run: Path) -> Watch:
        cluster = LocalCluster(self.cluster.directory, self.cluster.faults, self.cluster.most)
        return Watch(cluster, run, self.inside, run, LATENCY, self.said.append, poll=POLL)

    def add(self, task: str, *lines: str, memory: int = 100, need: int = 100, minutes: int = 10) -> None:
        script = "#!/bin/bash\n" + "\n".join(line.format(task=task) for line in lines) + "\n"
        records = TaskRecords(self.run, task, self.run / "convert" / f"{task}.done")
        self.watch.add(ClusterJob(task, script, self.run / "logs" / f"{task}.log", records, need, Request(1, memory, minutes)))

    def tick(self) -> None:
        self.settled |= {job.name: error for job, error in self.watch.tick()}
        time.sleep(0.02)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.said, self.settled)
            self.tick()

    def ends(self, *tasks: str) -> list[str]:
        """Wait for the end of tasks, and return their errors."""
        self.until(lambda: set(tasks) <= self.settled.keys())
        return [self.settled[task] for task in tasks]

    def live(self, run: Path | None = None) -> list[str]:
        return [seen.id for seen in self.cluster.jobs(prefix_of(self.inside, run or self.run)) if seen.is_live]

    def kill_one(self, cause: Cause | None) -> None:
        """Kill the live job once its process has begun."""
        begun = self.run / "begun"
        self.until(lambda: len(self.live()) == 1 and begun.exists() and len(begun.read_text()) == len(self.cluster.requests()))
        self.cluster.kill(self.live()[0], cause)

    def events(self) -> list[dict[str, Any]]:
        return job_events(self.run, self.cluster.key)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_record_decides_whatever_the_exit_code(rig: Rig) -> None:
    rig.add("a", BEGIN, DONE, "exit 1")
    rig.add("b", BEGIN, DONE)
    assert rig.ends("a", "b") == ["", ""]
    assert [event["event"] for event in rig.events()].count("done") == 2
    assert ClusterNews(rig.run, rig.cluster.key).status()["calls"]["submit"] == 2
    assert rig.watch.is_idle


def test_an_own_error_is_final(rig: Rig) -> None:
    note = json.dumps({"task": "a", "exit_code": 3, "message": "no such image", "is_final": True})
    (rig.run / "errors").mkdir()
    rig.add("a", "echo '" + note.replace("{", "{{").replace("}", "}}") + "' > errors/a.json", "exit 3")
    assert rig.ends("a") == ["no such image"]
    assert len(rig.cluster.requests()) == 1


@pytest.mark.parametrize(
    "cause, second",
    [
        (Cause.MEMORY, (200, 10)),
        (Cause.TIME, (100, 20)),
        (None, (200, 20)),
        (Cause.NODE, (100, 10)),
        (Cause.PREEMPTED, (100, 10)),
        (Cause.REMOVED, (100, 10)),
    ],
)
def test_a_killed_job_is_tried_again_with_more_of_what_was_short(rig: Rig, cause: Cause | None, second: tuple[int, int]) -> None:
    rig.add("a", BEGIN, WAIT, DONE)
    rig.kill_one(cause)
    rig.until(lambda: len(rig.cluster.requests()) == 2)
    (rig.run / "go").touch()
    assert rig.ends("a") == [""]
    assert rig.cluster.requests() == [(100, 10), second]
    assert any("it is tried again with" in text for text in rig.said)


def test_three_tries_and_no_more(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT)
    for _ in range(3):
        rig.kill_one(Cause.MEMORY)
        killed = len(rig.cluster.requests())
        rig.until(lambda: len(rig.cluster.requests()) > killed or "a" in rig.settled)  # noqa: B023
    (error,) = rig.ends("a")
    assert "ran out of memory, with 400 MiB" in error
    assert "this was try 3 of 3" in error
    assert error_note(rig.run, "a")["message"] == error


def test_no_more_than_the_cluster_has(rig: Rig) -> None:
    rig.cluster.most = Limits(memory_mib=120, cpus=8, minutes=None)
    rig.watch = rig.another_watch(rig.run)
    rig.add("a", BEGIN, WAIT)
    for _ in range(2):
        rig.kill_one(Cause.MEMORY)
        killed = len(rig.cluster.requests())
        rig.until(lambda: len(rig.cluster.requests()) > killed or "a" in rig.settled)  # noqa: B023
    assert "the queue has no more" in rig.ends("a")[0]
    assert rig.cluster.requests() == [(100, 10), (120, 10)]


def test_what_is_short_of_its_need_shows_that_memory_is_enforced(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT, DONE, memory=10, need=300)
    rig.kill_one(Cause.MEMORY)
    rig.until(lambda: any("memory is enforced here" in text for text in rig.said))
    rig.add("b", DONE, memory=10, need=200)
    (rig.run / "go").touch()
    assert rig.ends("a", "b") == ["", ""]
    assert [memory for memory, _ in rig.cluster.requests()] == [10, 300, 200]


def test_what_somebody_cancels_stays_cancelled(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT)
    rig.kill_one(Cause.CANCELLED)
    assert "was cancelled" in rig.ends("a")[0]
    assert len(rig.cluster.requests()) == 1


@pytest.mark.parametrize("cause", [Cause.ERROR, Cause.DEADLINE])
def test_what_only_the_cluster_knows_is_noted(rig: Rig, cause: Cause) -> None:
    """The job itself has recorded nothing, and no other try would end otherwise."""
    rig.add("a", BEGIN, WAIT)
    rig.kill_one(cause)
    (error,) = rig.ends("a")
    assert cause.value in error
    assert error_note(rig.run, "a")["message"] == error
    assert len(rig.cluster.requests()) == 1


def test_the_log_says_what_the_cluster_does_not(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT, DONE)
    rig.until(lambda: (rig.run / "jobs" / "a.json").exists())
    rig.cluster.kill(rig.live()[0], Cause.TIME, log=rig.run / "logs" / "a.log")
    rig.until(lambda: len(rig.cluster.requests()) == 2)
    (rig.run / "go").touch()
    assert rig.ends("a") == [""]
    assert rig.cluster.requests()[1] == (100, 20)


def test_a_lost_answer_is_not_a_second_job(rig: Rig) -> None:
    rig.cluster.faults.lost_answers = 1
    rig.add("a", BEGIN, WAIT, DONE)
    rig.until(lambda: any("answers again" in text for text in rig.said))
    (rig.run / "go").touch()
    assert rig.ends("a") == [""]
    assert len(rig.cluster.requests()) == 1


def test_a_cluster_that_is_away_is_waited_for(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT, DONE)
    rig.until(lambda: (rig.run / "jobs" / "a.json").exists())
    rig.cluster.faults.is_away = True
    rig.add("b", DONE)
    rig.until(lambda: any("does not answer" in text for text in rig.said))
    (rig.run / "go").touch()
    assert rig.ends("a") == [""], "its record is enough"
    rig.cluster.faults.is_away = False
    assert rig.ends("b") == [""]
    assert any("answers again" in text for text in rig.said)


def test_a_full_cluster_gets_the_rest_as_jobs_end(rig: Rig) -> None:
    rig.cluster.faults.most_jobs = 2
    tasks = [f"t{number}" for number in range(6)]
    for task in tasks:
        rig.add(task, "sleep 0.2", DONE)
    assert set(rig.ends(*tasks)) == {""}
    assert sum("takes no more jobs at once" in text for text in rig.said) == 1
    assert not any("does not answer" in text for text in rig.said)


def test_what_is_refused_is_refused_for_all_like_it(rig: Rig) -> None:
    def refusal(job: Submission) -> str:
        return "no such account" if job.request.memory_mib == 100 else ""

    rig.cluster.faults.refusal = refusal
    for task in ("a", "b", "c"):
        rig.add(task, DONE)
    rig.add("d", DONE, memory=50)
    errors = rig.ends("a", "b", "c", "d")
    assert all("refuses the job: no such account; change --job-resources" in error for error in errors[:3])
    assert errors[3] == ""
    assert rig.watch.backend.calls["submit"] == 2


@pytest.mark.parametrize("outlook, tries", [(Outlook.NEVER, 1), (Outlook.HELD, 3)])
def test_what_cannot_start_is_given_up(rig: Rig, outlook: Outlook, tries: int) -> None:
    rig.cluster.faults.held = lambda _: ("BadReason", outlook)
    rig.add("a", DONE)
    (error,) = rig.ends("a")
    assert "BadReason" in error
    assert len(rig.cluster.requests()) == tries
    assert not rig.live()


def test_an_odd_reason_is_said_once(rig: Rig) -> None:
    rig.cluster.faults.held = lambda _: ("QuotaReached", Outlook.ODD)
    rig.add("a", DONE)
    rig.add("b", DONE)
    rig.until(lambda: any("is pending: QuotaReached" in text for text in rig.said))
    for _ in range(20):
        rig.tick()
    assert sum("QuotaReached" in text for text in rig.said) == 1
    assert rig.watch.cancel() == 2


def test_jobs_that_never_begin_stop_all_others(rig: Rig) -> None:
    rig.add("a", "echo no module named python >&2", "exit 3")
    errors = rig.ends("a")
    rig.add("b", DONE)
    errors += rig.ends("b")
    assert "could not start: no module named python" in errors[0]
    assert errors[0] == errors[1]
    assert len(rig.cluster.requests()) == 1


@pytest.mark.parametrize("has_accounting", [True, False])
def test_no_job_is_forgotten_when_the_cluster_forgets_it(rig: Rig, has_accounting: bool) -> None:
    rig.cluster.faults.forgets, rig.cluster.faults.has_accounting = True, has_accounting
    rig.add("a", BEGIN, WAIT, DONE)
    rig.kill_one(Cause.MEMORY)
    rig.until(lambda: len(rig.cluster.requests()) == 2)
    (rig.run / "go").touch()
    assert rig.ends("a") == [""]
    # Without accounting, the cause is unknown: the next try has more of everything.
    assert rig.cluster.requests()[1] == ((200, 10) if has_accounting else (200, 20))


def test_a_job_that_ends_well_without_a_record_is_lost(rig: Rig) -> None:
    rig.add("a", BEGIN)
    assert f"left no result within {LATENCY:g} s" in rig.ends("a")[0]


def test_jobs_of_an_earlier_run_are_cancelled_by_their_names(rig: Rig) -> None:
    older = rig.inside / "runs" / "old"
    (older / "jobs").mkdir(parents=True)
    first, rig.watch = rig.watch, rig.another_watch(older)
    rig.add("a", WAIT)
    rig.until(lambda: len(rig.live(older)) == 1)
    rig.watch = first
    rig.add("b", DONE)
    assert rig.ends("b") == [""]
    assert rig.live(older) == []
    assert "cancelled 1 LocalCluster job of an earlier run" in rig.said


def test_a_stop_cancels_what_was_submitted_and_nothing_else(rig: Rig) -> None:
    rig.add("a", BEGIN, WAIT)
    rig.until(lambda: len(rig.live()) == 1)
    rig.watch.stop()
    rig.add("b", DONE)
    rig.tick()
    assert rig.watch.cancel() == 1
    assert rig.live() == []
    assert len(rig.cluster.requests()) == 1


def test_a_job_in_the_queue_again_is_said(rig: Rig) -> None:
    """Only its phase changes: it keeps its id, and is not submitted again."""
    rig.add("a", BEGIN, WAIT, DONE)
    rig.until(lambda: len(rig.live()) == 1)
    (job,) = rig.watch._jobs.values()
    rig.until(lambda: job.phase is Phase.RUNNING)
    held = json.loads((rig.cluster.directory / "1.json").read_text()) | {"reason": "BeginTime", "outlook": "USUAL"}
    (rig.cluster.directory / "1.json").write_text(json.dumps(held))
    rig.until(lambda: any("into the queue again (BeginTime)" in text for text in rig.said))
    (rig.run / "go").touch()
    assert rig.ends("a") == [""]
    assert len(rig.cluster.requests()) == 1
