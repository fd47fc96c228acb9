"""The input files of tests: those in `tests/data` always exist, others only beside some checkouts (tests/data/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

DATA = Path(__file__).resolve().parent / "data"
GOLDEN = DATA / "golden"
LABELS = DATA / "labels_256.npz"
ABSENT = "its files are not shipped, and no directory `shared` is beside the repository"

_BESIDE = DATA.parents[2] / "shared"


def material(name: str) -> Path:
    """Return a file or directory of `tests/data`, else the one of this name beside the repository; skip the test if both are missing."""
    path = next((root / name for root in (DATA, _BESIDE) if (root / name).exists()), None)
    if path is None:
        pytest.skip(ABSENT)
    return path


def labels() -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the shipped connectomics labels: 256³ ids, axes x, y, z, Fortran order."""
    with np.load(LABELS) as file:
        return np.asarray(file["labels"])
