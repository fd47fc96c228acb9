"""The contract of backends as tests: the tests of a backend inherit `BackendContract` and say how to get one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wkpipe.cluster.backend import Away, Backend, Cause, Phase, Refused, Request, Submission
from wkpipe.cluster.resources import JobResources
from wkpipe.runs.job_note import JOB_ID_VARIABLE
from wkpipe.storage import disk
from wkpipe.storage.seal import VARIABLE


class BackendContract:
    """The contract of every backend. A subclass gives `backend`, a `directory` that jobs can see, and the values of its cluster."""

    REQUEST = Request(cpus=1, memory_mib=50, minutes=1)
    IMPOSSIBLE = Request(cpus=10_000)
    PATIENCE = 300.0
    MOST_CALLS_OF_TWO_LOOKS = 2

    def backend(self) -> Backend:
        """Return the cluster, as a new object that has submitted nothing."""
        raise NotImplementedError

    def directory(self) -> Path:
        """Return an empty directory."""
        raise NotImplementedError

    def take_away(self) -> None:
        """Make the cluster stop answering."""
        raise NotImplementedError

    def bring_back(self) -> None:
        """Make the cluster answer again."""
        raise NotImplementedError

    def test_a_script_runs_where_and_as_it_is_to(self) -> None:
        directory, log = self.directory(), self.directory() / "a log.txt"
        disk.note(log, "before\n")
        script = f'#!/bin/bash\npwd -P\necho "error" >&2\necho "secret ${VARIABLE}"\necho "id ${JOB_ID_VARIABLE}"\n'
        with _environment(**{VARIABLE: "handed on"}):
            id_ = self.backend().submit(self._job("one", script))
        assert id_
        self._await_end("one")
        lines = log.read_text().splitlines()
        assert lines[0] == "before"
        assert {str(directory.resolve()), "error", "secret handed on", f"id {id_}"} <= set(lines)

    def test_jobs_are_found_by_the_beginning_of_their_names(self) -> None:
        backend = self.backend()
        ids = [backend.submit(self._long_job(name)) for name in ("ab.1", "ab.2", "a.3")]
        other = self.backend()
        try:
            assert {seen.id for seen in other.jobs(self._name("ab"))} == set(ids[:2])
            assert {seen.name for seen in other.jobs(self._name(""))} == {self._name(name) for name in ("ab.1", "ab.2", "a.3")}
            assert all(seen.is_live for seen in other.jobs(self._name("")))
            assert other.jobs(self._name("c")) == []
        finally:
            other.cancel(ids)
            self._await_end("")

    def test_how_a_job_ended_is_seen(self) -> None:
        backend = self.backend()
        ids = {name: backend.submit(self._job(name, f"#!/bin/bash\nexit {code}\n")) for name, code in (("good", 0), ("bad", 3))}
        self._await_end("")
        ends = {seen.id: seen.phase for seen in backend.jobs(self._name(""))}
        assert ends.get(ids["good"], Phase.DONE) is Phase.DONE  # it may be forgotten already
        assert ends.get(ids["bad"], Phase.FAILED) is Phase.FAILED

    def test_a_cancelled_job_ends_and_says_so(self) -> None:
        backend = self.backend()
        id_ = backend.submit(self._long_job("long"))
        backend.cancel([id_])
        self._await_end("long")
        assert [seen.cause for seen in backend.jobs(self._name("long")) if seen.id == id_] in ([Cause.CANCELLED], [])
        backend.cancel([id_])
        backend.cancel([])

    def test_accounting_says_nothing_or_something_true(self) -> None:
        backend = self.backend()
        assert backend.used([]) == {}
        id_ = backend.submit(self._job("short", "#!/bin/bash\ntrue\n"))
        self._await_end("short")
        assert set(backend.used([id_])) <= {id_}

    def test_limits_are_those_of_a_real_node(self) -> None:
        limits = self.backend().limits(JobResources())
        assert limits is None or (limits.cpus >= 1 and limits.memory_mib >= 1 and (limits.minutes is None or limits.minutes >= 1))

    def test_what_cannot_be_had_is_refused(self) -> None:
        with _raises(Refused) as refusal:
            self.backend().submit(self._job("impossible", "#!/bin/bash\ntrue\n", self.IMPOSSIBLE))
        assert str(refusal[0])
        assert self.backend().jobs(self._name("impossible")) == []

    def test_it_may_be_away(self) -> None:
        backend = self.backend()
        id_ = backend.submit(self._long_job("survivor"))
        self.take_away()
        try:
            for call in (lambda: backend.submit(self._job("away", "#!/bin/bash\ntrue\n")), lambda: backend.jobs(self._name(""))):
                with _raises(Away):
                    call()
            with _raises(Away):
                backend.cancel([id_])
            with _raises(Away):
                backend.limits(JobResources())
            assert backend.used([id_]) == {}
        finally:
            self.bring_back()
        assert [seen.id for seen in backend.jobs(self._name("survivor")) if seen.is_live] == [id_]
        backend.cancel([id_])
        self._await_end("")

    def test_calls_are_counted(self) -> None:
        backend = self.backend()
        backend.jobs(self._name(""))
        backend.jobs(self._name(""))
        assert 1 <= sum(backend.calls.values()) <= self.MOST_CALLS_OF_TWO_LOOKS

    # -- helpers ------------------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        place = hashlib.sha256(os.fsencode(self.directory())).hexdigest()[:10]
        return f"wkpipe-{place}-contract-1.{name}"

    def _job(self, name: str, script: str, request: Request | None = None) -> Submission:
        directory = self.directory()
        return Submission(self._name(name), script, directory, directory / "a log.txt", request or self.REQUEST)

    def _long_job(self, name: str) -> Submission:
        """Return a job that is still live when the test looks at it, however slow the cluster is."""
        return self._job(name, "#!/bin/bash\nsleep 1000\n", replace(self.REQUEST, minutes=20))

    def _await_end(self, prefix: str) -> None:
        end = time.monotonic() + self.PATIENCE
        while any(seen.is_live for seen in self.backend().jobs(self._name(prefix))):
            assert time.monotonic() < end, f"still live after {self.PATIENCE:g} s"
            time.sleep(0.2)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _raises(kind: type[Exception]) -> Iterator[list[Exception]]:
    """Expect an error, as `pytest.raises` does; wkpipe does not depend on pytest."""
    caught: list[Exception] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
    assert caught, f"{kind.__name__} was not raised"
