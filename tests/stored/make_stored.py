"""Make results.npz again: the reference package's results for the cases of cases.py.

PYTHONPATH=. python tests/stored/make_stored.py PYTHON_WITH_THE_REFERENCE_PACKAGE
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

RESULTS = Path(__file__).with_name("results.npz")

if __name__ == "__main__":
    # A dependency brings a package of the same name, which would win over a directory without __init__.py.
    package = ModuleType("tests")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["tests"] = package

    from tests.reference.workshop import Reference
    from tests.stored.cases import COUNT, SEED, draw
    from tests.stored.reference_results import results_of

    with tempfile.TemporaryDirectory() as directory:
        reference = Reference(Path(sys.argv[1]), Path(directory) / "lock")
        found = results_of([draw(SEED + i) for i in range(COUNT)], reference, Path(directory) / "work")
    arrays = {f"{number}/{mag}": voxels for number, mags in found.items() for mag, voxels in mags.items()}
    np.savez_compressed(RESULTS, **arrays)
    print(f"{len(arrays)} mags of {COUNT} datasets, {RESULTS.stat().st_size} bytes")
