"""Print a hash of the voxels of every mag of a dataset, as JSON; `run.py` runs it with a contender's Python.

    PYTHON voxel_hashes.py PACKAGE DATASET

PACKAGE reads the dataset: wkpipe or webknossos, which have the same names for this.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from typing import Any

import numpy as np

SLAB = 32  # slices that are read at once


def voxel_hash(view: Any) -> str:
    """Hash shape, dtype and voxels (c, x, y, z) of a mag, slab by slab."""
    box, mag = view.bounding_box, view.mag
    digest = hashlib.blake2b(digest_size=16)
    left, top, start = box.topleft
    width, height, depth = box.size
    for z in range(start, start + depth, SLAB * mag.z):
        voxels = view.read(absolute_offset=(left, top, z), size=(width, height, min(SLAB * mag.z, start + depth - z)))
        digest.update(f"{voxels.shape} {voxels.dtype.str}".encode())
        digest.update(np.ascontiguousarray(voxels.T).data)
    return digest.hexdigest()


def main(package: str, path: str) -> None:
    """Hash all mags of all layers."""
    dataset = importlib.import_module(package).Dataset.open(path)
    hashes = {f"{name}/{mag}": voxel_hash(view) for name, layer in dataset.layers.items() for mag, view in layer.mags.items()}
    print("\n" + json.dumps(hashes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
