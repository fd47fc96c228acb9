"""Run by a Python that has both packages: change one dataset with both of them, in turn.

usage: both_libraries.py DATASET; the last line of stdout is what was found, as JSON.
"""

import json
import sys

import numpy as np
import webknossos as wk

import wkpipe


def main(path):
    box = wkpipe.BoundingBox((0, 0, 0), (96, 32, 32))
    ours = wkpipe.Dataset(path, (4, 4, 40)).add_layer("em", wkpipe.COLOR_CATEGORY, bounding_box=box)
    ours.add_mag(1, chunk_shape=32, shard_shape=32).write(np.full((32, 32, 32), 1, np.uint8))

    theirs = wk.Dataset.open(path).get_layer("em")
    theirs.get_mag(1).write(np.full((32, 32, 32), 2, np.uint8), absolute_offset=(32, 0, 0))
    ours.get_mag(1).write(np.full((32, 32, 32), 3, np.uint8), absolute_offset=(64, 0, 0))
    voxels = [theirs.get_mag(1).read()[0, ::32, 0, 0].tolist(), ours.get_mag(1).read()[0, ::32, 0, 0].tolist()]
    assert voxels[0] == voxels[1]

    ours.downsample(coarsest_mag=wk.Mag(2).to_tuple())
    later = wk.Dataset.open(path)
    later.add_layer("cells", wk.SEGMENTATION_CATEGORY, dtype="uint32")
    skeleton = wk.Skeleton(dataset_name="d", voxel_size=(4, 4, 40))  # what wkpipe does not have works beside it
    skeleton.add_tree("tree")
    try:
        wkpipe.Skeleton(dataset_name="d")
        errors = 0
    except NotImplementedError:
        errors = 1
    mags = [str(mag.to_layer_name()) for mag in later.get_layer("em").mags]
    print(json.dumps({"voxels": voxels[0], "mags": mags, "layers": list(ours.dataset.layers), "errors": errors}))


main(sys.argv[1])
