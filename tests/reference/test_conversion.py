"""wkpipe and the reference package convert the same images to the same layers, and downsample them to the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.reference.sources import FLAT_SOURCES, SOURCES
from tests.reference.workshop import Reference, assert_same_facts, our_facts, run_wkpipe

pytestmark = pytest.mark.reference


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", ["tiff", "rgb_tiff", "multi_channel_z_series", "labels", "float32"])
def test_converting_and_downsampling_at_once(name: str, source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source(name), name="both", data_format="zarr", coarsest_mag=16)
    reference.convert(source(name), theirs, "--name", "both", "--data-format", "zarr", "--max-mag", 16)
    # behaviour.md §10.13: layers of depth 1 get chunks of depth 32 from the reference; wkpipe's are 1 deep (design.md §9.9)
    assert_same_facts(our_facts(ours), reference.facts(tmp_path / "facts", theirs)[0], same_shapes=name not in FLAT_SOURCES)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", SOURCES)
def test_converting_then_downsampling(name: str, source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source(name), name="both", shard_shape=64, downsample=False)
    run_wkpipe(ours, coarsest_mag=16)
    reference.convert(source(name), theirs, "--name", "both", "--shard-shape", 64, "--no-downsample")
    reference.downsample(theirs, coarsest_mag=16)
    expected = reference.facts(tmp_path / "facts", theirs)[0]
    assert_same_facts(our_facts(ours), expected, same_shapes=name not in FLAT_SOURCES)


@pytest.mark.parametrize("name, compress", [("labels", True), ("rgb_png", True), ("int16", False), ("rgb_tiff", False)])
def test_wkw(name: str, compress: bool, source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source(name), name="both", data_format="wkw", shard_shape=64, compress=compress, coarsest_mag=4)
    options = ["--compress" if compress else "--no-compress", "--no-downsample"]
    reference.convert(source(name), theirs, "--name", "both", "--data-format", "wkw", "--shard-shape", 64, *options)
    reference.downsample(theirs, coarsest_mag=4, compress=compress)
    assert_same_facts(our_facts(ours), reference.facts(tmp_path / "facts", theirs)[0])


def test_folders_of_equal_names(source: Callable[[str], Path], reference: Reference, tmp_path: Path) -> None:
    """temca2 has tiles: <section>/<row>/<column>.jpg. The reference stacks all folders of one name into one layer, wherever they are.

    wkpipe makes a layer of each folder, named by its path. The layer of depth 1 uses mag 4-4-2 of the others, in both.
    """
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    run_wkpipe(ours, source=source("temca2"), data_format="zarr", coarsest_mag=4)
    reference.convert(source("temca2"), theirs, "--data-format", "zarr", "--no-downsample")
    reference.downsample(theirs, coarsest_mag=4)
    found, expected = our_facts(ours)["layers"], reference.facts(tmp_path / "facts", theirs)[0]["layers"]
    assert set(expected) == {"60", "61", "temca2"}
    assert set(found) == {"1_60", "1_61", "2_60", "2_61", "40_60", "40_61", "temca2"}
    for row in ("60", "61"):
        piled = np.concatenate([found[f"{section}_{row}"]["mags"]["1"]["voxels"] for section in (1, 2, 40)], axis=3)
        np.testing.assert_array_equal(piled, expected[row]["mags"]["1"]["voxels"])
    assert set(found["temca2"]["mags"]) == set(expected["temca2"]["mags"]) == {"1", "2-2-1", "4-4-2"}
    for mag, facts in found["temca2"]["mags"].items():
        np.testing.assert_array_equal(facts["voxels"], expected["temca2"]["mags"][mag]["voxels"])
