"""Measure the library's views beside the reference package: small writes to one storage shard, and labels made chunk by chunk.

Each library runs each case in processes of its own, in turn; medians and their ratios are printed. CPU is that of the process and
its children, without imports. Needs the variable WKPIPE_REFERENCE_PYTHON.

"labels" has no executor: wkpipe uses all cores, the reference one. In "labels in parallel" both use all cores; the reference needs an
executor of processes for that.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 3
CASES = ("small writes", "slices", "labels", "labels in parallel")


def label(args: tuple[Any, Any, int]) -> None:
    """Write a number to every bright voxel of a chunk."""
    source, target, number = args
    target.write((source.read() > 100) * np.uint32(number + 1))


def prepare(library: Any, case: str, root: Path) -> Any:
    """Return a function that does the work of a case."""
    box = library.BoundingBox
    dataset = library.Dataset(root, (4, 4, 40))
    noise = np.random.default_rng(0)
    if case.startswith("labels"):
        shape = (512, 512, 256)
        em = dataset.add_layer("em", "color", bounding_box=box((0, 0, 0), shape)).add_mag(1, chunk_shape=32, shard_shape=128)
        smooth = np.repeat(np.repeat(np.repeat(noise.integers(0, 255, (32, 32, 16), dtype=np.uint8), 16, 0), 16, 1), 16, 2)
        em.write(smooth)
        cells = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box((0, 0, 0), shape))
        target = cells.add_mag(1, chunk_shape=32, shard_shape=128)
        if case == "labels" or library.__name__ == "wkpipe":
            return lambda: em.for_zipped_chunks(label, target)

        def in_processes() -> None:
            with importlib.import_module("cluster_tools").get_executor("multiprocessing") as executor:
                em.for_zipped_chunks(label, target, executor=executor)

        return in_processes
    layer = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box((0, 0, 0), (256, 256, 128)))
    mag = layer.add_mag(1, chunk_shape=32, shard_shape=(256, 256, 128))
    cube = noise.integers(0, 1 << 20, (64, 64, 64), dtype=np.uint32)
    corners = [(x, y, z) for x in range(0, 256, 64) for y in range(0, 256, 64) for z in range(0, 128, 64)]

    def small_writes() -> None:
        for corner in corners:
            mag.write(cube, absolute_offset=corner, allow_unaligned=True)

    def slices() -> None:
        plane = np.tile(cube[:, :, 0], (4, 4))
        with mag.get_buffered_slice_writer(buffer_size=4, allow_unaligned=True) as writer:
            for _ in range(128):
                writer.send(plane)

    return small_writes if case == "small writes" else slices


def work(name: str, case: str) -> None:
    """Do a case once, in this process; print wall time and CPU as JSON."""
    warnings.simplefilter("ignore")
    library = importlib.import_module(name)
    with tempfile.TemporaryDirectory() as root:
        run = prepare(library, case, Path(root, "ds"))
        before, start = _cpu(), time.perf_counter()
        run()
        print(json.dumps([time.perf_counter() - start, _cpu() - before]))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    """Measure all cases."""
    pythons = {"wkpipe": sys.executable, "webknossos": os.environ["WKPIPE_REFERENCE_PYTHON"]}
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {ROUNDS} rounds")
    for case in CASES:
        found: dict[str, list[list[float]]] = {name: [] for name in pythons}
        for _ in range(ROUNDS):
            for name, python in pythons.items():
                output = subprocess.run(
                    [python, __file__, name, case], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                ).stdout
                found[name].append(json.loads(output.splitlines()[-1]))
        wall, cpu = ({name: statistics.median(row[i] for row in rows) for name, rows in found.items()} for i in (0, 1))
        ratios = f"{wall['webknossos'] / wall['wkpipe']:.1f} and {cpu['webknossos'] / cpu['wkpipe']:.1f}"
        print(
            f"{case}: " + ", ".join(f"{name} {wall[name]:.2f} s, CPU {cpu[name]:.2f} s" for name in pythons) + f"; ratios {ratios}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(*sys.argv[1:])
    else:
        main()
