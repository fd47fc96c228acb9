"""Make cases with the reference package, in its own Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.oracle.pyramid import Array
from tests.reference.workshop import Reference
from tests.stored.cases import StoredCase


def results_of(cases: Sequence[StoredCase], reference: Reference, place: Path) -> dict[int, dict[str, Array]]:
    """Return the voxels of the coarser mags by the number of the case and the mag's name, in the order in which they were made."""
    place.mkdir()
    for case in cases:
        np.save(place / f"{case.number}.npy", case.voxels)
    reference.script("stored_results.py", [case.to_json() for case in cases], place)
    found = {}
    for case in cases:
        with np.load(place / f"{case.number}.npz") as mags:
            found[case.number] = dict(mags)
    return found
