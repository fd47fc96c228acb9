"""Run by the reference package's Python: make a dataset of one or more layers from .npy files (axes c, x, y, z).

usage: make_dataset.py TARGET LAYERS, where LAYERS is a JSON list of {name, category, voxels, topleft, data_format, chunk, shard}.
"""

import json
import sys

import numpy as np
from webknossos import BoundingBox, Dataset


def main(target, layers, voxel_size):
    dataset = Dataset(target, voxel_size=voxel_size)
    for values in layers:
        voxels = np.load(values["voxels"])
        box = BoundingBox(values["topleft"], voxels.shape[1:])
        largest = {"largest_segment_id": int(voxels.max())} if values["category"] == "segmentation" else {}
        layer = dataset.add_layer(
            values["name"],
            values["category"],
            dtype=voxels.dtype,
            num_channels=voxels.shape[0],
            data_format=values["data_format"],
            bounding_box=box,
            **largest,
        )
        mag = layer.add_mag(1, chunk_shape=values["chunk"], shard_shape=values["shard"], compress=values["compress"])
        mag.write(voxels, absolute_offset=box.topleft, allow_unaligned=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
