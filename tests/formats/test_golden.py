"""wkpipe reads the arrays of the reference package voxel by voxel as the package does, and writes the same metadata."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.material import material
from tests.small_datasets import EDGE, FORMATS, make_small_dataset, voxels
from wkpipe.formats import make_spec, open_array
from wkpipe.formats.base import DataFormat
from wkpipe.formats.wkw import wkw_files
from wkpipe.formats.zarr2 import zarr2_files
from wkpipe.formats.zarr3 import zarr3_files

DATASETS = ["z3_u8_modes", "z3_seg", "z3_dtypes", "z3_rgb", "z3_raw", "z2", "wkw", "z3_nd", "z3_ladders", "z3_upsample"]


def mag_steps(name: str) -> list[int]:
    parts = [int(p) for p in name.split("-")]
    return parts * 3 if len(parts) == 1 else parts


@pytest.mark.parametrize("name", DATASETS)
def test_reads_what_the_reference_wrote(golden: Path, name: str) -> None:
    root = golden
    formats = {la["name"]: la["dataFormat"] for la in json.loads((root / name / "datasource-properties.json").read_text())["dataLayers"]}
    expected = json.loads((root / f"{name}.expected.json").read_text())
    with np.load(root / f"{name}.npz") as arrays:
        assert arrays.files
        for key in arrays.files:
            layer, mag = key.split("/")
            info = expected[key]
            array = open_array(root / name / layer / mag, formats[layer], info["axes"])
            steps = dict(zip("xyz", mag_steps(mag), strict=True))
            corner = info["topleft_mag1"]
            corner = [0] * (len(info["axes"]) - len(corner)) + corner
            start = [t // steps.get(a, 1) for a, t in zip(info["axes"], corner, strict=True)]
            got = array.read(start, arrays[key].shape)
            assert got.flags.f_contiguous
            assert got.dtype == arrays[key].dtype
            np.testing.assert_array_equal(got, arrays[key], err_msg=key)
            for unit in array.stored_units():
                array.check_unit(unit)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "wkw"])
def test_metadata_equal_those_of_the_reference(golden: Path, name: str) -> None:
    seen = 0
    for path in [*(golden / name).glob("*/*/zarr.json"), *(golden / name).glob("*/*/.zarray")]:
        data_format = DataFormat.ZARR3 if path.name == "zarr.json" else DataFormat.ZARR
        made = zarr3_files if data_format is DataFormat.ZARR3 else zarr2_files
        spec = open_array(path.parent, data_format).spec
        assert json.loads(made(spec, {})[path.name]) == json.loads(path.read_text())
        xyz = [spec.axes.index(a) for a in "xyz"]
        channels = spec.shape[spec.axes.index("c")] if "c" in spec.axes else 1
        chunk, shard = ([shape[i] for i in xyz] for shape in (spec.chunk_shape, spec.shard_shape))
        assert make_spec(data_format, spec.axes, spec.shape, spec.dtype, channels, chunk, shard, spec.compression) == spec
        seen += 1
    assert seen


def test_wkw_headers_equal_those_of_the_reference(golden: Path) -> None:
    for path in (golden / "wkw").glob("*/*/header.wkw"):
        assert wkw_files(open_array(path.parent, "wkw").spec, {}) == {"header.wkw": path.read_bytes()}


@pytest.mark.parametrize(
    "dataset, mag, data_format, dtype",
    [
        ("simple_zarr_dataset", "1-1-1", "zarr", "uint8"),
        ("simple_zarr3_dataset", "1", "zarr3", "uint8"),
        ("simple_wkw_dataset", "1", "wkw", "uint8"),
        ("simple_n5_dataset", "1", "n5", "uint32"),
        ("simple_ng_dataset", "1", "neuroglancerPrecomputed", "uint8"),
    ],
)
def test_reads_the_simple_datasets(dataset: str, mag: str, data_format: str, dtype: str) -> None:
    path = material("data") / dataset / "color" / mag
    data = check_reading(path, data_format, dtype)
    assert data.any() == (data_format != "wkw")  # the WKW dataset has zeros only


@pytest.mark.parametrize("data_format", FORMATS)
def test_reads_small_datasets_of_other_libraries(tmp_path: Path, data_format: str) -> None:
    dtype = "uint32" if data_format == "n5" else "uint8"
    data = check_reading(make_small_dataset(tmp_path / "d", data_format) / "color" / "1", data_format, dtype)
    np.testing.assert_array_equal(data, voxels(dtype))


def check_reading(path: Path, data_format: str, dtype: str) -> np.ndarray:
    """Read an array of 3 × 24³ voxels in several ways and return its voxels."""
    array = open_array(path, data_format)
    assert array.spec.axes == ("c", "x", "y", "z")
    assert array.spec.dtype == np.dtype(dtype)
    data = array.read((0, 0, 0, 0), (3, EDGE, EDGE, EDGE))
    assert data.flags.f_contiguous
    padded = array.read((0, 0, 0, 0), (3, 70, 70, 70))
    np.testing.assert_array_equal(padded[:, :EDGE, :EDGE, :EDGE], data)
    assert not padded[:, EDGE:].any()
    np.testing.assert_array_equal(array.read((1, 3, 5, 7), (1, 11, 13, 9)), data[1:2, 3:14, 5:18, 7:16])
    assert list(array.stored_units()) != []
    for unit in array.stored_units():
        array.check_unit(unit)
        assert array.unit_files(unit)
        facts, proof = array.unit_facts(unit), array.prove_unit(unit)
        assert facts is not None
        assert proof is not None
        assert proof.matches(facts)
    return data


def test_the_two_zarr_datasets_hold_the_same_voxels() -> None:
    root = material("data")
    zarr = open_array(root / "simple_zarr_dataset/color/1-1-1", "zarr").read((0, 0, 0, 0), (3, 24, 24, 24))
    zarr3 = open_array(root / "simple_zarr3_dataset/color/1", "zarr3").read((0, 0, 0, 0), (3, 24, 24, 24))
    np.testing.assert_array_equal(zarr, zarr3)
