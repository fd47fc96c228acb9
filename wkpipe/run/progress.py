"""Progress of a run: storage shards done of total, voxels per second, time left.

Shards are counted in the ledger, which has what is proven, whatever runs the jobs and wherever; voxels are what the jobs
note of themselves, as one shard may take minutes. Then come the bytes of an upload.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from wkpipe.geometry import Mag
from wkpipe.plan.plan import Plan
from wkpipe.plan.task import PROVE, VERIFY
from wkpipe.run.amounts import TransferLine, amount, duration
from wkpipe.run.cluster_news import ClusterNews
from wkpipe.run.status_line import StatusLine
from wkpipe.steps.progress_note import voxels_done
from wkpipe.steps.upload import UploadState
from wkpipe.storage.ledger import SEGMENT_SUFFIX


@dataclass
class _Watched:
    """The ledger of one mag: how many units are to come, how many voxels each holds, what was read so far."""

    layer: str
    mag: Mag
    directory: Path
    units: int
    voxels_per_unit: float
    done: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def refresh(self) -> None:
        """Count the records that were added to segments since the last look."""
        try:
            entries = [
                entry for entry in os.scandir(self.directory) if entry.name.endswith(SEGMENT_SUFFIX) and "-folded-" not in entry.name
            ]
        except FileNotFoundError:
            return
        for entry in entries:
            try:
                size = entry.stat().st_size
                before = self.sizes.get(entry.name, 0)
                if size > before:
                    with Path(entry.path).open("rb") as file:
                        file.seek(before)
                        self.done = min(self.units, self.done + file.read(size - before).count(b"\n"))
                    self.sizes[entry.name] = size
            except FileNotFoundError:  # folded meanwhile
                continue


class Progress:
    """Shows a run's progress; `update` may be called often."""

    def __init__(self, plan: Plan, run: Path, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._line = StatusLine(stream)
        self._quiet = quiet
        self._run = run
        self._start = time.monotonic()
        self._transfer = TransferLine()
        self._notices = 0
        self._cluster = ClusterNews(run)
        self._watched = _watched(plan)
        self._reading = [run / task.marker for task in plan.tasks if task.rule in (PROVE, VERIFY)]
        self._read = "verifying" if plan.of_rule(VERIFY) else "proving"
        for watched in self._watched:
            watched.refresh()
            watched.done = 0

    def update(self) -> None:
        """Show a line if the time for one has come."""
        if self._quiet:
            return
        self._line.say(self._cluster.new_notices())
        if self._line.is_due():
            self._show()

    def close(self) -> None:
        """End the live line; show what there is still to be said."""
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
        """Show what is new of what an upload has to say."""
        self._line.say(notices[self._notices :])
        self._notices = max(self._notices, len(notices))

    def line(self, seconds: float) -> str:
        """Return the line for a run that has taken so long."""
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
        for part in task.parts if task.rule != PROVE else ():
            key = (part.layer, part.mag)
            counts[key] = counts.get(key, 0) + len(part.units)
    watched = []
    for (layer, mag), units in counts.items():
        mag_plan = plan.mag_plan(layer, mag)
        first, end = mag_plan.box
        voxels = (end - first).prod() / max(1, len(mag_plan.units()))
        watched.append(_Watched(layer, mag, locations.ledger(layer, mag), units, voxels))
    return watched
