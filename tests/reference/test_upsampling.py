"""wkpipe upsamples the reference package's datasets like the reference package, voxel for voxel, by factors up to 2."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import labels
from tests.reference.sources import noise
from tests.reference.workshop import VOXEL_SIZE, Reference, Workshop, assert_same_facts, our_facts
from wkpipe import Dataset

pytestmark = pytest.mark.reference
TOPLEFT, SIZE = (13, 7, 5), (21, 15, 11)


def layers_for() -> list[dict[str, Any]]:
    ids = np.random.default_rng(4).integers(0, 2**63, SIZE, dtype="uint64")
    found = [
        ("uint8", "color", noise((1, *SIZE), "uint8", seed=5), "cxyz"),
        ("rgb", "color", noise((3, *SIZE), "uint8", seed=6), "cxyz"),
        ("float32", "color", noise((1, *SIZE), "float32", seed=8), "cxyz"),
        ("labels", "segmentation", labels()[100:121, 200:215, 30:41][None], "cxyz"),
        ("ids", "segmentation", ids[None], "cxyz"),
    ]
    return [
        {"name": name, "category": category, "voxels": voxels, "axes": list(axes), "topleft": [0, *TOPLEFT]}
        for name, category, voxels, axes in found
    ]


def made_dataset(reference: Reference, path: Path, mag: str) -> None:
    path.mkdir()
    layers = layers_for()
    for layer in layers:
        np.save(path / f"{layer['name']}.npy", layer["voxels"])
        layer["voxels"] = str(path / f"{layer['name']}.npy")
    values = {"voxel_size": VOXEL_SIZE, "data_format": "zarr3", "compress": True, "layers": layers, "mag": mag}
    reference.script("make_dataset.py", path / "dataset", values)


@pytest.mark.parametrize(
    "from_mag, finest, mode, mags",
    [
        ("4-4-2", "1", "anisotropic", ["4-4-2", "2-2-1", "1"]),
        ("4", "1", "isotropic", ["4", "2", "1"]),
    ],
)
def test_voxels_are_equal(
    from_mag: str, finest: str, mode: str, mags: list[str], workshop: Workshop, reference: Reference, tmp_path: Path
) -> None:
    dataset = workshop.once(f"coarse-{from_mag}", lambda path: made_dataset(reference, path, from_mag)) / "dataset"
    ours, theirs = tmp_path / "ours" / "dataset", tmp_path / "theirs" / "dataset"
    shutil.copytree(dataset, ours)
    shutil.copytree(dataset, theirs)
    for layer in Dataset.open(ours).layers.values():
        layer.upsample(from_mag, finest, sampling_mode=mode, chunk_shape=32, shard_shape=64)
    reference.script("upsample_dataset.py", theirs, {"from_mag": from_mag, "finest_mag": finest, "sampling_mode": mode})
    read, expected = reference.facts(tmp_path / "facts", ours, theirs)
    found = our_facts(ours)
    assert_same_facts(found, read)
    assert_same_facts(found, expected)
    assert list(found["layers"]["uint8"]["mags"]) == mags


def test_segment_ids_are_equal(reference: Reference, workshop: Workshop, tmp_path: Path) -> None:
    dataset = workshop.once("coarse-4", lambda path: made_dataset(reference, path, "4")) / "dataset"
    shutil.copytree(dataset, tmp_path / "dataset")
    for layer in Dataset.open(tmp_path / "dataset").get_segmentation_layers():
        known, layer.largest_segment_id = layer.largest_segment_id, None
        layer.refresh_largest_segment_id()
        assert layer.largest_segment_id == known
