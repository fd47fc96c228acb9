"""Run by the reference package's Python: downsample all layers of a dataset.

usage: downsample_dataset.py DATASET VALUES, where VALUES is JSON: coarsest_mag, chunk, shard, and, unless they are default,
sampling_mode, interpolation_mode, compress.
"""

import json
import sys

from cluster_tools import get_executor
from webknossos import Dataset, Mag


def main(target, values):
    with get_executor("sequential") as executor:
        for layer in Dataset.open(target).layers.values():
            data_format = layer.data_format.value
            layer.downsample(
                coarsest_mag=Mag(values["coarsest_mag"]),
                sampling_mode=values.get("sampling_mode", "anisotropic"),
                interpolation_mode=values.get("interpolation_mode", "default"),
                chunk_shape=values["chunk"],
                shard_shape=values["chunk"] if data_format == "zarr" else values["shard"],
                compress=values.get("compress", True),
                executor=executor,
            )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
