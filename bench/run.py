"""Measure wkpipe beside the reference package: wall clock, CPU and memory of whole commands, and whether the voxels are equal.

    python bench/run.py [--size small] [--runs 3] [--only NAME]...

WKPIPE_REFERENCE_PYTHON names the Python that has the reference package. docs/performance.md tells what is measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil

from bench.chart import draw_chart
from bench.contenders import REFERENCE_VARIABLE, WORKLOADS, Contender, Workload, contenders, environment, voxel_hashes
from bench.measure import measure
from bench.report import RunResult, make_rows, markdown, write_json
from bench.volumes import Volumes

SIZES: Final = {"default": (1024, 1024, 256), "small": (256, 256, 128), "tiny": (128, 128, 32)}


class Benchmark:
    """Workloads, contenders, and the results so far."""

    def __init__(self, directory: Path, shape: tuple[int, int, int], group: Sequence[Contender], timeout: float) -> None:
        self.volumes = Volumes(directory / "volumes", shape)
        self.volumes.root.mkdir()
        self.group = group
        self.reader = next((c for c in group if c.is_reference and not c.missing), group[0])
        self.results: list[RunResult] = []
        self._directory = directory
        self._timeout = timeout

    def run(self, workload: Workload, runs: int) -> None:
        """Let the contenders work in turn, `runs` times and once more, each on a copy of its own.

        The first time their memory is looked at; no time of it counts, so no one pays for compiling either, or for reading
        its program from the disk.
        """
        for number in range(runs + 1):
            for contender in self.group:
                result = self._one(workload, contender, number)
                self.results.append(result)
                print(f"  {workload.name}, {contender.name}, run {number}: {_outcome(result)}", file=sys.stderr, flush=True)

    def _one(self, workload: Workload, contender: Contender, number: int) -> RunResult:
        """Let one contender do the work once."""
        if contender.missing:
            return RunResult(workload.name, contender.name, contender.is_reference, number, None, contender.missing, {})
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._directory) as place:
            target = Path(place) / "dataset"
            if workload.command == "downsample":
                shutil.copytree(self.volumes.dataset(workload.kind, workload.data_format), target)
            command = contender.command(workload.arguments(self.volumes, target))
            hashes: dict[str, str] = {}
            try:
                found = measure(command, Path(place), environment(), self._timeout, sample=number == 0)
                error = found.error
                if error is None:
                    hashes = voxel_hashes(self.reader, target)
            except OSError as failure:
                return RunResult(workload.name, contender.name, contender.is_reference, number, None, str(failure), {})
            except subprocess.CalledProcessError as failure:
                error = f"{self.reader.package} can not read it: {(failure.stderr.strip().splitlines() or ['no message'])[-1]}"
        return RunResult(workload.name, contender.name, contender.is_reference, number, found, error, hashes)

    def facts(self, runs: int) -> dict[str, Any]:
        """Return where and with what it was measured."""
        loads = [result.measurement.load_before for result in self.results if result.measurement]
        machine = {
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(psutil.virtual_memory().total / 1e9),
            "system": platform.system() + " " + platform.release(),
            "load_min": min(loads, default=0.0),
            "load_max": max(loads, default=0.0),
        }
        return {
            "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "versions": {c.package: c.missing or c.version for c in self.group},
            "machine": machine,
            "shape": self.volumes.shape,
            "runs": runs,
            "reader": self.reader.package,
        }


def _outcome(result: RunResult) -> str:
    if result.error or result.measurement is None:
        return result.error or "not run"
    m = result.measurement
    return f"{m.wall_s:.2f} s, CPU {m.cpu_s:.2f} s" if m.peak_memory is None else f"{m.peak_memory / 1e6:.0f} MB"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description="Measure wkpipe beside the reference package.", epilog="workloads: " + ", ".join(names))
    parser.add_argument(
        "--size", choices=SIZES, default="default", help="of the volumes: " + ", ".join(f"{k} {v}" for k, v in SIZES.items())
    )
    parser.add_argument("--runs", type=int, default=3, help="timed, of each contender on each workload (default: %(default)s)")
    parser.add_argument("--only", choices=names, metavar="NAME", action="append", help="do this workload only; may be repeated")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="where the results are written (default: bench/out)"
    )
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each run (default: %(default)g)")
    found = parser.parse_args(arguments)
    if found.runs < 1:
        parser.error("--runs must be at least 1")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a contender that is there failed, or where voxels differ."""
    wanted = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended, and the volumes are removed
    with tempfile.TemporaryDirectory(prefix="wkpipe-bench-") as directory:
        benchmark = Benchmark(Path(directory), SIZES[wanted.size], contenders(os.environ.get(REFERENCE_VARIABLE)), wanted.timeout)
        for workload in WORKLOADS:
            if wanted.only is None or workload.name in wanted.only:
                benchmark.run(workload, wanted.runs)
        facts = benchmark.facts(wanted.runs)
    rows = make_rows(benchmark.results)
    wanted.out.mkdir(parents=True, exist_ok=True)
    text = markdown(rows, facts)
    (wanted.out / "results.md").write_text(text, encoding="utf-8")
    write_json(wanted.out / "results.json", rows, benchmark.results, facts)
    draw_chart(wanted.out / "results.png", rows)
    print(text)
    missing = {contender.name for contender in benchmark.group if contender.missing}
    failed = any(result.error and result.contender not in missing for result in benchmark.results)
    return int(failed or any(row.voxels.startswith("DIFFERENT") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
