"""Use views of a dataset in the Python of the reference package: report grids and slices as JSON, and write slices.

Arguments: the dataset, and the file for the report. The layer ``em`` is read, ``slices`` is written.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import webknossos as wk

warnings.simplefilter("ignore")


def boxes(views: Any) -> list[list[list[int]]]:
    return [[list(view.bounding_box.topleft), list(view.bounding_box.size)] for view in views]


def main(path: str, report: str) -> None:
    dataset = wk.Dataset.open(path)
    mag = dataset.get_layer("em").get_mag(1)
    found: dict[str, Any] = {
        "chunks": boxes(mag.chunk((20, 16, 8))),
        "aligned": boxes(mag.chunk((32, 32, 16), chunk_border_alignments=(16, 16, 16))),
        "stored": sorted([list(box.topleft), list(box.size)] for box in mag.get_bounding_boxes_on_disk()),
        "cxyz": mag.read_cxyz(absolute_offset=(12, 4, 6), size=(5, 6, 7)).tolist(),
    }
    for dimension in "xyz":
        with mag.get_buffered_slice_reader(buffer_size=5, dimension=dimension) as reader:
            found[dimension] = [voxels.tolist() for voxels in reader]
    target = dataset.get_layer("slices").get_mag(1)
    with target.get_buffered_slice_writer(absolute_offset=(12, 4, 6), dimension="y", buffer_size=3, allow_unaligned=True) as writer:
        for y in range(9):
            writer.send(np.full((17, 11), y + 1, np.uint8))
    found["equal"] = [mag.content_is_equal(mag), mag.content_is_equal(target)]
    Path(report).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
