"""Memory does not grow with the shard: measured over the whole process tree for a 1024³ layer of noisy labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.steps.job_memory import measured
from tests.workflow.workflow_helpers import WKPIPE, run
from wkpipe.formats import create_array, make_spec
from wkpipe.geometry import BoundingBox, Mag, Vec3Int
from wkpipe.geometry.grid import morton_order
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.locations import Locations

EDGE = 1024
LIMIT_BYTES = 1_000_000_000


def noisy_labels(root: Path) -> Path:
    """Write a layer of one default shard: labels with 20 % noise, 64 different chunks repeated."""
    scratch = Scratch(root / ".wkpipe" / "tmp")
    root.mkdir()
    spec = make_spec("zarr3", ("c", "x", "y", "z"), (1, EDGE, EDGE, EDGE), "uint32", 1, (32, 32, 32), (1024, 1024, 1024))
    array = create_array(root / "labels" / "1", spec, scratch)
    rng = np.random.default_rng(7)
    with array.unit_writer((0, 0, 0, 0), scratch) as writer:
        chunks = []
        for _ in range(64):
            labels = np.kron(rng.integers(1, 2**31, size=(4, 4, 4)), np.ones((8, 8, 8))).astype("u4")
            noise = rng.random(labels.shape) < 0.2
            chunks.append(
                writer.encode(np.asfortranarray(np.where(noise, rng.integers(0, 50, size=labels.shape, dtype="u4"), labels)[None]))
            )
        for i, cell in enumerate(morton_order((32, 32, 32)).tolist()):
            writer.append((0, *cell), chunks[i % len(chunks)])
        writer.commit()
    layer = LayerProperties.for_box("labels", "segmentation", "zarr3", np.dtype("uint32"), BoundingBox((0, 0, 0), Vec3Int.full(EDGE)))
    layer = layer.with_mag(MagProperties(Mag(1), "./labels/1"))
    Locations(root, root / ".wkpipe").properties_file().create(DatasetProperties("labels", VoxelSize((11, 11, 25)), (layer,)))
    return root


@pytest.mark.slow
def test_downsampling_a_large_shard_stays_below_one_gigabyte(tmp_path: Path) -> None:
    dataset = noisy_labels(tmp_path / "dataset")
    peak = measured([*WKPIPE, "downsample", str(dataset), "--jobs", "2", "--quiet"]).total
    print(f"peak {peak / 1e6:.0f} MB")
    assert peak < LIMIT_BYTES
    assert run("downsample", dataset).stdout.startswith("nothing to do")
