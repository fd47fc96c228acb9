"""A script as users write it: layers of two datasets are merged, stored in other formats, and copied. It runs on both packages.

usage: copies_script.py DATASET; the lines that begin with "=" are the result.
"""

import sys
from pathlib import Path

import numpy as np
import webknossos as wk

SMALL = {"chunk_shape": (32, 32, 32), "shard_shape": (32, 32, 32)}


def make(path, name, category, dtype, seed):
    voxels = np.random.default_rng(seed).integers(1, 200, (40, 36, 33), dtype=dtype)
    dataset = wk.Dataset(path, voxel_size=(4, 4, 40))
    layer = dataset.add_layer(name, category, dtype=dtype, data_format="wkw", bounding_box=wk.BoundingBox((0, 0, 0), voxels.shape))
    layer.add_mag(1, compress=False, **SMALL).write(voxels)
    return dataset


def main():
    root = Path(sys.argv[1])
    em = make(root / "em", "em", wk.COLOR_CATEGORY, "uint8", 1)
    cells = make(root / "cells", "cells", wk.SEGMENTATION_CATEGORY, "uint16", 2)
    cells.get_layer("cells").as_segmentation_layer().largest_segment_id = 199

    merged = wk.Dataset(root / "merged", voxel_size=em.voxel_size)
    merged.add_layer_as_copy(em.get_layer("em"), data_format="zarr3", **SMALL)
    merged.add_layer_as_copy(root / "cells" / "cells", "segmentation", data_format="zarr", compress=True, **SMALL)
    merged.get_layer("em").downsample(coarsest_mag=wk.Mag("2-2-1"), **SMALL)
    em.get_layer("em").get_mag(1).compress()
    assert em.get_layer("em").get_mag(1).content_is_equal(merged.get_layer("em").get_mag(1))

    shallow = merged.shallow_copy_dataset(root / "shallow", name="shallow")
    copy = merged.copy_dataset(root / "copy", chunk_shape=(16, 16, 16), shard_shape=(32, 32, 32), data_format="zarr3")
    copy.get_layer("em").get_mag("2-2-1").rechunk(chunk_shape=(32, 32, 32), shard_shape=(64, 64, 64), compress=False)
    for dataset in (em, merged, shallow, copy):
        print("=", dataset.name, dataset.voxel_size, dataset.calculate_bounding_box().size.to_list())
        for layer in dataset.layers.values():
            print("=", layer.name, layer.category, layer.dtype, layer.data_format, getattr(layer, "largest_segment_id", None))
            for mag, view in layer.mags.items():
                info = view.info
                print("=", mag.to_layer_name(), int(view.read().sum()), info.chunk_shape, info.shard_shape, info.compression_mode)
    print("=", [view.is_foreign for layer in shallow.layers.values() for view in layer.mags.values()])


if __name__ == "__main__":
    main()
