"""wkpipe downsamples the reference package's datasets like the reference package, voxel for voxel."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import labels
from tests.reference.sources import noise
from tests.reference.workshop import VOXEL_SIZE, Facts, Reference, Workshop, assert_same_facts, our_facts, run_wkpipe
from wkpipe import Dataset

pytestmark = pytest.mark.reference

MadeDataset = Callable[[str, tuple[float, ...]], Path]
FORMATS = ("zarr3", "zarr", "wkw")
TOPLEFT, SIZE = (13, 7, 5), (91, 53, 39)


def layers_for(data_format: str) -> list[dict[str, Any]]:
    """Return layers with odd sizes that do not begin at the origin; all in one box, so that the layers' ladders agree."""
    few = np.random.default_rng(4).choice(np.array([0, 0, 1, 2, 3, 2**40, 2**63], "uint64"), SIZE)
    few[20:40, 10:30, 5:20] = 7
    found = [
        ("uint8", "color", noise((1, *SIZE), "uint8", seed=5), "cxyz"),
        ("rgb", "color", noise((3, *SIZE), "uint8", seed=6), "cxyz"),
        ("float32", "color", noise((1, *SIZE), "float32", seed=8), "cxyz"),
        ("labels", "segmentation", labels()[100:191, 200:253, 30:69][None], "cxyz"),
        ("few_ids", "segmentation", few[None], "cxyz"),
    ]
    if data_format != "wkw":
        found.append(("time", "color", noise((2, *SIZE), "uint16", seed=9), "txyz"))
    if data_format == "zarr3":
        found.append(("int16", "color", noise((1, *SIZE), "int16", seed=7), "cxyz"))
        found.append(("time_rgb", "color", noise((2, 3, *SIZE), "uint8", seed=10), "tcxyz"))
    return [
        {"name": name, "category": category, "voxels": voxels, "axes": list(axes), "topleft": [0] * (len(axes) - 3) + list(TOPLEFT)}
        for name, category, voxels, axes in found
    ]


@pytest.fixture
def made_dataset(workshop: Workshop, reference: Reference) -> MadeDataset:
    """Return a function that makes a dataset of a format and voxel size with the reference package."""

    def made(data_format: str, voxel_size: tuple[float, ...]) -> Path:
        def make(path: Path) -> None:
            path.mkdir()
            layers = layers_for(data_format)
            for layer in layers:
                file = path / f"{layer['name']}.npy"
                np.save(file, layer["voxels"])
                layer["voxels"] = str(file)
            values = {"voxel_size": voxel_size, "data_format": data_format, "compress": True, "layers": layers}
            reference.script("make_dataset.py", path / "dataset", values)

        return workshop.once(f"made-{data_format}-{'-'.join(map(str, voxel_size))}", make) / "dataset"

    return made


def downsampled_copies(dataset: Path, reference: Reference, tmp_path: Path, **values: Any) -> tuple[Facts, Facts]:
    """Downsample a copy with wkpipe and one with the reference package; check that both read wkpipe's alike; return both facts."""
    ours, theirs = tmp_path / "ours" / "dataset", tmp_path / "theirs" / "dataset"
    shutil.copytree(dataset, ours)
    shutil.copytree(dataset, theirs)
    run_wkpipe(ours, **({} if "zarr-" in str(dataset) else {"shard_shape": 64}), **values)
    reference.downsample(theirs, **values)
    read, expected = reference.facts(tmp_path / "facts", ours, theirs)
    found = our_facts(ours)
    assert_same_facts(found, read)
    return found, expected


def mags_of(facts: Facts) -> list[str]:
    return list(facts["layers"]["uint8"]["mags"])


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    "mode, mags",
    [
        ("anisotropic", ["1", "2-2-1", "4-4-2", "8-8-4", "16-16-8"]),
        ("isotropic", ["1", "2", "4", "8", "16"]),
        ("constant_z", ["1", "2-2-1", "4-4-1", "8-8-1", "16-16-1"]),
    ],
)
def test_ladders(data_format: str, mode: str, mags: list[str], made_dataset: MadeDataset, reference: Reference, tmp_path: Path) -> None:
    dataset = made_dataset(data_format, VOXEL_SIZE)
    found, expected = downsampled_copies(dataset, reference, tmp_path, sampling_mode=mode, coarsest_mag=16)
    assert_same_facts(found, expected)
    assert mags_of(found) == mags


@pytest.mark.parametrize("interpolation", ["median", "mode", "max", "min"])
def test_interpolation(interpolation: str, made_dataset: MadeDataset, reference: Reference, tmp_path: Path) -> None:
    """For images and ids alike."""
    dataset = made_dataset("zarr3", VOXEL_SIZE)
    found, expected = downsampled_copies(dataset, reference, tmp_path, interpolation_mode=interpolation, coarsest_mag=8)
    if interpolation == "median":
        # behaviour.md §5.3: the reference computes the median of integers in double precision; wkpipe's is exact
        exact, rounded = found["layers"].pop("few_ids")["mags"], expected["layers"].pop("few_ids")["mags"]
        for mag, facts in exact.items():
            differing = facts["voxels"] != rounded[mag]["voxels"]
            assert differing.any() == (mag != "1")
            assert (facts["voxels"][differing] > 2**53).all()
            np.testing.assert_allclose(facts["voxels"].astype(float), rounded[mag]["voxels"].astype(float), rtol=2.0**-50)
    assert_same_facts(found, expected)
    assert len(mags_of(found)) == 4


@pytest.mark.parametrize(
    "voxel_size, mags",
    [
        ((5.0, 7.0, 11.0), ["1", "2-1-1", "4-4-2", "8-8-4"]),  # a factor of 4 along y
        ((8.0, 8.0, 2.0), ["1", "1-1-2", "1-1-4", "2-2-8"]),
        ((2.0, 4.0, 8.0), ["1", "2-1-1", "4-2-1", "8-4-2"]),
    ],
)
def test_voxel_sizes(
    voxel_size: tuple[float, ...], mags: list[str], made_dataset: MadeDataset, reference: Reference, tmp_path: Path
) -> None:
    found, expected = downsampled_copies(made_dataset("zarr3", voxel_size), reference, tmp_path, coarsest_mag=8)
    assert_same_facts(found, expected)
    assert mags_of(found) == mags


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("uint8", "downsample_mag", {"from_mag": 1, "target_mag": "2-2-1"}),
    ("uint8", "downsample_mag", {"from_mag": "2-2-1", "target_mag": "8-8-4", "interpolation_mode": "max", "compress": False}),
    ("labels", "downsample_mag_list", {"from_mag": 1, "target_mags": ["8-8-4", "2-2-1", "4-4-2"]}),
    ("rgb", "downsample", {"coarsest_mag": 8, "align_with_other_layers": True, "sampling_mode": "isotropic"}),
    ("float32", "downsample", {"coarsest_mag": 8, "align_with_other_layers": False, "sampling_mode": "isotropic"}),
    ("few_ids", "downsample", {"coarsest_mag": 8, "align_with_other_layers": "other"}),
    ("few_ids", "redownsample", {"interpolation_mode": "max"}),
    ("int16", "downsample", {"coarsest_mag": 8, "align_with_other_layers": False, "only_setup_mags": True}),
    ("int16", "downsample_mag_list", {"from_mag": 1, "target_mags": ["2-2-1", "4-4-2"], "allow_overwrite": True}),
    ("time", "downsample_mag", {"from_mag": 1, "target_mag": "2-2-1"}),
    (
        "time",
        "downsample",
        {"from_mag": 1, "coarsest_mag": "4-4-2", "allow_overwrite": True, "interpolation_mode": "min", "align_with_other_layers": False},
    ),
]
"""What a script may do; `other` is a dataset with the mags 1, 2 and 4."""


@pytest.mark.sampled(every=3)
def test_members_of_layers(made_dataset: MadeDataset, reference: Reference, tmp_path: Path) -> None:
    dataset, other = made_dataset("zarr3", VOXEL_SIZE), tmp_path / "other"
    layer = Dataset(other, (1, 1, 1)).add_layer("any", "color")
    for mag in (1, 2, 4):
        layer.add_mag(mag)
    ours, theirs = tmp_path / "ours" / "dataset", tmp_path / "theirs" / "dataset"
    shutil.copytree(dataset, ours)
    shutil.copytree(dataset, theirs)
    reference.script("call_layers.py", theirs, other, CALLS)
    for name, member, values in CALLS:
        aligned = values.get("align_with_other_layers")
        values = values | ({"align_with_other_layers": Dataset.open(other)} if aligned == "other" else {})
        getattr(Dataset.open(ours).get_layer(name), member)(**values, chunk_shape=32, shard_shape=64)
    read, expected = reference.facts(tmp_path / "facts", ours, theirs)
    found = our_facts(ours)
    assert_same_facts(found, read)
    assert_same_facts(found, expected)
    mags = {name: list(facts["mags"]) for name, facts in found["layers"].items()}
    assert mags["uint8"] == ["1", "2-2-1", "8-8-4"]
    assert mags["few_ids"] == ["1", "2", "4", "8-8-4"]
    assert not found["layers"]["int16"]["mags"]["8-8-4"]["voxels"].any()
