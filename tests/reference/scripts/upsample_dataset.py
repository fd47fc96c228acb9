"""Run by the reference package's Python: upsample layers of a dataset.

usage: upsample_dataset.py DATASET VALUES, where VALUES is JSON: from_mag, finest_mag and sampling_mode; small shards keep it quick.
"""

import json
import sys

from cluster_tools import get_executor
from webknossos import Dataset, Mag


def main(target, values):
    with get_executor("sequential") as executor:
        for layer in Dataset.open(target).layers.values():
            layer.upsample(
                Mag(values["from_mag"]),
                finest_mag=Mag(values["finest_mag"]),
                sampling_mode=values["sampling_mode"],
                chunk_shape=32,
                shard_shape=64,
                executor=executor,
            )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
