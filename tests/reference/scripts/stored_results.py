"""Run by the reference package's Python: make and downsample small datasets, and keep the voxels of their coarser mags.

usage: stored_results.py CASES DIRECTORY, where CASES is JSON, a list of cases (tests/stored/cases.py). The voxels of mag 1 of case n are
DIRECTORY/n.npy; the coarser mags are written to DIRECTORY/n.npz, by name.
"""

import json
import sys
from pathlib import Path

import numpy as np
from cluster_tools import get_executor
from webknossos import Dataset, Mag, NDBoundingBox


def main(cases, directory):
    with get_executor("sequential") as executor:
        for case in cases:
            number, axes = case["number"], case["axes"]
            voxels = np.load(directory / f"{number}.npy")
            topleft = [0] * (len(axes) - 3) + case["topleft"]
            box = NDBoundingBox(topleft, voxels.shape, axes)
            layer = Dataset(directory / f"{number}", voxel_size=case["voxel_size"]).add_layer(
                "layer",
                case["category"],
                dtype=voxels.dtype,
                num_channels=voxels.shape[0] if axes[0] == "c" else 1,
                data_format=case["data_format"],
                bounding_box=box,
                **({"largest_segment_id": 1} if case["category"] == "segmentation" else {}),
            )
            shapes = {"chunk_shape": case["chunk"], "shard_shape": case["shard"], "compress": case["compress"]}
            mag = layer.add_mag(1, **shapes)
            mag.write(voxels, absolute_bounding_box=box, allow_unaligned=True)
            layer.downsample(
                coarsest_mag=Mag(case["coarsest"]),
                sampling_mode=case["sampling"],
                interpolation_mode=case["interpolation"],
                executor=executor,
                **shapes,
            )
            np.testing.assert_array_equal(mag.read(), voxels)
            coarser = {str(name): view.read() for name, view in layer.mags.items() if name != Mag(1)}
            np.savez(directory / f"{number}.npz", **coarser)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
