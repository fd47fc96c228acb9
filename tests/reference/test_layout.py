"""With defaults only, wkpipe's datasets have the layout of the reference package: properties, array metadata, shapes, group files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.content import content_of
from tests.material import labels
from tests.reference.sources import write_stack
from tests.reference.workshop import VOXEL_SIZE, Reference, assert_same_facts, our_facts, run_wkpipe
from wkpipe.geometry import Mag

pytestmark = pytest.mark.reference


def json_of(file: Path) -> Any:
    return json.loads(file.read_bytes())


def json_files(root: Path) -> set[str]:
    """Return the names of a dataset's metadata files, without wkpipe's state."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup", "header.wkw", "datasource-properties.json")
        and path.relative_to(root).parts[0] != ".wkpipe"
    }


def assert_contains(ours: Any, theirs: Any, where: str) -> None:
    """Check that all values of the reference exist and are equal; wkpipe may add keys to objects."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), where
        for key, value in theirs.items():
            assert key in ours, f"{where}: {key}"
            assert_contains(ours[key], value, f"{where}: {key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_contains(one, other, f"{where}: {number}")
    else:
        assert ours == theirs, where


def assert_same_documents(ours: Path, theirs: Path) -> None:
    names = json_files(theirs)
    of_arrays = {name for name in json_files(ours) - names if name.endswith(".zattrs") and name.replace(".zattrs", ".zarray") in names}
    assert json_files(ours) - of_arrays == names
    for name in of_arrays:  # the ids with which wkpipe recognises its arrays, and nothing else
        assert json.loads(content_of(ours / name)) == {}, name
    for name in sorted(names):
        if name.endswith("header.wkw"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
        elif name.endswith(".zgroup"):
            # behaviour.md §2.8, §10.8: the reference writes the format as a text, which zarr-python refuses
            assert json_of(ours / name) == {"zarr_format": 2}
            assert json_of(theirs / name) == {"zarr_format": "2"}
        else:
            assert_contains(json_of(ours / name), json_of(theirs / name), name)


@pytest.mark.parametrize(
    "name, data_format",
    [
        ("tiff", "zarr3"),
        ("uint8", "zarr3"),
        ("rgb_png", "zarr"),
        ("labels", "zarr"),
        ("labels", "wkw"),
        ("rgb_png", "wkw"),
    ],
)
def test_defaults(name: str, data_format: str, source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    """Deep layers, thin ones, and layers of several channels; in zarr3 thin ones get flat shards."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source(name), name="both", data_format=data_format, coarsest_mag=2)
    reference.convert(source(name), theirs, "--name", "both", "--data-format", data_format, "--max-mag", 2, heavy=True)
    assert_same_documents(ours, theirs)
    assert_same_facts(our_facts(ours), reference.facts(tmp_path / "facts", theirs)[0])


def test_downsample_command(source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    """The commands with defaults only, one after the other: the coarsest mag follows from the layer's size."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source("flat"), name="both", downsample=False)
    run_wkpipe(ours)
    reference.convert(source("flat"), theirs, "--name", "both", "--no-downsample", heavy=True)
    reference.command("downsample", theirs, heavy=True)
    found, expected = our_facts(ours), reference.facts(tmp_path / "facts", theirs)[0]
    assert list(found["layers"]["flat"]["mags"]) == ["1", "2-2-1", "4-4-1"]
    for mag, facts in found["layers"]["flat"]["mags"].items():
        # behaviour.md §10.13: the reference gives coarser mags of a layer of depth 1 chunks of depth 32
        assert (facts["chunk"], facts["shard"]) == ([32, 32, 1], [4096, 4096, 1])
        other = expected["layers"]["flat"]["mags"][mag]
        assert (other["chunk"], other["shard"]) == (([32, 32, 1], [4096, 4096, 1]) if mag == "1" else ([32, 32, 32], [4096, 4096, 32]))
    assert_same_facts(found, expected, same_shapes=False)


@pytest.mark.parametrize("data_format, version", [("zarr3", 3), ("zarr", 2)])
@pytest.mark.parametrize("name", ["rgb_png", "4D_series"])
def test_zarr_python_opens_groups(name: str, data_format: str, version: int, source: Callable[[str], Path], tmp_path: Path) -> None:
    run_wkpipe(tmp_path / "ours", source=source(name), data_format=data_format, coarsest_mag=4)
    found = our_facts(tmp_path / "ours")
    root = zarr.open_group(tmp_path / "ours", mode="r", zarr_format=version)
    for name, layer in found["layers"].items():
        group = root[name]
        metadata = dict(group.attrs)
        multiscale = (metadata["ome"] if version == 3 else metadata)["multiscales"][0]
        assert [entry["path"] for entry in multiscale["datasets"]] == list(layer["mags"])
        for entry, facts in zip(multiscale["datasets"], layer["mags"].values(), strict=True):
            array = group[entry["path"]]
            inside = tuple(slice(0, n) for n in facts["voxels"].shape)
            np.testing.assert_array_equal(array[inside], facts["voxels"])
            names = [axis["name"] for axis in multiscale["axes"]]
            assert len(names) == array.ndim
            scale = entry["coordinateTransformations"][0]["scale"]
            assert scale[-3:] == [edge * factor for edge, factor in zip(VOXEL_SIZE, Mag(entry["path"]), strict=True)]


@pytest.mark.slow
@pytest.mark.sampled(every=3)
def test_labels_of_a_real_volume(reference: Reference, tmp_path: Path) -> None:
    """512³ voxels, with the ladder that follows from the layer's size: real labels and their mirror images."""
    half = labels()
    write_stack(np.pad(half, [(0, n) for n in half.shape], mode="symmetric"), tmp_path / "images")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=tmp_path / "images", name="both", data_format="zarr3")
    reference.convert(tmp_path / "images", theirs, "--name", "both", "--shard-shape", "512,512,512", "--no-downsample", heavy=True)
    reference.downsample(theirs, shard=256, coarsest_mag=8, heavy=True)
    read, expected = reference.facts(tmp_path / "facts", ours, theirs)
    found = our_facts(ours)
    assert_same_facts(found, read)
    assert_same_facts(found, expected, same_shapes=False)
    assert list(found["layers"]["images"]["mags"]) == ["1", "2-2-1", "4-4-2", "8-8-4"]
    assert found["layers"]["images"]["category"] == "segmentation"
