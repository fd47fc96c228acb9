"""Run by the reference package's Python: call members of layers.

usage: call_layers.py DATASET OTHER CALLS, where CALLS is JSON: a list of [LAYER, MEMBER, VALUES]. Values named *mag and *mags are mags;
align_with_other_layers may be "other", which is the dataset OTHER.
"""

import json
import sys

import webknossos as wk
from cluster_tools import get_executor


def present(name, value, other):
    if name.endswith("_mags") and isinstance(value, list):
        return [wk.Mag(mag) for mag in value]
    if name.endswith("_mag") and not isinstance(value, bool):
        return wk.Mag(value)
    return other if value == "other" else value


def main(dataset, other, calls):
    with get_executor("sequential") as executor:
        for layer, member, values in calls:
            arguments = {name: present(name, value, other) for name, value in values.items()}
            getattr(dataset.get_layer(layer), member)(**arguments, chunk_shape=32, shard_shape=64, executor=executor)


if __name__ == "__main__":
    main(wk.Dataset.open(sys.argv[1]), wk.Dataset.open(sys.argv[2]), json.loads(sys.argv[3]))
