"""Helpers for tests of uploads: a small dataset, the enforcing server with planned faults, and quick retries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.server.wk_server import Entry, WkServer
from wkpipe.errors import Interrupted, WkpipeError
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token
from wkpipe.server.upload.uploading import Progress, Uploaded, UploadRequest, select_files, status, upload

SECRET = "sEcReT-token-0123456789"

FAST = Policy(
    first_pause=0.01, longest_pause=0.05, without_progress=2.0, notify=0.2, idle=10.0, settle=0.05, finish=10.0,
    verify_pauses=(0.02, 0.05), verify_stuck=0.3, verify=2.0, usable=0.3,
)  # fmt: skip
"""The same rules in less time, for uploads that end in an error."""

STEADY = replace(FAST, without_progress=100.0, idle=60.0, finish=60.0, verify_stuck=2.0, verify=100.0, usable=60.0)
"""For uploads that succeed: even on a busy machine, the client neither gives up early nor asks again."""

IMPATIENT = replace(STEADY, idle=2.0, finish=2.0)
"""For servers that do not answer."""

PROGRAM = """
import json, sys
from wkpipe.cli.main import main
from wkpipe.server.http import policy
Policy, values = policy.Policy, json.loads(sys.argv.pop(1))
policy.Policy = lambda: Policy(**{**values, "verify_pauses": tuple(values["verify_pauses"])})
main()
"""
"""The command line, with another policy by default."""


class Recorder(Progress):
    """Records all reports; calls `then` once, when `after` bytes are sent, or when a text begins with `at`."""

    def __init__(self, after: int | None = None, at: str | None = None, then: Callable[[], object] = lambda: None) -> None:
        self.notices: list[str] = []
        self.texts: list[str] = []
        self.troubles: list[str] = []
        self.most_moved = 0
        self._after, self._at, self._then = after, at, then

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def doing(self, text: str) -> None:
        self.texts.append(text)
        if self._at is not None and text.startswith(self._at):
            self._at = None
            self._then()

    def trouble(self, text: str) -> None:
        self.troubles.append(text)

    def moved(self, done: int, total: int) -> None:
        self.most_moved = max(self.most_moved, done)
        assert 0 <= done <= total
        if self._after is not None and done >= self._after:
            self._after = None
            self._then()


class Stage:
    """A dataset, a server, and actions on both."""

    def __init__(self, dataset: Path, server: WkServer) -> None:
        self.dataset = dataset
        self.server = server
        self.token = Token(SECRET)
        self.folders = {path: server.add_folder(path).id for path in ("A", "A/B")}
        server.add_folder("locked", is_editable=False)
        self.root_folder = server.state.root.name

    # -- the client -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.server.url

    def request(self, **more: Any) -> UploadRequest:
        return replace(UploadRequest(self.dataset, self.dataset / ".wkpipe", self.url, "my_data", chunk_bytes=2000), **more)

    def upload(self, progress: Progress | None = None, policy: Policy = STEADY, **more: Any) -> Uploaded:
        return upload(self.request(**more), self.token, progress, policy)

    def succeeds(self, progress: Progress | None = None, policy: Policy = STEADY, **more: Any) -> set[str]:
        """Upload, check that the server has exactly the files to send, byte by byte, and return their paths."""
        expected = {file.path: file.content or (self.dataset / file.path).read_bytes() for file in select_files(self.request(**more)).files}
        uploaded = self.upload(progress, policy, **more)
        found = self.server.tree(uploaded.dataset_id)
        assert found == expected
        assert uploaded.url == f"{self.url}/datasets/{uploaded.dataset_id}"
        done = status(self.request(**{**more, "again": False}))
        assert done is not None
        assert (done.state, done.bytes_done) == ("done", done.bytes_total)
        assert done.upload_id not in self.server.state.uploads
        self.check()
        return set(found)

    def resumes(self, resent: int = 0, **more: Any) -> None:
        """Resume the upload under the same id; at most `resent` chunks that the server has are sent again."""
        before = status(self.request(**more))
        assert before is not None
        (running,) = [each for each in self.server.state.uploads.values() if each.id == before.upload_id]
        there = {f"{running.id}/{path}#{number}" for path, file in running.files.items() for number in file.received}
        assert there
        count, rows = len(self.server.log), self.rows()
        self.succeeds(**more)
        sent = [entry.subject for entry in self.server.log[count:] if entry.route == "chunk"]
        assert len(there & set(sent)) <= resent
        assert "reserve" not in [entry.route for entry in self.server.log[count:]]
        assert self.rows() == rows

    def refused(self, kind: type[WkpipeError], pattern: str, **more: Any) -> str:
        """Check that an upload fails with this error, in one line without the token; return the text."""
        with pytest.raises(kind, match=pattern) as found:
            self.upload(**{"policy": FAST, **more})
        assert type(found.value) is kind or issubclass(type(found.value), kind)
        text = str(found.value)
        assert "\n" not in text
        assert SECRET not in "".join(traceback.TracebackException.from_exception(found.value, capture_locals=True).format())
        self.check()
        return text

    def check(self) -> None:
        """Check that the client kept the server's rules, and that the token is stored nowhere."""
        self.server.check()
        for path in (self.dataset / ".wkpipe").rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path

    def command(self, *more: str, name: str = "my_data") -> list[str]:
        values = json.dumps(vars(STEADY))
        arguments = ["upload", str(self.dataset), "--webknossos-url", self.url, "--dataset-name", name, "--chunk-size", "2000", *more]
        return [sys.executable, "-c", PROGRAM, values, *arguments]

    # -- the dataset ------------------------------------------------------------------------------------------------

    def files(self) -> list[Path]:
        return [self.dataset / file.path for file in select_files(self.request()).files]

    def size(self) -> int:
        return select_files(self.request()).size

    def big_file(self, size: int) -> str:
        path = self.dataset / "color/1/zz_big"
        path.write_bytes(os.urandom(size))
        return "color/1/zz_big"

    # -- the server -------------------------------------------------------------------------------------------------

    def fail(self, route: str, **fault: Any) -> None:
        self.server.fault(route, **fault)

    def clear_faults(self) -> None:
        self.server.faults.clear()

    def entries(self, route: str) -> list[Entry]:
        return self.server.requests(route)

    def count(self, route: str) -> int:
        return len(self.entries(route))

    def routes(self) -> list[str]:
        return [entry.route for entry in self.server.log]

    def count_at(self, origin: str) -> int:
        return len([entry for entry in self.server.log if entry.origin == origin])

    def rows(self) -> int:
        return len(self.server.datasets)

    def wait_for(self, route: str, count: int) -> None:
        _wait_until(lambda: self.count(route) >= count)

    def restart(self, seconds: float = 0.3) -> None:
        """Stop the datastore and start it again."""
        self.server.stop_datastore()
        time.sleep(seconds)
        self.server.start_datastore()

    def forget_uploads(self) -> None:
        """Make the server forget its uploads, as if they were cancelled in the browser."""
        with self.server.state.lock:
            for running in self.server.state.uploads.values():
                del self.server.state.datasets[running.dataset.id]
            self.server.state.uploads.clear()

    def lose_chunks(self, count: int) -> list[str]:
        """Make the server lose chunks that it has accepted; return their names."""
        (running,) = self.server.state.uploads.values()
        lost = []
        for path, file in [each for each in running.files.items() if each[1].total_chunks == 1][:count]:
            number = file.received.pop()
            lost.append(f"{running.id}/{path}#{number}")
            (running.directory / path).write_bytes(b"")
        return lost

    def folder_of(self, dataset_id: str) -> str:
        return self.server.state.datasets[dataset_id].folder

    def wait_until_finished(self) -> None:
        _wait_until(lambda: any(dataset.properties is not None for dataset in self.server.datasets))


def _wait_until(condition: Callable[[], bool], seconds: float = 200.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def program(stage: Stage, *more: str, **policy: float) -> subprocess.Popen[str]:
    """Start the command in its own process."""
    command = stage.command(*more)
    command[3] = json.dumps({**json.loads(command[3]), **policy})
    environment = {**os.environ, "WK_TOKEN": SECRET}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process; return its exit code and output, which does not contain the token."""
    out, err = process.communicate(timeout=500)
    assert SECRET not in out + err
    return process.returncode, out, err


@contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Raise Interrupted in the main thread as soon as a condition is true, like the signal handlers of a command."""

    def interrupt(*_: object) -> None:
        raise Interrupted("stopped")

    before = signal.signal(signal.SIGUSR1, interrupt)
    is_over = threading.Event()

    def watch() -> None:
        while not condition():
            if is_over.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGUSR1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, before)


def write_chunk_files(directory: Path, count: int, size: int = 300) -> None:
    """Write many small files, a thousand in a directory."""
    for i in range(count):
        path = directory / str(i // 1000) / str(i % 1000)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
