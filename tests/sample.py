"""Samples of large families of tests: which cases run depends on the commit, so that in the course of time all of them do.

A family is marked ``@pytest.mark.sampled(every=4)``. `make torture` runs the families whole, and so does a run that names files.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

MARKER = "sampled"
SEED_VARIABLE = "WKPIPE_SAMPLE_SEED"
"""Repeats the sample of another commit."""
WHOLE_VARIABLE = "WKPIPE_WHOLE"


def seed_of(root: Path) -> str:
    """Return the seed of the sample: the commit of the repository unless a variable gives another one."""
    if given := os.environ.get(SEED_VARIABLE):
        return given
    found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "no commit"


def is_chosen(name: str, every: int, seed: str) -> bool:
    """True if the case of this name is in the sample: one of `every`."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big") % every == 0


def is_whole(arguments: Sequence[str]) -> bool:
    """True if families are not sampled: a variable says so, or pytest was given files or tests by name."""
    return bool(os.environ.get(WHOLE_VARIABLE)) or any(".py" in argument for argument in arguments)


def header(root: Path, arguments: Sequence[str]) -> str:
    """Return what the report says of the sample."""
    if is_whole(arguments):
        return "large families of tests: whole"
    return f"large families of tests: sampled by {SEED_VARIABLE}={seed_of(root)}; {WHOLE_VARIABLE}=1 runs all cases"


def sampled(items: Sequence[pytest.Item], root: Path, arguments: Sequence[str]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the tests to run and those left out."""
    if is_whole(arguments):
        return list(items), []
    seed = seed_of(root)
    chosen, others = [], []
    for item in items:
        marker = item.get_closest_marker(MARKER)
        is_in = marker is None or is_chosen(item.nodeid, marker.kwargs["every"], seed)
        (chosen if is_in else others).append(item)
    return chosen, others
