"""A script as users write it: bright runs of voxels get numbers, chunk by chunk and in parallel, in a new segmentation layer.

It runs on both packages with the import changed alone. usage: label_script.py DATASET; the lines that begin with "=" are the result.
"""

import sys
from functools import partial

import numpy as np
import webknossos as wk
from cluster_tools import get_executor

LABELS_PER_CHUNK = 10_000


def label_chunk(args, threshold):
    """Give every run of bright voxels along x a number of its own."""
    source, target, number = args
    bright = source.read(relative_offset=(0, 0, 0), size=source.bounding_box.size)[0] > threshold
    begins = bright & ~np.concatenate([np.zeros_like(bright[:1]), bright[:-1]])
    runs = np.cumsum(begins.reshape(-1, order="F")).reshape(bright.shape, order="F")
    target.write((runs + number * LABELS_PER_CHUNK) * bright, absolute_offset=target.bounding_box.topleft)


def largest_label(view):
    return int(view.read().max())


def invert(args):
    view, _ = args
    view.write(255 - view.read())


def main():
    noise = np.random.default_rng(3).integers(0, 255, (14, 10, 6), dtype=np.uint8)
    voxels = noise.repeat(10, 0).repeat(10, 1).repeat(8, 2)
    dataset = wk.Dataset(sys.argv[1], voxel_size_with_unit=wk.VoxelSize((11.24, 11.24, 25.0), wk.LengthUnit.NANOMETER))
    em = dataset.add_layer("em", wk.COLOR_CATEGORY, dtype=np.uint8, bounding_box=wk.BoundingBox((20, 4, 8), voxels.shape))
    em_mag = em.add_mag("1", chunk_shape=32, shard_shape=(64, 64, 32))
    em_mag.write(voxels, absolute_offset=em.bounding_box.topleft, allow_unaligned=True)

    cells = dataset.get_or_add_layer("cells", wk.SEGMENTATION_CATEGORY, dtype_per_channel=np.int64, largest_segment_id=0)
    cells.bounding_box = em.bounding_box
    cells_mag = cells.get_or_add_mag(em_mag.mag, chunk_shape=32, shard_shape=(64, 64, 32))
    with get_executor("multiprocessing", max_workers=2) as executor:
        em_mag.for_zipped_chunks(
            partial(label_chunk, threshold=120), cells_mag,
            source_chunk_shape=(64, 64, 32), target_chunk_shape=(64, 64, 32), executor=executor, progress_desc="label",
        )  # fmt: skip
        cells.largest_segment_id = max(cells_mag.map_chunk(largest_label, executor=executor))
    with get_executor("sequential") as executor:
        em_mag.for_each_chunk(invert, executor=executor)

    labels = cells_mag.read()[0]
    assert ((labels > 0) == (voxels > 120)).all()
    assert (em_mag.read()[0] == 255 - voxels).all()
    stored = wk.Dataset.open(sys.argv[1]).get_segmentation_layers()[0]
    print("=", stored.name, stored.dtype_per_channel, stored.largest_segment_id, stored.bounding_box.size, sorted(map(str, stored.mags)))
    print("=", int(labels.sum()), len(np.unique(labels)), [view.bounding_box.topleft.to_tuple() for view in cells_mag.chunk((64, 128, 64))])


if __name__ == "__main__":
    main()
