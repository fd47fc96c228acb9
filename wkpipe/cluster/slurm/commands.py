"""Run Slurm's commands, and distinguish their failures."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wkpipe.cluster.backend import Away, Full, Refused
from wkpipe.errors import one_line

COMMAND_SECONDS: Final = 60.0
"""How long a command may take: if its controller is away, sbatch keeps asking for a while."""

_TRANSIENT: Final = re.compile(
    r"unable to contact|connect failure|connection (refused|timed out|reset)|timed out|zero bytes were transmitted"
    r"|transport endpoint|temporarily un|backup controller|in standby|communication"
    r"|try again|not responding|unexpected message|slurm_persist",
    re.IGNORECASE,
)
"""Messages of commands after which the same call may succeed later."""

_FULL: Final = re.compile(r"job submit limit|MaxSubmitJob", re.IGNORECASE)
"""Messages of sbatch that takes no more jobs at once from this user or account."""

_ENVIRONMENT_OF_A_JOB: Final = re.compile(r"SLURM_(?!CONF$)|SBATCH_(ARRAY_INX|WAIT|TEST_ONLY|OUTPUT|ERROR|INPUT|OPEN_MODE)")
"""Variables that a job which submits others must not pass on to them."""


class Commands:
    """Runs commands of Slurm, and counts them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def run(self, command: Sequence[str], script: str | None = None, directory: Path | None = None) -> str:
        """Run a command and return what it prints.

        Raises:
            Full, Away, Refused: it fails.
        """
        self.calls[command[0]] += 1
        environment = {key: value for key, value in os.environ.items() if not _ENVIRONMENT_OF_A_JOB.match(key)}
        try:
            done = subprocess.run(
                command,
                input=script or "",
                cwd=directory,
                env=environment | {"LC_ALL": "C"} if command[0] != "sbatch" else environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
                start_new_session=True,  # Ctrl-C in a terminal is for the main process
            )
        except FileNotFoundError:
            raise Refused(f"{command[0]} is not found on this host; is it one from which jobs are submitted?") from None
        except subprocess.TimeoutExpired:
            raise Away(f"{command[0]} did not answer within {COMMAND_SECONDS:g} s") from None
        if done.returncode == 0:
            return done.stdout
        if done.returncode < 0:
            raise Away(f"{command[0]} was killed")
        said = _gist(done.stderr or done.stdout) or f"{command[0]} ended with code {done.returncode}"
        raise (Full if _FULL.search(said) else Away if _TRANSIENT.search(said) else Refused)(said)


def _gist(text: str) -> str:
    """Return the last lines of what a command printed, without the command's name and the word `error` or `fatal`."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in text.splitlines() if line.strip()]
    return one_line("; ".join(dict.fromkeys(lines[-3:])), 400)
