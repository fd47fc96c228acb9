"""Helpers for the workers of `alone`, which time their work in their own process. Needs the standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def timed(directory: str, result: str, facts: dict[str, Any] | None = None) -> Iterator[None]:
    """Write the time of the block, with a sync of the directory's file system after it, to the file `result`.

    The file contains, as JSON, wall_s, sync_s (the part of the sync), cpu_s (with children that were waited for) and the facts.
    """
    start, cpu = time.perf_counter(), cpu_seconds()
    yield
    done, cpu_s = time.perf_counter(), cpu_seconds() - cpu
    subprocess.run(["sync", "--file-system", directory], check=True)
    end = time.perf_counter()
    write(result, {"wall_s": end - start, "sync_s": end - done, "cpu_s": cpu_s, "facts": facts or {}})


def write(result: str, values: dict[str, Any]) -> None:
    """Write a worker's result."""
    Path(result).write_text(json.dumps(values), encoding="utf-8")


def cpu_seconds() -> float:
    """Return user and system time of the process and all its descendants, those that have ended and those that live."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended
                fields = (entry / "stat").read_text().rpartition(")")[2].split()  # from `state` on: field 3 of proc(5)
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = sum(map(int, fields[11:15]))
    return sum(spent for pid, spent in ticks.items() if _descends(pid, parents)) / os.sysconf("SC_CLK_TCK")


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid and pid != os.getpid():
        pid = parents.get(pid, 0)
    return pid != 0
