"""Run by the reference package's Python: read every mag of every layer of datasets.

usage: read_dataset.py OUT DATASET... Writes OUT/<n>/facts.json and the voxels of each mag, in the array's axes, as .npy files.
"""

import json
import sys
from pathlib import Path

import numpy as np
from webknossos import Dataset


def box_facts(box):
    axes = list(getattr(box, "axes", ("x", "y", "z")))
    return {axis: [int(start), int(start) + int(size)] for axis, start, size in zip(axes, box.topleft, box.size, strict=True)}


def layer_facts(layer, out):
    mags = {}
    for mag, view in layer.mags.items():
        file = f"{len(list(out.glob('*.npy')))}.npy"
        voxels = view.read()
        np.save(out / file, voxels)
        mags[str(mag)] = {
            "voxels": file,
            "box": box_facts(view.bounding_box),
            "chunk": view.info.chunk_shape.to_list(),
            "shard": view.info.shard_shape.to_list(),
            "compressed": bool(view.info.compression_mode),
        }
    segmentation = layer.category == "segmentation"
    return {
        "category": layer.category,
        "data_format": layer.data_format.value,
        "dtype": str(np.dtype(layer.dtype)),
        "num_channels": layer.num_channels,
        "box": box_facts(layer.bounding_box),
        "largest_segment_id": layer.as_segmentation_layer().largest_segment_id if segmentation else None,
        "mags": mags,
    }


def main(dataset, out):
    out.mkdir(parents=True)
    opened = Dataset.open(dataset)
    facts = {
        "name": opened.name,
        "voxel_size": list(map(float, opened.voxel_size)),
        "layers": {name: layer_facts(layer, out) for name, layer in opened.layers.items()},
    }
    (out / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    for number, path in enumerate(sys.argv[2:]):
        main(Path(path), Path(sys.argv[1]) / str(number))
