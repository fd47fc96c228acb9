"""Downsample with tensorstore's `downsample` driver; `run.py` starts it with a Python that has tensorstore.

    PYTHON downsample_tensorstore.py STEPS [RESULT]

STEPS is a file of `bench.peer_steps`. Each mag is written piece by piece in one transaction. With shards the driver is then
fastest and smallest, because it encodes each shard once. With RESULT, the work is timed there, with a sync at the end.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tensorstore as ts

from bench.stopwatch import timed


def make_mag(step: dict[str, Any]) -> None:
    """Make one mag out of a finer one."""
    source = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": step["source"]}}).result()
    kvstore = {"driver": "file", "path": step["target"]}
    target = ts.open({"driver": "zarr3", "kvstore": kvstore, "metadata": step["metadata"]}, create=True).result()
    first, end = step["source_box"]
    cut = source[(slice(None), *map(slice, first, end))]
    coarse = ts.downsample(cut, [1, *step["factors"]], step["method"])
    corners = itertools.product(*(range(low, high, edge) for low, high, edge in zip(*step["box"], step["piece"], strict=True)))
    with ts.Transaction() as transaction:
        writing = target.with_transaction(transaction)
        futures = []
        for corner in corners:
            box = (slice(None), *(slice(a, min(a + n, high)) for a, n, high in zip(corner, step["piece"], step["box"][1], strict=True)))
            futures.append(writing[box].write(coarse[box]))
        for future in futures:
            future.result()


def main(steps: str, result: str | None = None) -> None:
    todo = json.loads(Path(steps).read_text(encoding="utf-8"))
    with timed(str(Path(steps).parent), result) if result else contextlib.nullcontext():
        for step in todo:
            make_mag(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
