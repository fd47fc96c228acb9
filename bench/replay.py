"""How many workers one task can feed: encoded chunks are replayed by simulated workers, and the CPU of the main process is measured.

    python bench/replay.py MAG [--workers N …] [--cube-ms MS …]

MAG is the directory of a mag in Zarr 3. The chunks of its first storage shard are read once, before the processes are forked. A simulated
worker sleeps for the time that a real one takes for a cube, and then returns a cube that is encoded already. Everything else is as in a
real task: the slots, the tickets, the writes, the digests and the commit. As the main process needs the same CPU for a cube whatever the
number of workers, `1 / CPU` is what it can take in a second at most; docs/performance.md has the model.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from wkpipe.engine.budget import CUBE_BYTES, ahead_of, slot_bytes
from wkpipe.engine.cubes import cubes_of
from wkpipe.engine.workers import ForkedWork, forked_map
from wkpipe.formats import open_array
from wkpipe.formats.base import DataFormat, EncodedChunks, UnitWriter
from wkpipe.formats.unit_writer import parts_of_head, stowed_head
from wkpipe.formats.zarr3 import Zarr3Shards
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.grid import morton_order
from wkpipe.storage.scratch import Scratch

FACTORS: Final = 4
"""The finer voxels of a voxel, as from 1-1-1 to 2-2-1: an encoded cube has a quarter of the voxels of its source."""


@dataclass(frozen=True)
class Replay:
    """One measurement: stored bytes, wall clock, and CPU seconds of the main process and of all."""

    workers: int
    cubes: int
    size: int
    wall: float
    main: float
    whole: float

    def row(self, way: str, cube_ms: float) -> str:
        gb = self.size / 1e9
        cells = (f"{self.wall:.2f}", f"{gb / self.wall:.2f}", f"{self.main / gb:.2f}", f"{gb / self.main:.2f}", f"{self.whole / gb:.2f}")
        return f"| {way} | {self.workers} | {cube_ms:g} | {self.cubes} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mag", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("--cube-ms", type=float, nargs="+", default=[0])
    wanted = parser.parse_args()
    array = open_array(wanted.mag, DataFormat.ZARR3)
    if not isinstance(array, Zarr3Shards):
        raise SystemExit(f"{wanted.mag}: only mags in Zarr 3 with storage shards are replayed")
    cubes = loaded(array)
    print("| who writes | workers | ms a cube | cubes | wall s | GB/s | main CPU s/GB | main at most GB/s | all CPU s/GB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cube_ms, workers, way in itertools.product(wanted.cube_ms, wanted.workers, ("main process", "workers")):
        print(replayed(wanted.mag, cubes, workers, cube_ms / 1000, way == "workers").row(way, cube_ms), flush=True)


def loaded(array: Zarr3Shards) -> list[EncodedChunks]:
    """Return all cubes of the first stored unit, in file order."""
    spec = array.spec
    unit = next(array.stored_units())
    whole = Vec3Int(spec.chunks_per_unit[-3:])
    found = []
    for cube in cubes_of(spec, spec.chunk_bytes * FACTORS, CUBE_BYTES, Vec3Int.zeros(), whole):
        chunks = morton_order(cube.grid.to_tuple()) + np.array(cube.first)
        positions = np.zeros((len(chunks), len(spec.axes)), np.int64)
        positions[:, -3:] = chunks
        found.append(array.stored_chunks(unit, positions))
    return [cube for cube in found if cube.data]


def replayed(mag: Path, cubes: Sequence[EncodedChunks], workers: int, seconds: float, by_workers: bool) -> Replay:
    """Write the cubes to a shard, by simulated workers or by the main process, and measure that."""
    with tempfile.TemporaryDirectory(prefix="replay-", dir=mag.parent) as place:
        shutil.copy(mag / "zarr.json", place)
        target = open_array(Path(place), DataFormat.ZARR3)
        spec = target.spec
        clocks = time.perf_counter(), time.process_time(), _of_children()
        with target.unit_writer([0] * len(spec.axes), Scratch(Path(place) / "scratch")) as writer:

            def stowed(cube: EncodedChunks, _: object) -> tuple[bytes, bytes]:
                time.sleep(seconds)
                receipt, body = writer.stow(cube)
                return stowed_head(cube, receipt), body

            append = writer.append_stowed if by_workers else functools.partial(UnitWriter.append_stowed, writer)
            work = ForkedWork[EncodedChunks, None](lambda _: None, stowed, writer.begin_stowing() if by_workers else None, writer.filled)
            most = slot_bytes(spec, max(len(cube.sizes) for cube in cubes))
            with contextlib.closing(forked_map(work, cubes, workers, most, ahead_of(spec.chunk_bytes * FACTORS, CUBE_BYTES))) as results:
                for result in results:
                    positions = result.item.positions
                    result.offset = append(positions, *parts_of_head(result.head, len(positions)), result.body)
            size = writer.commit().size
        wall, own, others = time.perf_counter() - clocks[0], time.process_time() - clocks[1], _of_children() - clocks[2]
    return Replay(workers, len(cubes), size, wall, own, own + others)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
