"""Print a hash of the voxels of every mag of a dataset, as JSON; `run.py` runs it with a contender's Python.

    PYTHON voxel_hashes.py PACKAGE DATASET [--derived]

PACKAGE reads the dataset: wkpipe or webknossos, which have the same names for this. --derived leaves out the finest mag.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

SLAB = 32  # slices read at once
THREADS = 2


def voxel_hash(view: Any, pool: ThreadPoolExecutor) -> str:
    """Hash shape, dtype and voxels (c, x, y, z) of a mag: the hash of the hashes of its slabs."""
    box, mag = view.bounding_box, view.mag
    left, top, start = box.topleft
    width, height, depth = box.size

    def slab_hash(z: int) -> bytes:
        voxels = view.read(absolute_offset=(left, top, z), size=(width, height, min(SLAB * mag.z, start + depth - z)))
        digest = hashlib.blake2b(f"{voxels.shape} {voxels.dtype.str}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(voxels.T).data)
        return digest.digest()

    slabs = pool.map(slab_hash, range(start, start + depth, SLAB * mag.z))
    return hashlib.blake2b(b"".join(slabs), digest_size=16).hexdigest()


def main(package: str, path: str, derived_only: bool) -> None:
    """Hash all mags of all layers."""
    dataset = importlib.import_module(package).Dataset.open(path)
    hashes = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for name, layer in dataset.layers.items():
            for mag in sorted(layer.mags)[int(derived_only) :]:
                hashes[f"{name}/{mag}"] = voxel_hash(layer.mags[mag], pool)
    print("\n" + json.dumps(hashes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--derived" in sys.argv[3:])
