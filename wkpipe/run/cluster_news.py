"""What the executor of a cluster tells the main process by files of the run: what has happened, and how many jobs there are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from wkpipe.steps.job_note import NOTICES_FILE

JOBS_FILE: Final = "slurm-jobs.jsonl"
"""What became of each job, line by line."""

STATUS_FILE: Final = "slurm.json"
"""How many jobs there are now, and how often Slurm was called."""

LOOK_SECONDS: Final = 1.0


class ClusterNews:
    """Reads what is new; where no cluster is at work, there is nothing."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._read = 0
        self._looked = 0.0

    def new_notices(self, now: bool = False) -> list[str]:
        """Return the notices that were added since; looks once in a second, or `now`."""
        if not now and time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        try:
            with (self._run / NOTICES_FILE).open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def status(self) -> dict[str, Any]:
        """Return numbers of jobs by `running` and `pending`, and of `calls` by command."""
        try:
            values: dict[str, Any] = json.loads((self._run / STATUS_FILE).read_text())
        except (OSError, ValueError):
            return {}
        return values

    def jobs(self) -> str:
        """Return the numbers of jobs as the end of a line; nothing where there are none."""
        status = self.status()
        return f"; jobs: {status['running']} running, {status['pending']} waiting" if status else ""
