"""Run by the reference package's Python: downsample all layers of a dataset.

usage: downsample_dataset.py DATASET VALUES, where VALUES is JSON: sampling_mode, interpolation_mode, coarsest_mag, chunk, shard.
"""

import json
import sys

from cluster_tools import get_executor
from webknossos import Dataset, Mag


def main(target, values):
    with get_executor("sequential") as executor:
        for layer in Dataset.open(target).layers.values():
            layer.downsample(
                coarsest_mag=Mag(values["coarsest_mag"]),
                sampling_mode=values["sampling_mode"],
                interpolation_mode=values["interpolation_mode"],
                chunk_shape=values["chunk"],
                shard_shape=values["shard"],
                executor=executor,
            )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
