"""A script as users write it: slices become a layer one by one, and an array becomes another one with its pyramid.

It runs on both packages with the import changed alone. usage: slices_script.py DATASET; the lines that begin with "=" are the result.
"""

import sys
from pathlib import Path

import numpy as np
import webknossos as wk


def main():
    path = Path(sys.argv[1])
    volume = np.random.default_rng(5).integers(0, 4000, (90, 70, 24), dtype=np.uint16)
    dataset = wk.Dataset(path, voxel_size=(4, 4, 40), exist_ok=True)
    layer = dataset.add_layer("em", "color", dtype_per_channel="uint16", bounding_box=wk.BoundingBox((0, 0, 0), volume.shape))
    mag = layer.add_mag(1, chunk_shape=(32, 32, 32), shard_shape=(128, 128, 32), compress=True)
    with mag.get_buffered_slice_writer(buffer_size=32, use_logging=False) as writer:
        for z in range(volume.shape[2]):
            writer.send(volume[:, :, z])
    layer.downsample(coarsest_mag=wk.Mag("4-4-1"), interpolation_mode="median", compress=True)
    layer.default_view_configuration = wk.LayerViewConfiguration(color=(255, 0, 0), intensity_range=(0, 4000))
    dataset.default_view_configuration = wk.DatasetViewConfiguration(zoom=2.0)

    mask = (volume > 2000).astype(np.uint8)
    cells = dataset.write_layer("mask", wk.SEGMENTATION_CATEGORY, mask, downsample=True, chunk_shape=32, shard_shape=128)
    with layer.get_finest_mag().get_buffered_slice_reader(buffer_size=10, dimension="y") as reader:
        sums = [int(section.sum()) for section in reader]

    opened = wk.Dataset.open(path)
    assert opened.get_layer("em").default_view_configuration.intensity_range == (0.0, 4000.0)
    assert "mask" in opened.layers
    assert opened.get_color_layers()[0].name == "em"
    assert np.array_equal(opened.get_layer("em").get_mag("1").read()[0], volume)
    print("=", opened.voxel_size, opened.calculate_bounding_box().bottomright, sums[:3], len(sums))
    for each in (opened.get_layer("em"), opened.get_layer(cells.name)):
        for name in sorted(each.mags):
            view = each.get_mag(name)
            box = view.bounding_box.align_with_mag(name, ceil=True).in_mag(name)
            print("=", each.name, name.to_layer_name(), view.info.chunk_shape, box.size.to_list(), round(float(view.read().mean()), 6))
    opened.delete_layer("mask")
    print("=", list(opened.layers), (path / "mask").exists())


if __name__ == "__main__":
    main()
