"""Downsample a dataset with the reference package in this process, and time it; `run.py` starts it with that package's Python.

    PYTHON alone_webknossos.py DATASET WARM_UP RESULT JOBS

Before the clock starts, the layers of the small dataset WARM_UP are done, so that functions are compiled. With more than
one job they run in processes that are already started. A sync at the end counts.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cluster_tools
import webknossos

from bench.stopwatch import timed


def _started(_: int) -> None:
    import webknossos  # noqa: F401


def downsample(dataset: str, executor: Any) -> None:
    """Make the coarser mags of all layers."""
    for layer in webknossos.Dataset.open(dataset).layers.values():
        layer.downsample(executor=executor)


def main(dataset: str, warm_up: str, result: str, jobs: int) -> None:
    executor = cluster_tools.get_executor("multiprocessing", max_workers=jobs) if jobs > 1 else cluster_tools.get_executor("sequential")
    with executor:
        list(executor.map(_started, range(4 * jobs)))
        downsample(warm_up, executor)
        with timed(dataset, result):
            downsample(dataset, executor)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
