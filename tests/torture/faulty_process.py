"""Inject a fault into a process that a test starts; installed as its ``sitecustomize`` by a directory on PYTHONPATH.

wkpipe itself does not know of this. TORTURE_FAULT is ``<role> <which> <call> <fault>``: the process number `which` (from
0) of a role suffers a fault at the call with that number. Roles: `main` (the command), `job` (a step of the workflow),
`publish` (the step that publishes).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_KEPT: list[object] = []
"""Kept here, because the fault would be removed if it were garbage collected."""


def install(directory: Path) -> None:
    """Install the fault if this process, or a job that is forked from it, is the one to suffer it; processes are counted in `directory`."""
    role, which, call, fault = os.environ["TORTURE_FAULT"].split()
    if "wkpipe" not in sys.orig_argv:
        return
    sys.path.append(str(Path(__file__).parent))
    from wkpipe.cli import step as module

    before = module.step

    def suffer(own_role: str) -> None:
        if own_role == role and _number(directory, role) == int(which):
            from faulty_disk import FaultyOs

            installed = FaultyOs(int(call), fault).installed()
            installed.__enter__()
            _KEPT.append(installed)
            if role == "main":
                os.register_at_fork(after_in_child=lambda: installed.__exit__(None, None, None))

    def step(arguments: list[str]) -> int:
        suffer(_role_of_step(*arguments[:2]))
        return before(arguments)

    module.step = step
    if "step" not in sys.orig_argv:
        suffer("main")


def _role_of_step(run: str, task: str) -> str:
    line = next(line for line in (Path(run) / "tasks.jsonl").read_text().splitlines() if line.startswith(f'"{task}"'))
    return "publish" if '"rule":"publish"' in line else "job"


def _number(directory: Path, role: str) -> int:
    """Return the number of processes of the role before this one."""
    number = 0
    while True:
        try:
            os.close(os.open(directory / f"{role}-{number}", os.O_CREAT | os.O_EXCL))
            return number
        except FileExistsError:
            number += 1
