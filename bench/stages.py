"""Measure the stages of downsampling: seconds of CPU in each stage of the engine, all by one thread.

    python bench/stages.py DATASET

A copy of the dataset (mag 1 by hard links) is downsampled in this process, without workers, so that every stage can be
measured. The engine's own functions are timed; `other` is the rest of the whole work.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.alone_wkpipe import plan_of
from wkpipe.engine.allocator import keep_freed_memory
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.codecs import Lz4, Zstd
from wkpipe.formats.fetched import FetchedRegion
from wkpipe.formats.wkw_compressed import CompressedWkwWriter
from wkpipe.formats.zarr3 import Zarr3ShardWriter
from wkpipe.runs.run import Run
from wkpipe.sampling import sample
from wkpipe.steps import downsample
from wkpipe.steps.task import run_task
from wkpipe.storage.commits import Commits

STAGES: Final = (
    ("read", downsample._UnitSampler, "fetch"),
    ("decode and place", FetchedRegion, "voxels"),
    ("decode", Zstd, "decode_many"),
    ("decode", Lz4, "decode_many"),
    ("kernel", sample, "reduce_block"),
    ("cut and encode", ChunkCoder, "encode_grid"),
    ("encode", Zstd, "encode_many"),
    ("encode", Lz4, "encode_many"),
    ("append", Zarr3ShardWriter, "append_all"),
    ("append", CompressedWkwWriter, "append_all"),
    ("commit", Commits, "flush"),
)


def watch(seconds: dict[str, float]) -> None:
    """Make the stages add up their time."""
    for name, owner, function in STAGES:
        setattr(owner, function, _timed(getattr(owner, function), name, seconds))


def _timed(function: Any, name: str, seconds: dict[str, float]) -> Any:
    def wrapper(*arguments: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name] += time.thread_time() - start

    return wrapper


def main(dataset: str) -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    keep_freed_memory()
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(prefix="stages-", dir=Path(dataset).resolve().parent) as place:
        copy = Path(place) / "dataset"
        shutil.copytree(dataset, copy, copy_function=os.link, ignore=shutil.ignore_patterns(".wkpipe"))
        plan = plan_of(str(copy))
        with Run(plan).begun() as epoch:
            watch(seconds)
            start = time.thread_time()
            for task in plan.tasks:
                run_task(plan, dataclasses.replace(task, threads=1), epoch)
            whole = time.thread_time() - start
    seconds["place"] = seconds.pop("decode and place") - seconds["decode"]
    seconds["cut"] = seconds.pop("cut and encode") - seconds["encode"]
    seconds["other"] = whole - sum(seconds.values())
    print("| stage | s | share |\n|---|---|---|")
    for name in ("read", "decode", "place", "kernel", "cut", "encode", "append", "commit", "other"):
        print(f"| {name} | {seconds[name]:.3f} | {seconds[name] / whole:.0%} |")
    print(f"| whole | {whole:.3f} | |")


if __name__ == "__main__":
    main(*sys.argv[1:])
