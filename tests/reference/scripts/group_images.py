"""Run by the reference package's Python: make a dataset from the same images for each way to group and order them.

usage: group_images.py SOURCE TARGETS CASES, where CASES is JSON: by name, the rule (or null for a function), and whether to sort.
"""

import json
import sys
from pathlib import Path

from cluster_tools import get_executor
from webknossos import Dataset


def name_of(path):
    return f"no. {path.stem}"


def place_of(path):
    return -int(path.stem), str(path)


def main(source, targets, cases):
    executor = get_executor("sequential")
    for name, (rule, is_sorted) in cases.items():
        mapping = name_of if rule is None else Dataset.ConversionLayerMapping[rule]
        key = place_of if is_sorted else None
        Dataset.from_images(
            source,
            targets / name,
            (4, 4, 40),
            map_filepath_to_layer_name=mapping,
            z_slices_sort_key=key,
            layer_category="color",
            chunk_shape=32,
            shard_shape=64,
            executor=executor,
        )
    dataset = Dataset(targets / "added", (4, 4, 40))
    listed = [source / "b/10.tif", source / "a/0.tif", source / "b/9.tif"]
    dataset.add_layer_from_images(listed, "listed", topleft=(2, 4, 6), mag=2, shard_shape=64, executor=executor)
    dataset.add_layer_from_images(source, "all", shard_shape=64, executor=executor)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
