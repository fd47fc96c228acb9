"""Run by the reference package's Python: make a dataset with a layer for each way to arrange images.

usage: turn_images.py TARGET VALUES, where VALUES is JSON: voxel_size, and layers: by name, the source and the options.
"""

import json
import sys

from webknossos import Dataset


def main(target, values):
    dataset = Dataset(target, voxel_size=values["voxel_size"])
    for name, (source, options) in values["layers"].items():
        dataset.add_layer_from_images(source, name, category="color", **options)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
