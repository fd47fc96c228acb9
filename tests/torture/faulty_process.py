"""Has processes that a test starts suffer a fault; installed as their ``sitecustomize`` by a directory on PYTHONPATH.

The product knows nothing of this. TORTURE_FAULT holds ``<role> <which> <call> <fault>``: the process number `which`
(from 0) of a role suffers a fault at its call number so and so. Roles: `main` (the command), `job` (a step of the
workflow), `publish` (the step that publishes).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_KEPT: list[object] = []
"""What would be taken out again if it were collected."""


def role_of(arguments: list[str]) -> str:
    """Tell what a process is from its command line."""
    if "wkpipe" not in arguments:
        return ""
    if "step" not in arguments:
        return "main"
    run, task = arguments[-2:]
    line = next(line for line in (Path(run) / "tasks.jsonl").read_text().splitlines() if line.startswith(f'"{task}"'))
    return "publish" if '"rule":"publish"' in line else "job"


def install(directory: Path) -> None:
    """Install the fault if it is this process's turn; `directory` is where the processes are counted."""
    role, which, call, fault = os.environ["TORTURE_FAULT"].split()
    if role_of(sys.orig_argv) != role or _number(directory, role) != int(which):
        return
    from faulty_disk import FaultyOs  # lies beside this file

    installed = FaultyOs(int(call), fault).installed()
    installed.__enter__()
    _KEPT.append(installed)


def _number(directory: Path, role: str) -> int:
    """Return how many processes of the role there were before this one."""
    number = 0
    while True:
        try:
            os.close(os.open(directory / f"{role}-{number}", os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1
