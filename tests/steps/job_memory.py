"""Measure the memory of a real job: of its process and all its forks, as if it were alone on the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wkpipe.storage.seal import VARIABLE, Seal

_PERIOD_SECONDS = 0.02


@dataclass(frozen=True)
class Usage:
    """The memory (bytes) of a tree of processes at one moment.

    `private` is the sum of the processes' own memory and of the memory that forks still share, counted once;
    `shared` is the explicitly shared memory; `files` are the mapped files (libraries) of the process that has most of them: all
    map the same ones. Unlike the proportional share, this does not depend on other users of the same Python.
    """

    private: int
    shared: int
    files: int
    highest: int
    """The kernel's peak of the first process alone, however short it was."""

    @property
    def total(self) -> int:
        return max(self.private + self.shared + self.files, self.highest)


def usage_of(root: int) -> Usage:
    """Return the present memory of a process and its descendants."""
    members = [found for found in map(_numbers, _tree(root)) if found]
    private = sum(member["Pss_Anon"] for member in members)
    shared = sum(member["Pss_Shmem"] for member in members)
    # Forked processes map fewer pages of the libraries than the one that loaded them.
    files = max((member.get("RssFile", 0) for member in members), default=0)
    return Usage(private, shared, files, _numbers(root).get("VmHWM", 0))


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def _numbers(pid: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text() + Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    numbers = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return numbers if "Pss_Anon" in numbers else {}


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command to its end in a given environment; return its peak usage.

    Raises:
        CalledProcessError: it failed.
    """
    peak = Usage(0, 0, 0, 0)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None:
        now = usage_of(process.pid)
        peak = max(peak, now, key=lambda usage: usage.total)
        time.sleep(_PERIOD_SECONDS)
    assert process.stderr is not None
    errors = process.stderr.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return peak


def job_environment(seal: Seal) -> dict[str, str]:
    """Return the environment that a run's main process gives to its jobs."""
    return os.environ | {VARIABLE: seal.variable}


def job_command(run: Path, task: str) -> list[str]:
    """Return how the workflow starts a job."""
    return [sys.executable, "-P", "-m", "wkpipe", "step", str(run), task]
