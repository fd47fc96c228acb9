"""Run by the reference package's Python: change datasets, until stdin ends.

Each line of stdin is a change, JSON: [DATASET, CHANGE, VALUES, FILE], where FILE has the voxels (x, y, z) as .npy, if the change has any.
The answer to each is a line on stdout: JSON, the text of an exception or null.
"""

import json
import sys
import traceback

import numpy as np
from cluster_tools import get_executor
from webknossos import BoundingBox, Dataset, Mag


def shards(layer, chunk, shard):
    return {"chunk_shape": chunk, "shard_shape": chunk if layer.data_format.value == "zarr" else shard}


def main(path, change, values, file):
    if change == "make_dataset":
        Dataset(path, voxel_size=(10, 10, 10))
        return
    dataset = Dataset.open(path)
    if change == "add_layer":
        box = BoundingBox((0, 0, 0), values["size"])
        dataset.add_layer(values["layer"], "color", dtype=values["dtype"], data_format=values["data_format"], bounding_box=box)
        return
    if change == "delete_layer":
        dataset.delete_layer(values["layer"])
        return
    layer = dataset.get_layer(values["layer"])
    if change == "add_mag":
        voxels = np.load(file)
        view = layer.add_mag(values["mag"], **shards(layer, values["chunk"], values["shard"]))
        if voxels.any():
            view.write(voxels, absolute_offset=(0, 0, 0), allow_unaligned=True)
    elif change == "delete_mag":
        layer.delete_mag(values["mag"])
    elif change == "write":
        layer.get_mag(values["mag"]).write(np.load(file), absolute_offset=values["at"], allow_unaligned=True)
    elif change == "set_box":
        layer.bounding_box = BoundingBox((0, 0, 0), values["size"])
    elif change == "downsample":
        with get_executor("sequential") as executor:
            layer.downsample(coarsest_mag=Mag(values["coarsest"]), executor=executor, **shards(layer, 8, 16))


if __name__ == "__main__":
    answers = sys.stdout
    sys.stdout = sys.stderr  # other output is not an answer
    for line in sys.stdin:
        try:
            main(*json.loads(line))
            error = None
        except Exception:
            error = traceback.format_exc()
        print(json.dumps(error), file=answers, flush=True)
