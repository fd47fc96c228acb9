"""Let contenders do workloads in turn, each on a dataset of its own, and collect the measurements."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.contenders import LIMIT, OURS, PEER, REFERENCE, Contender, Place, environment, voxel_hashes
from bench.measure import Measurement, measure
from bench.report import RunResult, stored_results
from bench.tiling import link_dataset, read_through
from bench.volumes import REPEATS, Volumes
from bench.workloads import VOLUMES_S, Workload

WARM_UP_SHAPE = (128, 128, 32)


@dataclass(frozen=True)
class Runs:
    """The number of timed runs."""

    standard: int
    reference: int | None

    def of(self, contender: Contender, workload: Workload) -> int:
        if contender.delay_ms:
            return 1
        if contender.role != REFERENCE:
            return self.standard
        return self.reference or (1 if workload.is_long else min(2, self.standard))


class Benchmark:
    """The results so far; `directory` contains the volumes and, temporarily, the runs."""

    def __init__(self, directory: Path, volumes: Volumes, group: Sequence[Contender], runs: Runs, timeout: float) -> None:
        self.volumes = volumes
        self.group = group
        self.results: list[RunResult] = []
        self.sizes: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.skipped: dict[str, str] = {}
        self._directory = directory
        self._runs = runs
        self._timeout = timeout
        self._warm_up = Volumes(directory / "volumes-warm-up", WARM_UP_SHAPE, volumes.data)
        self._ours = next(c for c in group if c.is_standard)
        self._reference = next((c for c in group if c.role == REFERENCE and not c.missing), None)

    def add_stored(self, content: dict[str, Any], without: Collection[str]) -> None:
        """Add earlier results, except those of some workloads."""
        self.results += [result for result in stored_results(content) if result.workload not in without]
        for mine, stored in ((self.sizes, "sizes"), (self.seconds, "seconds"), (self.skipped, "skipped")):
            mine.update({name: value for name, value in content[stored].items() if name not in without})

    @property
    def readers(self) -> str:
        """The packages that read the results back."""
        return "wkpipe" if self._reference is None else "webknossos after the first run of wkpipe and of itself, by wkpipe after the others"

    def estimate(self, workload: Workload) -> float:
        """Return roughly how many seconds a workload takes at the default size on two cores."""
        total = 0.0 if workload.is_alone else VOLUMES_S * len(workload.layers)
        for contender in self.group:
            if contender.takes_part(workload) and not contender.missing:
                one = workload.reference_s if contender.role == REFERENCE else workload.ours_s
                hashing = 5 if workload.is_big or workload.command == "convert" else 2
                total += (one + hashing) * self._count(contender, workload)
        return total

    def _count(self, contender: Contender, workload: Workload) -> int:
        return self._runs.of(contender, workload) + (not workload.is_alone)

    def run(self, workload: Workload) -> None:
        """Let the contenders work in turn, round after round.

        The first round of whole commands measures memory. Its time does not count, so no contender pays for compiling
        or for reading its program from the disk.
        """
        missing = [reason for layer in workload.layers if (reason := self.volumes.missing(layer))]
        if missing:
            self.skipped[workload.name] = missing[0]
            print(f"  {workload.name} is left out: {missing[0]}", file=sys.stderr, flush=True)
            return
        start = time.monotonic()
        self.sizes[workload.name] = sum(self.volumes.bytes_of(layer) for layer in workload.layers)
        group = [contender for contender in self.group if contender.takes_part(workload)]
        for number in range(int(workload.is_alone), 1 + max(self._runs.of(contender, workload) for contender in group)):
            for contender in group:
                if number > self._runs.of(contender, workload):
                    continue
                result = self._one(workload, contender, number)
                self.results.append(result)
                print(f"  {workload.name}, {contender.name}, run {number}: {_outcome(result)}", file=sys.stderr, flush=True)
        self.seconds[workload.name] = time.monotonic() - start

    def _one(self, workload: Workload, contender: Contender, number: int) -> RunResult:
        """Let one contender do the work once."""
        result = RunResult(workload.name, contender.name, contender.role, contender.is_standard, number, None, contender.missing, {}, {})
        if contender.missing:
            return replace(result, is_missing=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._directory) as directory:
            place = Place(Path(directory))
            try:
                self._prepare(workload, contender, place)
                command = contender.command(workload, self.volumes, place)
                is_sampled = number == 0 and not workload.is_alone
                found = measure(command, place.directory, environment(), self._timeout, sample=is_sampled)
                result = replace(result, measurement=found, error=found.error)
                if found.error is None and workload.is_alone:
                    result = _of_worker(result, found, json.loads(place.result.read_bytes()))
                if found.error is None:
                    result = replace(result, hashes=self._hashes(workload, contender, place.target, number))
            except subprocess.CalledProcessError as failure:
                last = (str(failure.stderr or "").strip().splitlines() or ["no message"])[-1]
                result = replace(result, error=f"{Path(failure.cmd[1]).name} failed: {last}")
            except OSError as failure:
                result = replace(result, error=str(failure))
        return result

    def _prepare(self, workload: Workload, contender: Contender, place: Place) -> None:
        """Put the contender's input in place, and into the page cache."""
        if workload.command == "convert":
            read_through(self.volumes.slices(workload.layers[0]))
            return
        link_dataset([self.volumes.dataset(layer, workload.data_format, contender.level) for layer in workload.layers], place.target)
        if workload.is_alone and contender.role in (OURS, REFERENCE):
            # In WKW, because the reference takes seconds for each shard of Zarr 3, however little is in it.
            (layer,) = workload.layers
            shutil.copytree(self._warm_up.dataset(REPEATS.get(layer, (layer,))[0], "wkw"), place.warm_up)
        read_through(place.target)

    def _hashes(self, workload: Workload, contender: Contender, target: Path, number: int) -> dict[str, str]:
        """Read the result back; a contender with another median, or without one, is not compared."""
        if contender.role in (PEER, LIMIT):
            return {}
        is_first = number == int(workload.is_alone)
        is_read_by_reference = is_first and (contender.is_standard or contender.role == REFERENCE)
        reader = (is_read_by_reference and self._reference) or self._ours
        return voxel_hashes(reader, target, derived_only=workload.command != "convert")


def _of_worker(result: RunResult, found: Measurement, worker: dict[str, Any]) -> RunResult:
    """Return a result with the times that the worker measured itself."""
    times = {key: worker[key] for key in ("wall_s", "sync_s", "cpu_s")}
    return replace(result, measurement=replace(found, **times), facts=worker["facts"])


def _outcome(result: RunResult) -> str:
    if result.error or result.measurement is None:
        return result.error or "not run"
    m = result.measurement
    return f"{m.wall_s:.2f} s, CPU {m.cpu_s:.2f} s" if m.peak_memory is None else f"{m.peak_memory / 1e6:.0f} MB"
