"""A script as users write it: a segmentation that was made on coarse voxels gets finer mags and coarser ones. It runs on both packages.

usage: upsampling_script.py DATASET; the lines that begin with "=" are the result.
"""

import sys

import numpy as np
import webknossos as wk
from cluster_tools import get_executor

SMALL = {"chunk_shape": (32, 32, 32), "shard_shape": (64, 64, 32)}


def main():
    labels = np.random.default_rng(4).integers(0, 9, (5, 6, 4), dtype=np.uint32).repeat(4, 0).repeat(4, 1).repeat(3, 2)
    dataset = wk.Dataset(sys.argv[1], voxel_size=(4, 4, 9))
    layer = dataset.add_layer("cells", wk.SEGMENTATION_CATEGORY, dtype="uint32", largest_segment_id=0).as_segmentation_layer()
    coarse = layer.add_mag("4-4-2", **SMALL)
    coarse.write(labels, absolute_offset=(0, 0, 0), allow_resize=True)
    with get_executor("sequential") as executor:
        layer.upsample(from_mag=wk.Mag("4-4-2"), finest_mag=wk.Mag(1), compress=True, executor=executor, **SMALL)
    finest = layer.get_finest_mag()
    for mag in layer.mags:
        factors = (wk.Mag("4-4-2").to_np() // mag.to_np()).tolist()
        expected = labels
        for axis, factor in enumerate(factors):
            expected = expected.repeat(factor, axis)
        assert np.array_equal(layer.get_mag(mag).read()[0], expected), mag
    layer.refresh_largest_segment_id()
    layer.delete_mag("4-4-2")
    layer.downsample_mag_list(from_mag=finest.mag, target_mags=[wk.Mag("4-4-2"), wk.Mag("8-8-4")], allow_overwrite=True, **SMALL)
    assert np.array_equal(layer.get_mag("4-4-2").read()[0], labels)  # downsampling what was upsampled gives the same labels again
    finest.write(np.full((64, 64, 24), 7, np.uint32), absolute_offset=(0, 0, 0), allow_unaligned=True)
    layer.redownsample(**SMALL)
    for mag, view in sorted(layer.mags.items()):
        print("=", mag.to_layer_name(), view.bounding_box.size, int(view.read().sum()), len(np.unique(view.read())))
    print("=", layer.largest_segment_id, layer.bounding_box.size)


if __name__ == "__main__":
    main()
