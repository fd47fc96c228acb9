"""Slurm as a backend: sbatch, squeue, scancel, sacct and sinfo."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from wkpipe.cluster.backend import Away, Cause, Limits, Refused, Seen, Submission, Used
from wkpipe.cluster.resources import JobResources, memory_mib, minutes
from wkpipe.cluster.slurm.commands import Commands
from wkpipe.cluster.slurm.environment import with_job_id
from wkpipe.cluster.slurm.options import arguments
from wkpipe.cluster.slurm.states import LOG_CAUSES, cause_in, phase_of, seen

KEY: Final = "slurm"


class Slurm:
    """Calls Slurm's commands; see `wkpipe.cluster.backend.Backend`."""

    key: str = KEY
    title: str = "Slurm"
    pool: str = "partition"
    log_causes: Sequence[tuple[re.Pattern[str], Cause]] = LOG_CAUSES

    def __init__(self) -> None:
        self._commands = Commands()

    @property
    def calls(self) -> Counter[str]:
        return self._commands.calls

    def submit(self, job: Submission) -> str:
        output = self._commands.run(["sbatch", "--parsable", *arguments(job)], with_job_id(job.script), job.directory)
        return output.strip().splitlines()[-1].partition(";")[0]

    def jobs(self, prefix: str) -> list[Seen]:
        try:
            output = self._commands.run(["squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%r|%j"])
        except Refused as refusal:
            raise Away(str(refusal)) from None
        lines = (line.split("|", 3) for line in output.splitlines())
        return [seen(*fields) for fields in lines if len(fields) == 4 and fields[3].startswith(prefix)]

    def cancel(self, ids: Iterable[str]) -> None:
        if wanted := list(ids):
            with contextlib.suppress(Refused):
                self._commands.run(["scancel", *wanted])

    def used(self, ids: Sequence[str]) -> dict[str, Used]:
        if not ids:
            return {}
        columns = "--format=JobIDRaw,State,MaxRSS"
        try:
            output = self._commands.run(["sacct", "--noheader", "--parsable2", "--duplicates", columns, f"--jobs={','.join(ids)}"])
        except (Away, Refused):
            return {}
        return _used(output)

    def limits(self, request: JobResources) -> Limits | None:
        """Return the most that one job can get in its partition; None if there is no such partition, or no node in it."""
        partition = request.options.get("partition")
        # Without --exact, nodes that differ are one line with the least of them.
        asked = ["sinfo", "--noheader", "--exact", "--format=%R|%P|%m|%c|%l", *([f"--partition={partition}"] if partition else [])]
        lines = [line.split("|") for line in self._commands.run(asked).splitlines() if line.count("|") == 4]
        # A partition may have no nodes yet.
        found = [_limits(*fields[2:]) for fields in lines if (partition or fields[1].endswith("*")) and fields[3] != "0"]
        if not found:
            return None
        times = [limits.minutes for limits in found]
        longest = None if None in times else max(time for time in times if time is not None)
        return Limits(max(limits.memory_mib for limits in found), max(limits.cpus for limits in found), longest)


def _limits(memory: str, cpus: str, limit: str) -> Limits:
    longest = None
    with contextlib.suppress(ValueError):
        longest = minutes(limit)
    return Limits(int(memory), int(cpus), longest)


def _used(output: str) -> dict[str, Used]:
    found: dict[str, Used] = {}
    for line in output.splitlines():
        id_, state, memory = (*line.split("|"), "", "")[:3]
        job, _, step = id_.partition(".")
        before = found.get(job)
        measured = None if before is None else before.memory_mib
        with contextlib.suppress(ValueError):
            measured = max(measured or 0, memory_mib(memory))
        if step:
            state = "" if before is None else before.state
        state = state.partition(" ")[0]
        found[job] = Used(phase_of(state) if state else None, state, cause_in(state), measured)
    return found
