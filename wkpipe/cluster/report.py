"""The resources that the jobs of a run on a cluster used, compared with what they requested."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wkpipe.cluster.backend import Backend, Used
from wkpipe.cluster.news import ClusterNews, job_events
from wkpipe.cluster.resources import BYTES_PER_MIB
from wkpipe.plan.text_table import aligned
from wkpipe.runs.job_note import job_note

MOST_FAILURES = 10
"""The most failed jobs that are named."""


@dataclass
class _Tries:
    """All tries at one task."""

    task: str
    submitted: list[dict[str, Any]] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)


def cluster_report(run: Path, backend: Backend) -> list[str]:
    """Return a table of a run's jobs by layer and mag, the number of calls of the cluster, and the logs of failed jobs."""
    tries = _tries(job_events(run, backend.key))
    if not tries:
        return []
    ids = [str(entry["job"]) for each in tries for entry in each.submitted]
    accounted = backend.used(ids)
    groups: dict[str, list[_Tries]] = defaultdict(list)
    for each in tries:
        groups[each.task.partition("-")[2]].append(each)
    header = ("jobs of", "tasks", "submitted", "median time", "longest", "CPU used", "memory", "of asked")
    rows = [_row(name, group, run, accounted) for name, group in groups.items()]
    lines = aligned(header, rows)
    if any(row[-2].endswith("*") for row in rows):
        lines.append(f"  * the largest process of a job; {backend.title} has not measured them")
    failed = [each for each in tries if each.outcome.get("event") != "done"]
    for each in failed[:MOST_FAILURES]:
        lines.append(
            f"  {each.task}: {each.outcome.get('event', 'not ended')}; log: {each.submitted[-1]['log'] if each.submitted else '-'}"
        )
    if len(failed) > MOST_FAILURES:
        lines.append(f"  and {len(failed) - MOST_FAILURES} more")
    calls = ClusterNews(run, backend.key).status().get("calls", {})
    counted = ", ".join(f"{count} {command}" for command, count in sorted(calls.items()))
    return [*lines, f"  calls of {backend.title}: {counted or 'none'}; logs of all jobs are in {run / 'logs'}"]


def _row(name: str, group: list[_Tries], run: Path, accounted: dict[str, Used]) -> tuple[str, ...]:
    notes = [(each, note) for each in group if "seconds" in (note := job_note(run, each.task)) and each.submitted]
    seconds = [note["seconds"] for _, note in notes]
    had = sum(note["seconds"] * each.submitted[-1]["cpus"] for each, note in notes)
    efficiency = f"{100 * sum(note['cpu_seconds'] for _, note in notes) / had:.0f} %" if had else "-"
    # Accounting samples now and then: it may have missed a peak, and seen only the beginning of a short job.
    largest = {each.task: math.ceil(note["largest_mb"] * 1e6 / BYTES_PER_MIB) for each, note in notes}
    measured = [(max(used.memory_mib, largest.get(each.task, 0)), entry["memory_mib"]) for each in group for entry in each.submitted
                if (used := accounted.get(str(entry["job"]))) is not None and used.memory_mib
                and used.memory_mib >= largest.get(each.task, 0) / 2]  # fmt: skip
    memory, of_asked = "-", "-"
    if measured:
        memory, of_asked = f"{max(used for used, _ in measured)} MiB", _share(measured)
    elif notes:
        memory = f"{max(note['largest_mb'] for _, note in notes)} MB*"
    submitted = sum(len(each.submitted) for each in group)
    times = (_time(statistics.median(seconds)), _time(max(seconds))) if seconds else ("-", "-")
    return (name, str(len(group)), str(submitted), *times, efficiency, memory, of_asked)


def _share(measured: Iterable[tuple[int, int | None]]) -> str:
    shares = [used / asked for used, asked in measured if asked]
    return f"{100 * max(shares):.0f} %" if shares else "-"


def _tries(events: Iterable[dict[str, Any]]) -> list[_Tries]:
    found: dict[str, _Tries] = {}
    for entry in events:
        each = found.setdefault(entry["task"], _Tries(entry["task"]))
        if entry["event"] == "submitted":
            each.submitted.append(entry)
        else:
            each.outcome = entry
    return list(found.values())


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
