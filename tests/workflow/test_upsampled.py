"""A run of Snakemake keeps upsampled mags up to date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.workflow.workflow_helpers import run
from wkpipe import BoundingBox, Dataset


@pytest.mark.slow
def test_stale_upsampled_mags_are_made_again_by_the_workflow(tmp_path: Path) -> None:
    layer = Dataset(tmp_path / "d", (1, 1, 1)).add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (128, 96, 64)))
    coarse = layer.add_mag(4, shard_shape=32)
    coarse.write(np.full((32, 24, 16), 3, np.uint8))
    layer.upsample(4)
    coarse.write(np.full((32, 24, 16), 5, np.uint8))
    result = run("downsample", tmp_path / "d", "--jobs", "2")
    assert result.returncode == 0, result.stderr
    assert (layer.get_mag(1).read() == 5).all()
    assert run("verify", tmp_path / "d", "--deep").returncode == 0
