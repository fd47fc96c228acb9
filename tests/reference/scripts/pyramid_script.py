"""A script as users write it: an array becomes a dataset with its pyramid. It runs on both packages with the import changed alone.

usage: pyramid_script.py DATASET; the lines that begin with "=" are the result.
"""

import sys

import numpy as np
import webknossos as wk
from cluster_tools import get_executor


def main():
    voxels = np.random.default_rng(7).integers(0, 180, (1, 200, 150, 32), dtype=np.uint8)
    dataset = wk.Dataset(dataset_path=sys.argv[1], voxel_size=(11.24, 11.24, 25), name="brain")
    layer = dataset.add_layer(
        layer_name="em",
        category=wk.COLOR_CATEGORY,
        dtype="uint8",
        data_format=wk.DataFormat.Zarr3,
        bounding_box=wk.BoundingBox((0, 0, 0), voxels.shape[1:]),
    )
    mag = layer.add_mag(wk.Mag(1), chunk_shape=wk.Vec3Int(32, 32, 32), shard_shape=(256, 256, 32))
    mag.write(voxels, absolute_offset=(0, 0, 0))
    small = {"chunk_shape": (32, 32, 32), "shard_shape": (64, 64, 32)}
    with get_executor("sequential") as executor:
        layer.downsample(coarsest_mag=wk.Mag(4), sampling_mode=wk.SamplingModes.ANISOTROPIC, executor=executor, **small)
        layer.downsample_mag_list(wk.Mag("4-4-2"), [wk.Mag("16-16-8"), wk.Mag(8)], executor=executor, **small)
        layer.redownsample(interpolation_mode="max", executor=executor, **small)
    part = layer.bounding_box.with_bounds("x", 10, 60).intersected_with(wk.BoundingBox((0, 0, 0), (50, 50, 50)))
    print("=", part.topleft, part.size, dataset.voxel_size.x, wk.Dataset.open(sys.argv[1]) == dataset)
    for mag, view in layer.mags.items():
        print("=", mag.to_layer_name(), view.bounding_box.size, round(float(view.read().mean()), 6))


if __name__ == "__main__":
    main()
