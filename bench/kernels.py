"""Measure the kernels alone: every combination of factors out of {1, 2, 4} on cubes as the engine samples them.

Voxels are drawn once, as Fortran-ordered cubes of 4 MB that together exceed a core's own cache. Rates are source voxels per
second of the measuring thread's CPU time, which other work on the machine disturbs less than the wall clock; each is the
median of several rounds over all cubes. With --threads above 1, this many threads do the same side by side, and the rate is
that of all together by the wall clock (with the time that they wait for each other).
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.volumes import draw
from wkpipe.sampling import InterpolationMode, sample_box

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Factors: TypeAlias = tuple[int, int, int]

CUBE_BYTES: Final = 4 << 20
CUBES: Final = 4
BASE: Final[Factors] = (2, 2, 1)
COMBINATIONS: Final[list[Factors]] = [f for f in itertools.product((1, 2, 4), repeat=3) if f != (1, 1, 1)]
LABELS: Final = 1 << 24


class Column(NamedTuple):
    """A measurement: a mode on voxels of a dtype, drawn in one way."""

    mode: InterpolationMode
    dtype: str
    data: str

    @property
    def name(self) -> str:
        return f"{self.mode} {self.dtype} {self.data}".strip()


COLUMNS: Final = [
    Column(InterpolationMode.MEDIAN, "uint8", ""),
    Column(InterpolationMode.MEDIAN, "uint16", ""),
    Column(InterpolationMode.MEDIAN, "float32", ""),
    Column(InterpolationMode.MAX, "uint8", ""),
    Column(InterpolationMode.MODE, "uint32", "cells"),
    Column(InterpolationMode.MODE, "uint32", "speckled"),
    Column(InterpolationMode.MODE, "uint32", "noise"),
    Column(InterpolationMode.MODE, "uint32", "3 labels"),
    Column(InterpolationMode.MODE, "uint64", "cells"),
]
DATA: Final = """\
Data: median and max of grey noise; mode of `cells` (labels as `bench/run.py` draws them), `speckled` (the same, one voxel in
twenty replaced by any label), `noise` (every voxel any of 2^24 labels), `3 labels` (every voxel one of three)."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Rates of the sampling kernels for every combination of factors out of {1, 2, 4}.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all cubes; the median counts (5)")
    parser.add_argument("--threads", type=int, default=1, help="threads side by side (1)")
    parser.add_argument("--only", default="", help="columns whose name contains this text")
    parser.add_argument("--factors", action="append", metavar="X-Y-Z", help="these factors only, besides 2-2-1; may be repeated")
    parser.add_argument("--out", type=Path, help="also store the table in this file")
    options = parser.parse_args()
    columns = [column for column in COLUMNS if options.only in column.name]
    if not columns:
        parser.error(f"--only {options.only!r} fits no column; there are: {', '.join(column.name for column in COLUMNS)}")
    rows = [BASE, *(f for f in COMBINATIONS if f != BASE and (not options.factors or name_of(f) in options.factors))]
    table = rate_table(columns, rows, options.rounds, options.threads)
    print(table)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(table + "\n")
    return 0


def rate_table(columns: Sequence[Column], rows: Sequence[Factors], rounds: int, threads: int) -> str:
    """Measure all and return a Markdown table: GVox/s, and the share of the rate at 2-2-1."""
    rates: dict[tuple[Column, Factors], float] = {}
    for column in columns:
        cubes = cubes_of(column)
        for factors in rows:
            rates[column, factors] = rate(cubes, factors, column.mode, rounds, threads)
            print(f"\r{column.name} {name_of(factors)} {rates[column, factors]:.2f}   ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    head = ["factors", *(column.name for column in columns)]
    lines = [head, ["---"] * len(head)]
    for factors in rows:
        line = [name_of(factors)]
        for column in columns:
            share = "" if factors == BASE else f" ({100 * rates[column, factors] / rates[column, BASE]:.0f} %)"
            line.append(f"{rates[column, factors]:.2f}{share}")
        lines.append(line)
    worst = [min((rates[column, f] / rates[column, BASE], name_of(f)) for f in rows) for column in columns]
    lines.append(["least share", *(f"{100 * share:.0f} % ({name})" for share, name in worst)])
    clock = "per second of CPU, one thread" if threads == 1 else f"per second of wall clock, {threads} threads together"
    return f"10^9 source voxels {clock}; in brackets the share of 2-2-1's rate. {DATA}\n\n" + "\n".join(
        f"| {' | '.join(line)} |" for line in lines
    )


def cubes_of(column: Column) -> list[Voxels]:
    """Draw the cubes of a column, (x, y, z) in Fortran order, about CUBE_BYTES each and edges powers of two."""
    dtype = np.dtype(column.dtype)
    bits = (CUBE_BYTES // dtype.itemsize).bit_length() - 1
    shape = (1 << -(-bits // 3), 1 << -(-(bits - 1) // 3), 1 << bits // 3)
    rng = np.random.default_rng(11)
    cubes = []
    for i in range(CUBES):
        if column.data in ("cells", "speckled"):
            voxels = np.stack([draw("seg", (shape[0], shape[1], 0), shape[2] * i + z) for z in range(shape[2])]).T
            if column.data == "speckled":
                voxels = np.where(rng.random(shape) < 0.05, rng.integers(0, LABELS, shape, dtype=np.uint32), voxels)
        elif column.data:
            voxels = rng.integers(0, 3 if column.data == "3 labels" else LABELS, shape)
        else:
            voxels = rng.normal(120, 30, shape).clip(0, 255)
        cubes.append(np.asfortranarray(voxels.astype(dtype)))
    return cubes


def rate(cubes: Sequence[Voxels], factors: Factors, mode: InterpolationMode, rounds: int, threads: int) -> float:
    """Return 10^9 source voxels per second."""

    def sample_all() -> None:
        for cube in cubes:
            shape = [size // f for size, f in zip(cube.shape, factors, strict=True)]
            sample_box(lambda _start, _shape, cube=cube: cube, (0, 0, 0), shape, factors, ((0, 0, 0), cube.shape), mode)

    voxels = sum(cube.size for cube in cubes)
    if threads == 1:
        return voxels / 1e9 / statistics.median(seconds(sample_all, time.thread_time) for _ in range(rounds))
    starting = threading.Barrier(threads + 1)

    def work() -> None:
        sample_all()  # fills its scratch
        starting.wait()
        for _ in range(rounds):
            sample_all()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    starting.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return voxels * rounds * threads / 1e9 / (time.perf_counter() - begin)


def seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """Return how long a call takes, after a first call that fills the caches."""
    work()
    begin = clock()
    work()
    return clock() - begin


def name_of(factors: Factors) -> str:
    """Return factors in the form of a mag's name: 2-2-1."""
    return "-".join(map(str, factors))


if __name__ == "__main__":
    sys.exit(main())
