"""The control groups (version 1) of a cluster: its processes are found by them, and end with them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.kubernetes.bed.layout import CONTROL_GROUPS

END_SECONDS = 20.0
SHARES = 16 * 1024
"""The weight of the cluster against all other processes of the host, each with 1024: pods must not starve beside a test that computes."""


def hierarchies() -> list[Path]:
    """Return the roots of all hierarchies of version 1, one for each controller."""
    return [path for path in CONTROL_GROUPS.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "unified"]


def create(group: str) -> None:
    """Create a group in every hierarchy, as the kubelet wants it, and one for the daemons below it."""
    for hierarchy in hierarchies():
        (hierarchy / group).mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        (CONTROL_GROUPS / "cpuset" / group / name).write_text((CONTROL_GROUPS / "cpuset" / name).read_text())
    (CONTROL_GROUPS / "cpu" / group / "cpu.shares").write_text(str(SHARES))
    with contextlib.suppress(OSError):  # if it is already set
        (CONTROL_GROUPS / "memory" / group / "memory.use_hierarchy").write_text("1")
    (_of_processes(group) / "daemons").mkdir(exist_ok=True)


def join(group: str) -> None:
    """Move this process to the group of the daemons; its children start there."""
    (_of_processes(group) / "daemons" / "cgroup.procs").write_text(str(os.getpid()))


def leave() -> None:
    """Move this process out of the group of the daemons."""
    (CONTROL_GROUPS / "pids" / "cgroup.procs").write_text(str(os.getpid()))


def processes(group: str) -> list[int]:
    """Return the processes of a group and those below it: daemons and pods."""
    found: list[int] = []
    for file in _of_processes(group).rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found


def remove(group: str) -> bool:
    """Kill all processes of a group, and remove it from every hierarchy. True if nothing is left."""
    end = time.monotonic() + END_SECONDS
    while time.monotonic() < end:
        for pid in processes(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        roots = [path for path in CONTROL_GROUPS.glob(f"*/{group}") if path.is_dir()]  # with version 2, where the runtime makes one
        if not roots:
            return True
        for root in roots:
            for directory in [*sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True), root]:
                with contextlib.suppress(OSError):  # killed processes take a while to be gone
                    directory.rmdir()
        time.sleep(0.1)
    return False


def _of_processes(group: str) -> Path:
    return CONTROL_GROUPS / "pids" / group
