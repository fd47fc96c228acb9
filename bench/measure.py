"""Measure a command: wall clock and CPU of its process tree, its peak memory, and the writes that it leaves to the system."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

SAMPLES_PER_SECOND: Final = 20
LARGEST_SHARE: Final = 0.5
"""The share of the time that sampling may take."""
LEAST_FREE: Final = 0.04
"""The share of the machine's memory that must stay available: below it, a command is ended before the kernel ends another process."""


@dataclass(frozen=True)
class Measurement:
    """The measurement of one run of a command."""

    wall_s: float
    """The time from the start until the file system is synced after the exit."""
    sync_s: float
    """The part of `wall_s` after the exit."""
    cpu_s: float
    """User and system time of the process and of all descendants that were waited for."""
    peak_memory: int | None
    """Bytes; the largest sum of the proportional set sizes (PSS) of all processes of the tree, at any one sample.

    None if it was not measured: adding up the pages of gigabytes takes a tenth of a second, and delays the process.
    """
    memory_samples: int
    load_before: float
    """The machine's load average (1 minute) before the start."""
    error: str | None
    """Why the command failed; None if it succeeded."""


class MemorySampler(threading.Thread):
    """Adds up the memory of a process tree repeatedly."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.samples = 0
        self._root = psutil.Process(pid)
        self._stopped = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            start = time.perf_counter()
            found = tree_memory(self._root)
            self.peak = max(self.peak, found)
            self.samples += found > 0
            took = time.perf_counter() - start
            pause = max(1 / SAMPLES_PER_SECOND - took, took / LARGEST_SHARE - took)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _tree(root: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []


def tree_memory(root: psutil.Process) -> int:
    """Return the summed PSS of a process and its descendants in bytes; a page that several share counts once in all."""
    total = 0
    for process in _tree(root):
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


def _kill_tree(pid: int) -> None:
    with contextlib.suppress(psutil.Error):
        for process in _tree(psutil.Process(pid)):
            with contextlib.suppress(psutil.Error):
                process.kill()


def sync(directory: Path) -> None:
    """Wait until the directory's file system has written everything to the disk."""
    subprocess.run(["sync", "--file-system", str(directory)], check=True)


def measure(command: Sequence[str], directory: Path, environment: Mapping[str, str], timeout: float, sample: bool) -> Measurement:
    """Run a command in a directory and measure it; a sync before it is not counted, one after it is.

    With `sample`, its memory is measured, which makes it slower.

    Raises:
        OSError: the command cannot be started.
    """
    sync(directory)
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as output:
        cpu = _cpu_of_children()
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler = MemorySampler(process.pid) if sample else None
        if sampler:
            sampler.start()
        stopped = _wait(process, timeout)
        exited = time.perf_counter()
        cpu = _cpu_of_children() - cpu
        if sampler:
            sampler.stop()
        sync_start = time.perf_counter()
        sync(directory)
        synced = time.perf_counter() - sync_start
        error = None if process.returncode == 0 else f"exit code {process.returncode}: {_last_line(output)}"
    error = stopped or error
    peak, samples = (sampler.peak, sampler.samples) if sampler else (None, 0)
    return Measurement(exited - start + synced, synced, cpu, peak, samples, load, error)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> str | None:
    """Wait for a process; return why it was killed (time, memory), or None if it was not."""
    reasons: list[str] = []
    done = threading.Event()

    def watch() -> None:
        end = time.monotonic() + timeout
        while not reasons and not done.wait(0.25):
            memory = psutil.virtual_memory()
            if time.monotonic() > end:
                reasons.append(f"timed out after {timeout:g} s")
            elif memory.available < LEAST_FREE * memory.total:
                reasons.append(f"ended because less than {LEAST_FREE:.0%} of the machine's memory was left")
        if reasons:
            _kill_tree(process.pid)

    # A wait with a timeout polls, which would make the wall clock less exact.
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        process.wait()
    except BaseException:
        _kill_tree(process.pid)
        process.wait()
        raise
    finally:
        done.set()
        watcher.join()
    return reasons[0] if reasons else None


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
