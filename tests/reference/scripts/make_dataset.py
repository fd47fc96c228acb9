"""Run by the reference package's Python: make a dataset from .npy files.

usage: make_dataset.py TARGET VALUES, where VALUES is JSON: voxel_size, data_format, compress, maybe mag, and layers: a list of name,
category, voxels (the file), axes and topleft (one number per axis, in voxels of the mag; with the axes c, x, y, z the number of c is 0).
"""

import json
import sys

import numpy as np
from webknossos import Dataset, Mag, NDBoundingBox


def main(target, values):
    dataset = Dataset(target, voxel_size=values["voxel_size"])
    for layer in values["layers"]:
        voxels = np.load(layer["voxels"])
        axes = layer["axes"]
        own = Mag(values.get("mag", 1))
        steps = [getattr(own, axis) if axis in "xyz" else 1 for axis in axes]
        box = NDBoundingBox(np.multiply(layer["topleft"], steps).tolist(), np.multiply(voxels.shape, steps).tolist(), axes)
        largest = {"largest_segment_id": int(voxels.max())} if layer["category"] == "segmentation" else {}
        added = dataset.add_layer(
            layer["name"],
            layer["category"],
            dtype=voxels.dtype,
            num_channels=voxels.shape[axes.index("c")] if "c" in axes else 1,
            data_format=values["data_format"],
            bounding_box=box,
            **largest,
        )
        shard = 32 if values["data_format"] == "zarr" else 64
        mag = added.add_mag(own, chunk_shape=32, shard_shape=shard, compress=values["compress"])
        mag.write(voxels, absolute_bounding_box=box, allow_unaligned=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
