"""A script as users write it: a Zarr array becomes a layer, of which regions are read at several mags. It runs on both packages.

usage: array_script.py DATASET; the lines that begin with "=" are the result.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import webknossos as wk


def main():
    root = Path(sys.argv[1])
    voxels = np.random.default_rng(6).integers(0, 250, (2, 70, 40, 20), dtype=np.uint8)
    other = wk.Dataset(root / "other", voxel_size=(4, 4, 40))
    box = wk.BoundingBox((0, 0, 0), voxels.shape[1:])
    made = other.add_layer("em", "color", num_channels=2, bounding_box=box).add_mag(1, chunk_shape=16, shard_shape=32)
    made.write(voxels)
    shutil.copytree(made.path, root / "array")

    layer = wk.Dataset(root / "d", voxel_size=(4, 4, 40)).add_layer("em", "color", num_channels=2, bounding_box=box)
    mag1 = layer.add_mag_from_zarrarray("1", root / "array", extend_layer_bounding_box=False)
    print("=", mag1.info.chunk_shape, mag1.info.shard_shape, mag1.bounding_box.size, np.array_equal(mag1.read(), voxels))
    layer.downsample(coarsest_mag=wk.Mag("4-4-1"), chunk_shape=32, shard_shape=32)
    region = wk.BoundingBox((8, 12, 0), (24, 20, 10))
    for mag in sorted(layer.mags):
        view = layer.get_mag(mag).get_view(absolute_bounding_box=region.align_with_mag(mag, ceil=True), read_only=True)
        print(
            "=",
            mag.to_layer_name(),
            view.bounding_box.size,
            view.read().shape,
            int(view.read().sum()),
            view.read_cxyz()[:, 0, 0, 0].tolist(),
        )
        print("=", int(layer.get_mag(mag).read(absolute_offset=(8, 12, 0), size=(8, 8, 4)).sum()))
    with mag1.get_buffered_slice_reader(absolute_bounding_box=region, buffer_size=4, dimension="z") as reader:
        print("=", [int(section.sum()) for section in reader])
    print("=", sorted(box.topleft.to_tuple() for box in mag1.get_bounding_boxes_on_disk())[:3])


if __name__ == "__main__":
    main()
