"""Helpers for tests of uploads by the workflow: commands whose processes are watched, their phases, and the server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.server.wk_server.server import WkServer
from tests.workflow.workflow_helpers import data_files

TOKEN = "a-secret-that-nobody-sees"
SHARDS = ("--shard-shape", "64,64,64")


WAITS_TO_CLEAN_UP = """
import signal
from wkpipe.cli import remote_convert
remote_convert.clean_up = lambda *_: signal.pause()
"""


class Server:
    """The test server for these tests; chunks take a while, so that a run can be interrupted during its upload."""

    def __init__(self, wk: WkServer) -> None:
        self.wk = wk
        self.url = wk.url
        self.chunk_fault = wk.fault("chunk", delay=0.03, count=None)

    def slow_after(self, chunks: int) -> None:
        """Let some chunks after this number of them take a second, so that a run is still in its upload when it is interrupted."""
        self.chunk_fault.count = chunks
        self.wk.fault("chunk", delay=1.0, count=25)

    @property
    def page(self) -> str:
        """The address of the only dataset."""
        (dataset,) = self.wk.datasets
        return f"{self.url}/datasets/{dataset.id}"

    def trees(self) -> list[dict[str, str]]:
        """Return the hash of every file of arrays, for every usable dataset; there are no others."""
        assert not self.wk.state.uploads
        assert all(dataset.properties is not None for dataset in self.wk.datasets)
        return [data_files(dataset.path) for dataset in self.wk.datasets if dataset.path is not None]

    @property
    def is_done(self) -> bool:
        return any(dataset.properties is not None for dataset in self.wk.datasets)

    @property
    def chunks(self) -> int:
        return len(self.wk.requests("chunk"))

    @property
    def is_finishing(self) -> bool:
        return bool(self.wk.requests("finish"))


@dataclass
class Watch:
    """Searches the environments and arguments of a command's processes for the token while it runs.

    With `only_jobs`, processes that Snakemake starts before it reads the Snakefile do not count: plugins look for clusters.
    """

    root: psutil.Process
    line: str
    only_jobs: bool
    jobs: set[str] = field(default_factory=set)
    leaks: set[str] = field(default_factory=set)
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.01):
            with contextlib.suppress(psutil.Error, OSError):
                for process in self.root.children(recursive=True):
                    with contextlib.suppress(psutil.Error, OSError):
                        line = " ".join(process.cmdline())
                        is_job = "wkpipe step" in line or "step.sh" in line
                        if is_job:
                            self.jobs.add(line)
                        elif self.only_jobs:
                            continue
                        for name in ("cmdline", "environ") if line != self.line else ("environ",):  # a fork has the words of its parent
                            if TOKEN.encode() in Path(f"/proc/{process.pid}/{name}").read_bytes():
                                self.leaks.add(f"{name} of {line}")


@dataclass
class Command:
    """A command that uploads: its words, its directory, and additions to its environment."""

    words: list[str]
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)
    is_snakemake: bool = False
    jobs: set[str] = field(default_factory=set)

    def start(self) -> psutil.Popen:
        return psutil.Popen(
            self.words,
            cwd=self.cwd,
            env=os.environ | {"WK_TOKEN": TOKEN} | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> tuple[int, str, str]:
        """Run it to its end and check that no process that it starts has the token; `jobs` are then the lines of its jobs."""
        process = self.start()
        with Watch(process, " ".join(self.words), self.is_snakemake) as watch:
            out, errors = process.communicate(timeout=500)
        assert not watch.leaks, sorted(watch.leaks)
        self.jobs = watch.jobs
        return process.returncode, out, errors


def waits_to_clean_up(directory: Path) -> dict[str, str]:
    """Return an environment in which `wkpipe remote-convert` waits for ever before it deletes the dataset; the directory is made for it."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(WAITS_TO_CLEAN_UP)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))}


def no_token_in(*places: Path | str) -> None:
    """Check that no file below a directory, and no text, has the token."""
    for place in places:
        if isinstance(place, str):
            assert TOKEN not in place
            continue
        for path in place.rglob("*"):
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path


def files_of(directory: Path, pattern: str) -> int:
    return sum(1 for path in directory.glob(pattern) if path.is_file())


def until(process: psutil.Popen, reached: Callable[[], bool]) -> None:
    """Wait until a condition is true; the process must not end before."""
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def in_phase(phase: str, work: Path, server: Server) -> Callable[[], bool]:
    """Return a function that is true while a run is in the middle of a phase; call it before the run gets there."""
    if phase == "upload":
        server.slow_after(5)
    return {
        "convert": lambda: files_of(work, "*/em/1/c/*/*/*/*") >= 3,
        "downsample": lambda: files_of(work, "*/em/2-2-1/c/*/*/*/*") >= 2,
        "upload": lambda: server.chunks >= 5,
        "finish": lambda: server.is_finishing,
    }[phase]
