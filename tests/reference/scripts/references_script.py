"""Datasets that refer to the data of another one: made and read, or with a second argument only read. Runs with either library."""

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import webknossos as wk


def make(root: Path) -> None:
    box = wk.BoundingBox((4, 2, 0), (60, 40, 20))
    source = wk.Dataset(root / "source", voxel_size=(4, 4, 4))
    layer = source.add_layer("cells", "segmentation", dtype="uint16", bounding_box=box, largest_segment_id=99)
    for mag in (1, 2):
        view = layer.add_mag(mag, chunk_shape=(32, 32, 32), shard_shape=(32, 32, 32))
        shape = tuple(-(-n // mag) for n in box.size)
        view.write(np.random.default_rng(mag).integers(1, 99, shape, dtype="uint16")[np.newaxis])
    shutil.copytree(root / "source" / "cells" / "1", root / "array")
    (root / "more.hdf5").write_bytes(b"more")
    attachments, data_format = layer.as_segmentation_layer().attachments, wk.AttachmentDataFormat.HDF5
    attachments.add_mesh(root / "more.hdf5", name="meshes", data_format=data_format)
    attachments.set_segment_index(root / "more.hdf5", name="index", data_format=data_format)
    more = wk.AgglomerateAttachment.from_path_and_name(root / "more.hdf5", "more", data_format=data_format)
    copy = attachments.add_attachment_as_copy(more)
    attachments.rename_attachment(copy, new_name="renamed")
    attachments.add_symlink_attachments(wk.MeshAttachment.from_path_and_name(root / "more.hdf5", "linked", data_format=data_format))
    dataset = wk.Dataset(root / "d", voxel_size=(4, 4, 4))
    kind = {"category": "segmentation", "dtype": "uint16"}
    by_reference = dataset.add_layer("by_reference", **kind)
    by_reference.add_mag_as_ref(layer.get_mag(1))
    by_reference.add_mag_as_ref(str(root / "source" / "cells" / "1"), mag=4)
    again = dataset.add_layer("again", **kind)
    again.add_mag_as_ref(by_reference.get_mag(1), extend_layer_bounding_box=False)
    again.bounding_box = box
    linked = dataset.add_layer("linked", **kind)
    (root / "d" / "linked").mkdir()
    linked.add_symlink_mag(layer.get_mag(1))
    linked.add_symlink_mag(layer.get_mag(2), make_relative=True)
    dataset.add_layer_as_ref(layer, new_layer_name="layer")
    dataset.add_symlink_layer(layer, new_layer_name="link")
    dataset.add_symlink_layer(layer, make_relative=True, new_layer_name="relative")
    array = dataset.add_layer("array", bounding_box=box, **kind)
    array.add_mag_from_zarrarray(1, root / "array", extend_layer_bounding_box=False)
    array.name = "renamed"
    linked.delete_mag(2)
    dataset.delete_layer("link")
    source.shallow_copy_dataset(root / "copy")


def facts(root: Path) -> None:
    """Print what the datasets are; paths do not depend on where they are."""
    for name in ("source", "d", "copy"):
        text = (root / name / "datasource-properties.json").read_text().replace(str(root), "ROOT")
        for layer in json.loads(text)["dataLayers"]:
            print("=", name, layer["name"], layer["boundingBox"], layer["mags"], layer.get("largestSegmentId"))
            print("=", json.dumps(layer.get("attachments"), sort_keys=True))
        print(
            "=",
            sorted((path.name, str(path.readlink()).replace(str(root), "ROOT")) for path in (root / name).rglob("*") if path.is_symlink()),
        )
        for layer in wk.Dataset.open(root / name).layers.values():
            for attachment in layer.as_segmentation_layer().attachments:
                print("=", attachment.name, attachment.type_name, str(attachment.path).replace(str(root), "ROOT"))
            for mag, view in layer.mags.items():
                print("=", layer.name, str(mag), int(view.read().sum()), layer.is_foreign, view.is_foreign, view.read_only)
                print("=", os.path.normpath(view.path).replace(str(root), "ROOT"), str(layer.path).replace(str(root), "ROOT"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) == 2:
        make(Path(sys.argv[1]))
    facts(Path(sys.argv[1]))
