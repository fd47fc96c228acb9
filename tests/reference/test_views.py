"""Views of wkpipe and of the reference package: the same grids, slices and voxels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.reference.workshop import Reference
from wkpipe import BoundingBox, Dataset, MagView

pytestmark = [pytest.mark.reference, pytest.mark.filterwarnings("ignore:chunk shape")]


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_views_are_those_of_the_reference(tmp_path: Path, reference: Reference, data_format: str) -> None:
    dataset, box = Dataset(tmp_path / "ds", (4, 4, 10)), BoundingBox((10, 3, 5), (45, 30, 18))
    mags: dict[str, MagView] = {}
    for name in ("em", "slices", "ours"):
        layer = dataset.add_layer(name, "color", data_format=data_format, bounding_box=box)
        mags[name] = layer.add_mag(1, chunk_shape=8, shard_shape=16)
    mags["em"].write(np.random.default_rng(0).integers(1, 255, (45, 30, 18), dtype=np.uint8))
    with mags["ours"].get_buffered_slice_writer(3, "y", absolute_offset=(12, 4, 6), allow_unaligned=True) as writer:
        for y in range(9):
            writer.send(np.full((17, 11), y + 1, np.uint8))
    reference.script("use_views.py", tmp_path / "ds", tmp_path / "report.json")
    theirs = json.loads((tmp_path / "report.json").read_text())
    mag = mags["em"]
    assert theirs["chunks"] == _boxes([view.bounding_box for view in mag.chunk((20, 16, 8))])
    assert theirs["aligned"] == _boxes([view.bounding_box for view in mag.chunk((32, 32, 16), chunk_border_alignments=(16, 16, 16))])
    assert theirs["stored"] == sorted(_boxes(list(mag.get_bounding_boxes_on_disk())))
    assert theirs["cxyz"] == mag.read_cxyz(absolute_offset=(12, 4, 6), size=(5, 6, 7)).tolist()
    for dimension in "xyz":
        with mag.get_buffered_slice_reader(5, dimension) as reader:
            assert theirs[dimension] == [voxels.tolist() for voxels in reader]
    assert theirs["equal"] == [True, False]
    assert mags["ours"].content_is_equal(mags["slices"])
    assert mags["ours"].read().any()


def _boxes(boxes: list[object]) -> list[list[list[int]]]:
    return [[list(box.topleft), list(box.size)] for box in boxes]  # type: ignore[attr-defined]
