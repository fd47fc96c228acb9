"""Progress of a run: storage shards done of total, voxels per second, time left.

Shards are counted in the ledger, which has the proven ones, wherever the jobs run. Voxels are those that the jobs
report, because one shard may take minutes. Then come the bytes of an upload.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from wkpipe.cluster.kind import Cluster
from wkpipe.cluster.news import ClusterNews
from wkpipe.geometry import Mag
from wkpipe.plan.cut.task import PROVE, VERIFY
from wkpipe.plan.plan import Plan
from wkpipe.run.amounts import TransferLine, amount, duration
from wkpipe.run.status_line import StatusLine
from wkpipe.runs.progress_note import voxels_done
from wkpipe.steps.upload import UploadState
from wkpipe.storage.record_count import RecordCount


@dataclass
class _Watched:
    """The ledger of one mag: the number of planned units, the voxels of each, and the records that were added to it."""

    layer: str
    mag: Mag
    records: RecordCount
    units: int
    voxels_per_unit: float
    done: int = 0

    def refresh(self) -> None:
        """Count the units that were recorded since the run began."""
        added = self.records.added()
        self.done = self.units if added is None else min(self.units, max(self.done, added))


class RunProgress:
    """Shows a run's progress; `update` may be called often."""

    def __init__(self, plan: Plan, run: Path, cluster: Cluster | None = None, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._line = StatusLine(stream)
        self._quiet = quiet
        self._run = run
        self._start = time.monotonic()
        self._transfer = TransferLine()
        self._notices = 0
        self._cluster = ClusterNews(run, None if cluster is None else cluster.key)
        self._watched = _watched(plan)
        self._reading = [run / task.marker for task in plan.tasks if task.rule in (PROVE, VERIFY)]
        self._read = "verifying" if plan.of_rule(VERIFY) else "proving"

    def update(self) -> None:
        """Show a line if the time for one has come."""
        if self._quiet:
            return
        self._line.say(self._cluster.new_notices())
        if self._line.is_due():
            self._show()

    def close(self) -> None:
        """Show the remaining notices and end the live line."""
        if self._quiet:
            return
        self._line.say(self._cluster.new_notices(now=True))
        if self._line.is_live:
            self._show()
        elif (upload := UploadState.of(self._run)) is not None:
            self._say_new(upload.notices)
        self._line.close()

    def _show(self) -> None:
        if (upload := UploadState.of(self._run)) is not None:
            self._say_new(upload.notices)
            self._transfer.moved(upload.done)
            line = self._transfer.text(upload.doing, upload.done, upload.total) if upload.total else upload.doing
        else:
            for watched in self._watched:
                if watched.done < watched.units:
                    watched.refresh()
            line = self.line(time.monotonic() - self._start) + self._cluster.jobs()
        self._line.show(line)

    def _say_new(self, notices: list[str]) -> None:
        """Show the new notices of an upload."""
        self._line.say(notices[self._notices :])
        self._notices = max(self._notices, len(notices))

    def line(self, seconds: float) -> str:
        """Return the line for a run that has taken this long."""
        if self._reading and not any(watched.done for watched in self._watched):
            done = sum(marker.exists() for marker in self._reading)
            if done < len(self._reading) or not self._watched:
                return f"{self._read}: {done} of {len(self._reading)} jobs"
        units, done = sum(w.units for w in self._watched), sum(w.done for w in self._watched)
        voxels = sum(w.units * w.voxels_per_unit for w in self._watched)
        proven = sum(w.done * w.voxels_per_unit for w in self._watched)
        finished = min(voxels, max(proven, voxels_done(self._run)))
        current = next((f"{w.layer} {w.mag}" for w in self._watched if w.done < w.units), "publishing")
        rate = finished / seconds if seconds > 0 else 0.0
        left = f", {duration((voxels - finished) / rate)} left" if rate > 0 and done < units else ""
        return f"{current}: {done} of {units} storage shards, {amount(rate)}voxels/s{left}"


def _watched(plan: Plan) -> list[_Watched]:
    locations = plan.locations
    counts: dict[tuple[str, Mag], int] = {}
    for task in plan.tasks:
        for mag_range in task.ranges if task.rule != PROVE else ():
            key = (mag_range.layer, mag_range.mag)
            counts[key] = counts.get(key, 0) + len(mag_range.units)
    watched = []
    for (layer, mag), units in counts.items():
        mag_plan = plan.mag_plan(layer, mag)
        first, end = mag_plan.box
        voxels = (end - first).prod() / max(1, len(mag_plan.units()))
        watched.append(_Watched(layer, mag, RecordCount(locations.ledger(layer, mag)), units, voxels))
    return watched
