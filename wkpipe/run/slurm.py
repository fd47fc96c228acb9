"""The commands of Slurm: submit, ask for the state of jobs, cancel, and what accounting knows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wkpipe.errors import one_line
from wkpipe.run.job_resources import memory_mib, minutes
from wkpipe.storage.lease import LEASE_NAME
from wkpipe.storage.lock import read_holder
from wkpipe.stored.locations import Locations

COMMAND_SECONDS: Final = 60.0
"""How long a command may take: with its controller away, sbatch asks again for a while."""

LIVE: Final = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "STOPPED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)
"""States of jobs that run or will."""

_TRANSIENT: Final = re.compile(
    r"unable to contact|connect failure|connection (refused|timed out|reset)|timed out|zero bytes were transmitted"
    r"|transport endpoint|temporarily un|backup controller|in standby|communication"
    r"|try again|not responding|unexpected message|slurm_persist",
    re.IGNORECASE,
)
"""What commands say when the same call may succeed later."""

_FULL: Final = re.compile(r"job submit limit|MaxSubmitJob", re.IGNORECASE)
"""What sbatch says when it takes no more jobs at once, of this user or of this account."""

_ENVIRONMENT_OF_A_JOB: Final = re.compile(r"SLURM_(?!CONF$)|SBATCH_(ARRAY_INX|WAIT|TEST_ONLY|OUTPUT|ERROR|INPUT|OPEN_MODE)")
"""What a job that submits others must not hand on to them."""


class Away(Exception):
    """Slurm does not answer; the same call may succeed later."""


class Full(Away):
    """Slurm takes no more jobs at once, of this user or of this account."""


class Refused(Exception):
    """Slurm will not do it."""


@dataclass(frozen=True)
class Seen:
    """A job as Slurm knows it."""

    id: str
    state: str
    reason: str
    name: str

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True)
class Used:
    """What accounting tells of a job: its state, and the memory (MiB) of its largest step, where it was measured."""

    state: str
    memory_mib: int | None


@dataclass(frozen=True)
class Limits:
    """The most that a job can get in a partition: memory of a node (MiB), its cores, minutes (None: no limit)."""

    memory_mib: int
    cpus: int
    minutes: int | None


class Slurm:
    """Calls Slurm's commands, and counts them."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def submit(self, arguments: Sequence[str], script: str, directory: Path) -> str:
        """Submit a job script and return the job's id.

        Raises:
            Full: it may succeed when other jobs have ended.
            Away: it may succeed later. The job may have been submitted nevertheless.
            Refused: what sbatch says.
        """
        return self._run(["sbatch", "--parsable", *arguments], script, directory).strip().splitlines()[-1].partition(";")[0]

    def jobs(self, prefix: str = "") -> list[Seen]:
        """Return this user's jobs whose names have a prefix, those that have ended of late too.

        Raises:
            Away: as `submit`.
        """
        try:
            output = self._run(["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%r|%j"])
        except Refused as refusal:
            raise Away(str(refusal)) from None
        lines = (line.split("|", 3) for line in output.splitlines())
        return [Seen(*fields) for fields in lines if len(fields) == 4 and fields[3].startswith(prefix)]

    def cancel(self, ids: Iterable[str]) -> None:
        """Cancel jobs; those that are gone already are fine.

        Raises:
            Away: as `submit`.
        """
        if wanted := list(ids):
            with contextlib.suppress(Refused):
                self._run(["scancel", *wanted])

    def accounted(self, ids: Sequence[str]) -> dict[str, Used]:
        """Return what accounting knows of jobs; nothing where there is none."""
        if not ids:
            return {}
        columns = "--format=JobIDRaw,State,MaxRSS"
        try:
            output = self._run(["sacct", "--noheader", "--parsable2", "--duplicates", columns, f"--jobs={','.join(ids)}"])
        except (Away, Refused):
            return {}
        return _accounted(output)

    def limits(self, partition: str | None) -> Limits | None:
        """Return the most that one job can get in a partition (None: the default one); None where there is no such
        partition, or no node in it.

        Raises:
            Away: as `submit`.
            Refused: what sinfo says.
        """
        # Not exactly, nodes that differ were one line with the least of them.
        asked = ["sinfo", "--noheader", "--exact", "--format=%R|%P|%m|%c|%l", *([f"--partition={partition}"] if partition else [])]
        lines = [line.split("|") for line in self._run(asked).splitlines() if line.count("|") == 4]
        # A partition may have no nodes yet.
        found = [_limits(*fields[2:]) for fields in lines if (partition or fields[1].endswith("*")) and fields[3] != "0"]
        if not found:
            return None
        times = [limits.minutes for limits in found]
        longest = None if None in times else max(time for time in times if time is not None)
        return Limits(max(limits.memory_mib for limits in found), max(limits.cpus for limits in found), longest)

    def end(self, prefix: str, spare: str = "\0", seconds: float = 60.0, say: Callable[[str], None] = lambda _: None) -> int:
        """Cancel the jobs with a prefix, but for those with the longer one `spare`, and wait until they are gone.

        Returns how many there were. What is not gone after `seconds` is told: its node may be lost.

        Raises:
            Away: as `submit`.
        """
        deadline, pause, before = time.monotonic() + seconds, 0.3, 0
        while live := [job.id for job in self.jobs(prefix) if job.is_live and not job.name.startswith(spare)]:
            if not before:
                before = len(live)
                self.cancel(live)
            if time.monotonic() > deadline:
                say(f"Slurm has not ended {_some(live)} yet; what they still write is thrown away")
                break
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        return before

    def _run(self, command: Sequence[str], script: str | None = None, directory: Path | None = None) -> str:
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
        said = _said(done.stderr or done.stdout) or f"{command[0]} ended with code {done.returncode}"
        raise (Full if _FULL.search(said) else Away if _TRANSIENT.search(said) else Refused)(said)


def prefix_of(inside: Path, run: Path | None = None) -> str:
    """Return what the names of all jobs on a dataset begin with, or those of one run.

    `inside` is wkpipe's directory in the dataset, wherever the state is; `run` is the run's directory.
    """
    return f"wkpipe-{hashlib.sha256(os.fsencode(inside)).hexdigest()[:10]}-{'' if run is None else f'{run.name}-'}"


def await_orphans(locations: Locations, say: Callable[[str], None], poll: float = 15.0) -> None:
    """Wait for jobs that a main process which died has left, as long as they hold the dataset's lease."""
    slurm, prefix = Slurm(), prefix_of(locations.inside)
    lease = locations.locks / LEASE_NAME
    was_away: bool | None = None
    while (holder := read_holder(lease)) is not None and not holder.is_surely_alive():
        away = ""
        live: list[str] = []
        try:
            live = [job.id for job in slurm.jobs(prefix) if job.is_live]
        except Away as reason:
            away = str(reason)
        if not live and not away:
            return
        if was_away is not bool(away):
            was_away = bool(away)
            waiting = f"waiting for {_some(live)} that an earlier run has left ({holder})"
            say(f"Slurm does not answer ({away}); waiting for it" if away else waiting)
        time.sleep(poll)


def _some(ids: Sequence[str]) -> str:
    """Name some jobs.

    >>> _some(["7"]), _some(["7", "8"])
    ('Slurm job 7', 'Slurm jobs 7, 8')
    """
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"Slurm job{'s' if len(ids) > 1 else ''} {', '.join(ids[:5])}{more}"


def _said(text: str) -> str:
    """Return the gist of what a command printed: its last lines, without what they begin with."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line).strip() for line in text.splitlines() if line.strip()]
    return one_line("; ".join(dict.fromkeys(lines[-3:])), 400)


def _limits(memory: str, cpus: str, limit: str) -> Limits:
    longest = None
    with contextlib.suppress(ValueError):
        longest = minutes(limit)
    return Limits(int(memory), int(cpus), longest)


def _accounted(output: str) -> dict[str, Used]:
    found: dict[str, Used] = {}
    for line in output.splitlines():
        id_, state, memory = (*line.split("|"), "", "")[:3]
        job, _, step = id_.partition(".")
        before = found.get(job, Used("", None))
        measured = None
        with contextlib.suppress(ValueError):
            measured = memory_mib(memory)
        largest = max((value for value in (before.memory_mib, measured) if value is not None), default=None)
        found[job] = Used(before.state if step else state.partition(" ")[0], largest)
    return found
