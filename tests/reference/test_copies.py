"""Copies of a dataset that the reference package made: both libraries read the same in all formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reference.workshop import Reference, assert_same_facts, our_facts
from wkpipe import Dataset

pytestmark = pytest.mark.reference

FORMATS = ("zarr3", "zarr", "wkw")


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("data_format", FORMATS)
def test_the_reference_reads_our_copies(data_format: str, reference: Reference, tmp_path: Path) -> None:
    layers = []
    for name, category, dtype, channels in (("em", "color", "uint8", 3), ("cells", "segmentation", "uint32", 1)):
        voxels = np.random.default_rng(0).integers(1, 200, (channels, 70, 50, 40)).astype(dtype)
        np.save(file := tmp_path / f"{name}.npy", voxels)
        layers.append({"name": name, "category": category, "voxels": str(file), "axes": list("cxyz"), "topleft": [0, 5, 6, 7]})
    made = tmp_path / "dataset"
    reference.script("make_dataset.py", made, {"voxel_size": [4, 4, 40], "data_format": data_format, "compress": False, "layers": layers})
    dataset, copies = Dataset.open(made), [tmp_path / wanted / "dataset" for wanted in FORMATS]
    for wanted, path in zip(FORMATS, copies, strict=True):
        dataset.copy_dataset(path, data_format=wanted, compress=wanted != "wkw", chunk_shape=16, shard_shape=16 if wanted == "zarr" else 32)
    original, *theirs = reference.facts(tmp_path / "theirs", made, *copies)
    for path, found in zip(copies, theirs, strict=True):
        assert_same_facts(our_facts(path), found)
        assert_same_facts(found, original, but=["data_format", "compressed"], same_shapes=False)
