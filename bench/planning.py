"""Measure how planning scales: with a layer of up to a petabyte that has only metadata and empty files.

    python bench/planning.py [--edges 24 49 98] [--filled 0.02] [--strategy slurm]

A layer of N³ storage shards of 1024³ one-byte voxels has metadata and, for a part of its shards, files without data,
because planning reads only names, sizes and times. `adopt` is the first run on a dataset of another tool, `again` the
second one, with a ledger of all shards. Each stage runs in its own process:

    plan    make the plan
    begin   take the lease, prepare the arrays and the ledger, store the plan
    dag     load Snakemake's part of it
    job     load a job's part before its first voxel: its task, and its share of both ledgers

For slurm the work is cut for 100 jobs at once, for multiprocessing for 64 cores. A range is worth a job on a cluster;
a job does up to 50 of them. Times are CPU times, on which other work on the machine has little influence.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from wkpipe.cluster.sizing import DEFAULT_JOBS
from wkpipe.formats import create_array, make_spec
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config
from wkpipe.plan.cost.resources import JobSlots, Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.plan import load_plan
from wkpipe.runs.run import Run
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.process import peak_memory
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.seal import VARIABLE, Seal
from wkpipe.stored.locations import Locations

SHARD: Final = 1024
LAYER: Final = "em"
SIZINGS: Final = {"slurm": Sizing.of(JobSlots(DEFAULT_JOBS)), "multiprocessing": Sizing.local(64)}
STAGES: Final = ("plan", "begin", "dag", "job")


def make_dataset(root: Path, edge: int, filled: float) -> None:
    """Make a layer of edge³ storage shards, of which a part has (empty) files."""
    root.mkdir()
    size = edge * SHARD
    box = NDBoundingBox((0, 0, 0, 0), (1, size, size, size), ("c", "x", "y", "z"))
    layer = LayerProperties.for_box(LAYER, "color", "zarr3", "uint8", box, 1).with_mag(MagProperties(mag=Mag(1), path=f"./{LAYER}/1"))
    spec = make_spec(DataFormat.ZARR3, layer.axes, (1, size, size, size), "uint8", 1, (32, 32, 32), (SHARD, SHARD, SHARD))
    create_array(root / LAYER / "1", spec, Scratch(root / "scratch"))
    Locations(root, root / ".wkpipe").properties_file().create(DatasetProperties("planning", VoxelSize((4, 4, 4))).with_layer(layer))
    shutil.rmtree(root / ".wkpipe", ignore_errors=True)
    (root / "scratch").rmdir()
    chance = random.Random(0)
    for x in range(edge):
        for y in range(edge):
            depths = [z for z in range(edge) if chance.random() < filled]
            if depths:
                directory = root / LAYER / "1" / "c" / "0" / str(x) / str(y)
                directory.mkdir(parents=True)
                for z in depths:
                    (directory / str(z)).write_bytes(b"")


# -- the stages, each in its own process ----------------------------------------------------------------------------


def plan(root: Path, sizing: Sizing) -> dict[str, Any]:
    made = make_plan(Config(target=root), sizing)
    seconds = sum(task.runtime_s * task.threads for task in made.tasks if task.ranges)
    ranges = {"ranges": round(seconds / sizing.range_seconds)} if sizing.range_seconds else {}
    return {"tasks": len(made.tasks), **ranges, "units": made.units_to_do}


def begin(root: Path, sizing: Sizing) -> Callable[[], dict[str, Any]]:
    made = make_plan(Config(target=root), sizing)
    run = Run(made)

    def timed() -> dict[str, Any]:
        with run.begun():
            return {"run": run.seal.variable}

    return timed


def _run(root: Path) -> tuple[Path, Seal]:
    """Return directory and seal of the run that the stage `begin` has started."""
    (seal,) = Seal.all_of_environment()
    return Locations.of(root).runs.path(seal.run), seal


def dag(root: Path, _: Sizing) -> dict[str, Any]:
    return {"tasks": len(load_plan(*_run(root)).tasks)}


def job(root: Path, _: Sizing) -> dict[str, Any]:
    directory, seal = _run(root)
    names = [task.name for task in load_plan(directory, seal).tasks if task.rule != PUBLISH]
    middle = names[len(names) // 3]

    def timed() -> dict[str, Any]:
        made = load_plan(directory, seal, middle)
        locations = Locations(made.dataset, made.state)
        records = 0
        for part in made.tasks[0].ranges:
            mag_plan = made.mag_plan(part.layer, part.mag)
            source = next((found.spec for found in made.layer(part.layer).found if found.mag == mag_plan.origin.mag), mag_plan.spec)
            needed = {unit for own in part.units for unit in mag_plan.source_units(own, source)}
            Ledger.load(locations.ledger(part.layer, part.mag), only=part.units)
            records += len(Ledger.load(locations.ledger(part.layer, mag_plan.origin.mag), only=needed).records)
        return {"records": records}

    return timed


def _stage(name: str, root: Path, sizing: Sizing) -> None:
    """Run a stage and print seconds of CPU and peak memory."""
    start = time.process_time()
    outcome = {"plan": plan, "begin": begin, "dag": dag, "job": job}[name](root, sizing)
    if callable(outcome):
        start = time.process_time()
        outcome = outcome()
    seconds = time.process_time() - start
    peak = peak_memory()
    print(json.dumps({"seconds": seconds, "megabytes": peak / 1e6, **outcome}))


def measured(name: str, root: Path, strategy: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--strategy", strategy, "--stage", name, str(root)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    result: dict[str, Any] = json.loads(output)
    if "run" in result:  # for later stages
        os.environ[VARIABLE] = result.pop("run")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, nargs="+", default=[24, 49, 98], help="shards along each edge; 98 make a petabyte")
    parser.add_argument("--filled", type=float, default=0.02, help="part of the shards that have files")
    parser.add_argument("--strategy", choices=SIZINGS, default="slurm", help="how the work is cut")
    parser.add_argument("--directory", type=Path, help="where the datasets are made; default: the system's temporary directory")
    parser.add_argument("--stage", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage:
        _stage(arguments.stage[0], Path(arguments.stage[1]), SIZINGS[arguments.strategy])
        return
    print(f"{'shards':>8} {'bytes':>8} {'run':>6} {'stage':>6} {'CPU s':>8} {'MB peak':>8} {'µs/shard':>9}  what")
    with contextlib.ExitStack() as stack:
        parent = arguments.directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planning-")))
        for edge in arguments.edges:
            root = parent / str(edge)
            make_dataset(root, edge, arguments.filled)
            for run in ("adopt", "again"):
                for name in STAGES:
                    found = measured(name, root, arguments.strategy)
                    seconds, megabytes = found.pop("seconds"), found.pop("megabytes")
                    what = ", ".join(f"{value} {key}" for key, value in found.items())
                    print(
                        f"{edge**3:>8} {edge**3 * SHARD**3:>8.1e} {run:>6} {name:>6} {seconds:>8.2f} {megabytes:>8.0f} "
                        f"{seconds / edge**3 * 1e6:>9.2f}  {what}",
                        flush=True,
                    )
            shutil.rmtree(root)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
