"""Compare wkpipe with other packages: wall clock, CPU and memory, and equality of the voxels.

    python bench/run.py [--size small] [--runs 3] [--group quick]... [--only NAME]...

WKPIPE_REFERENCE_PYTHON and WKPIPE_TENSORSTORE_PYTHON name the Pythons that have these packages; `make bench` sets them.
docs/performance.md explains the measurements.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import psutil

from bench.benchmark import Benchmark, Runs
from bench.chart import draw_chart
from bench.contenders import PEER_VARIABLE, REFERENCE_VARIABLE, contenders
from bench.report import make_rows, markdown, write_json
from bench.volumes import DTYPES, Volumes
from bench.workloads import GROUPS, WORKLOADS, choose

SIZES: Final = {"default": (1024, 1024, 256), "small": (256, 256, 128), "tiny": (128, 128, 32)}
ROOT: Final = Path(__file__).resolve().parents[1]
DATA_VARIABLE: Final = "WKPIPE_BENCH_DATA"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description="Compare wkpipe with other packages.", epilog="workloads: " + ", ".join(names))
    sizes = ", ".join(f"{k} {v}" for k, v in SIZES.items())
    parser.add_argument("--size", choices=SIZES, default="default", help=f"size of the synthetic volumes: {sizes}")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each contender on each workload (default: %(default)s)")
    parser.add_argument(
        "--reference-runs",
        type=int,
        help="timed runs of webknossos (default: as --runs, but at most 2, and 1 if a run is long and the workload is not quick)",
    )
    parser.add_argument("--only", choices=names, metavar="NAME", action="append", help="do this workload; may be repeated")
    parser.add_argument("--group", choices=GROUPS, action="append", help="do these workloads; may be repeated (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="directory for the results (default: bench/out)")
    parser.add_argument("--volumes", type=Path, help="directory in which the volumes are made and kept (default: a temporary directory)")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get(DATA_VARIABLE, ROOT.parent / "shared" / "data")),
        help=f"directory with the real labels (default: ${DATA_VARIABLE}, else ../shared/data beside the repository)",
    )
    parser.add_argument("--add", action="store_true", help="keep the results of other workloads in --out, as after an interruption")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each run (default: %(default)g)")
    found = parser.parse_args(arguments)
    if found.runs < 1 or (found.reference_runs is not None and found.reference_runs < 1):
        parser.error("--runs and --reference-runs must be at least 1")
    return found


@contextlib.contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    """Provide a directory for volumes and runs; it is removed unless it was named."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="wkpipe-bench-") as directory:
        yield Path(directory)


def _facts(benchmark: Benchmark, command: str) -> dict[str, Any]:
    """Return facts about the machine and the packages."""
    loads = [result.measurement.load_before for result in benchmark.results if result.measurement]
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
        "command": command,
        "versions": {c.package: c.missing or c.version for c in benchmark.group if c.role != "limit"},
        "machine": machine,
        "shape": benchmark.volumes.shape,
        "layers": ", ".join(f"{name} {dtype}" for name, dtype in DTYPES.items()),
        "readers": benchmark.readers,
        "sizes": benchmark.sizes,
        "seconds": benchmark.seconds,
        "skipped": benchmark.skipped,
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _store(benchmark: Benchmark, out: Path, command: str) -> str:
    """Write table, numbers and chart of all results so far; return the table."""
    order = [workload.name for workload in WORKLOADS]
    benchmark.results.sort(key=lambda result: order.index(result.workload))
    facts, rows = _facts(benchmark, command), make_rows(benchmark.results, benchmark.sizes)
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(rows, facts)
    (out / "results.md").write_text(text, encoding="utf-8")
    write_json(out / "results.json", rows, benchmark.results, facts)
    draw_chart(out / "results.png", rows)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if a contender that is not missing failed, or if voxels differ."""
    wanted = _arguments(arguments)
    command = "bench/run.py " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes are ended and the volumes removed
    group = contenders(os.environ.get(REFERENCE_VARIABLE), os.environ.get(PEER_VARIABLE))
    workloads = choose(wanted.only, wanted.group)
    with _directory(wanted.volumes) as directory:
        shape = SIZES[wanted.size]
        volumes = Volumes(directory / f"volumes-{wanted.size}", shape, wanted.data)
        benchmark = Benchmark(directory, volumes, group, Runs(wanted.runs, wanted.reference_runs), wanted.timeout)
        if wanted.add and (wanted.out / "results.json").exists():
            stored = json.loads((wanted.out / "results.json").read_text(encoding="utf-8"))
            if tuple(stored["shape"]) != shape:
                sys.exit(f"--add: the results in {wanted.out} are of {stored['shape']} voxels, not of {list(shape)}; choose another --out")
            workloads = [w for w in workloads if w.name in (wanted.only or ()) or w.name not in stored["seconds"]]
            benchmark.add_stored(stored, {workload.name for workload in workloads})
        if wanted.size == "default":
            total = sum(map(benchmark.estimate, workloads))
            print(f"about {total / 60:.0f} min on two cores, with making the volumes", file=sys.stderr, flush=True)
        for workload in workloads:
            estimate = f", about {benchmark.estimate(workload) / 60:.1f} min" if wanted.size == "default" else ""
            print(f"{workload.name}{estimate}", file=sys.stderr, flush=True)
            start = time.monotonic()
            benchmark.run(workload)
            print(f"  took {(time.monotonic() - start) / 60:.1f} min", file=sys.stderr, flush=True)
            _store(benchmark, wanted.out, command)
        print(_store(benchmark, wanted.out, command))
    failed = any(result.error and not result.is_missing for result in benchmark.results)
    return int(failed or any(row.voxels.startswith("DIFFERENT") for row in make_rows(benchmark.results, {})))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; finished results are stored; with --add, the same command resumes")
