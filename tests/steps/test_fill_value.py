"""Sources of other tools whose fill value is not zero: missing files count as that value, in every mag that is made from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tests.oracle.pyramid import coarser
from tests.steps.helpers import data_files, plan_of, run
from wkpipe import Dataset, Mag
from wkpipe.engine.budget import CUBE_BYTES, SLAB_BYTES
from wkpipe.geometry import NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.stored.locations import Locations

FILL = 7
SIZE = (300, 280, 270)
SHARD = 256


def write_dataset(root: Path, zarr_format: int, category: str, chunk: int) -> np.ndarray[Any, Any]:
    """Write a dataset with zarr-python in which most shards have no file; return its voxels (c, x, y, z)."""
    shards = (1, SHARD, SHARD, SHARD) if zarr_format == 3 else None
    path = root / "layer" / "1"
    stored = zarr.create_array(
        path,
        shape=(1, *SIZE),
        chunks=(1, chunk, chunk, chunk),
        shards=shards,
        dtype="uint16",
        fill_value=FILL,
        zarr_format=zarr_format,
        chunk_key_encoding=None if zarr_format == 3 else {"name": "v2", "separator": "/"},
    )
    voxels = np.full((1, *SIZE), FILL, "uint16")
    voxels[:, SHARD:, SHARD:, SHARD:] = np.random.default_rng(3).integers(0, 9, voxels[:, SHARD:, SHARD:, SHARD:].shape)
    stored[:, SHARD:, SHARD:, SHARD:] = voxels[:, SHARD:, SHARD:, SHARD:]
    box = NDBoundingBox((0, 0, 0), SIZE, ("x", "y", "z"))
    layer = LayerProperties.for_box("layer", category, "zarr3" if zarr_format == 3 else "zarr", np.dtype("uint16"), box)
    properties = DatasetProperties(root.name, VoxelSize((1, 1, 1))).with_layer(layer.with_mag(MagProperties(Mag(1), "./layer/1")))
    Locations(root, root / ".wkpipe").properties_file().create(properties)
    return voxels


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("category, mode", [("color", "median"), ("segmentation", "mode")])
@pytest.mark.parametrize("chunk", [32, 128])
def test_absent_shards_count_as_the_fill_value(tmp_path: Path, zarr_format: int, category: str, mode: str, chunk: int) -> None:
    """The first shard has no file and is larger than a cube; a chunk of 128³ is even made from more voxels than fit a slab."""
    assert SHARD**3 * 2 > CUBE_BYTES
    assert (chunk == 128) == ((2 * chunk) ** 3 * 2 > SLAB_BYTES)
    root = tmp_path / "d"
    voxels = write_dataset(root, zarr_format, category, chunk)
    before = {name for name in data_files(root) if name.startswith("layer/1/")}
    run(root, coarsest_mag="4", chunk_shape=chunk, **({"shard_shape": SHARD} if zarr_format == 3 else {}))
    assert {name for name in data_files(root) if name.startswith("layer/1/")} == before
    layer = Dataset.open(root).get_layer("layer")
    finer: Sequence[int] = SIZE
    for mag in (2, 4):
        end = [math.ceil(n / 2) for n in finer]
        voxels, finer = coarser(voxels, (0, 0, 0), (0, 0, 0), end, (2, 2, 2), mode), end
        assert np.array_equal(layer.get_mag(mag).read(), voxels), mag
    assert plan_of(root, coarsest_mag="4", chunk_shape=chunk, **({"shard_shape": SHARD} if zarr_format == 3 else {})).is_empty
