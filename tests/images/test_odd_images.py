"""Images as microscopes make them, converted: their voxels, or a refusal, and what enters the properties of the dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.material import material
from tests.users import run_app
from wkpipe import Dataset
from wkpipe.errors import WkpipeError

VOXEL = ("--voxel-size", "1,1,1")

READ: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("two_layouts_pages/src/s.tif", {}, {"s.tif": "expected_layer"}),
    ("one_blank_page_other_compression/src/s.tif", {}, {"s.tif": "expected_layer"}),
    ("ome_multifile_folder/src", {}, {"m_0.ome.tif": "expected_layer"}),
    ("ome_multifile_folder/src/m_1.ome.tif", {}, {"m_1.ome.tif": "expected_layer"}),
    ("ome_two_positions/src/p.ome.tif", {"series": "all"}, {"pos0": "expected_pos0", "pos1": "expected_pos1"}),
    ("ome_two_positions/src/p.ome.tif", {"series": 1}, {"p.ome.tif": "expected_pos1"}),
    ("ome_sig_bits_and_names/src/p.ome.tif", {}, {"DAPI": "expected_DAPI", "GFP": "expected_GFP"}),
    ("ij_lut_ranges/src/h.tif", {}, {f"h.tif__channel{c}": f"expected_h.tif__channel{c}" for c in range(2)}),
    ("sparse_tiles/src/s.tif", {}, {"src": "expected_layer"}),
    ("stripcounts_wrong/src/s.tif", {}, {"src": "expected_layer"}),
    ("jpeg_in_tif/src", {}, {"src": "expected_layer"}),
    ("bilevel/src", {}, {"src": "expected_layer"}),
    ("png1/src", {}, {"src": "expected_layer"}),
    ("png2_labels/src", {"layer_category": "segmentation"}, {"src": "expected_layer"}),
    ("png_palette_labels/src", {"layer_category": "segmentation"}, {"src": "expected_layer"}),
    ("png_palette_gray_color/src", {}, {"src": "expected_layer"}),
    ("png16_la/src", {}, {"src": "expected_layer"}),
]

REFUSED = [
    ("mixed_dtype_pages/src/s.tif", "3 planes in 2 series (0: 2 planes of 50×40 uint8; 1: 1 plane of 50×40 uint16), expected one series"),
    ("pages_two_sizes/src/s.tif", "4 planes in 2 series (0: 3 planes of 30×20 uint8; 1: 1 plane of 9×7 uint8), expected one series"),
    ("ome_two_positions/src/p.ome.tif", "6 planes in 2 series (0: 3 planes of 30×20 uint8 'pos0'; 1: 3 planes of 30×20 uint8 'pos1')"),
    ("many_channels/src/v.ome.tif", "makes more than 20 layers (each channel is one); convert fewer files, choose some with --channels"),
]


def converted(tmp_path: Path, source: str, **options: Any) -> Dataset:
    values = {"voxel_size": (1, 1, 1), "layer_category": "color", "downsample": False} | options
    return Dataset.from_images(material("odd") / source, tmp_path / "d", **values)


def voxels_of(dataset: Dataset, layer: str) -> np.ndarray:
    return dataset.get_layer(layer).get_finest_mag().read()[0].transpose(2, 1, 0)


@pytest.mark.parametrize("source, options, layers", READ)
def test_voxels(tmp_path, source, options, layers):
    dataset = converted(tmp_path, source, **options)
    assert set(dataset.layers) == set(layers)
    for name, expected in layers.items():
        np.testing.assert_array_equal(voxels_of(dataset, name), np.load(material("odd") / source.split("/")[0] / f"{expected}.npy"))


@pytest.mark.parametrize("source, text", REFUSED)
def test_refusals_name_the_counts_and_the_fix(tmp_path, capfd, source, text):
    assert run_app(["convert", str(material("odd") / source), str(tmp_path / "d"), *VOXEL, "--category", "color"]) == 3
    error = capfd.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("name", ["miniswhite", "palette_gray"])
def test_where_0_is_white_values_are_kept_and_shown_inverted(tmp_path, name):
    dataset = converted(tmp_path, f"{name}/src")
    np.testing.assert_array_equal(voxels_of(dataset, "src"), 255 - np.load(material("odd") / name / "expected_layer.npy"))
    view = dataset.get_layer("src").default_view_configuration
    assert view is not None
    assert view.is_inverted


@pytest.mark.parametrize("name, layer", [("bilevel", "src"), ("png1", "src")])
def test_masks_of_a_segmentation_are_0_and_1(tmp_path, name, layer):
    dataset = converted(tmp_path, f"{name}/src", layer_category="segmentation")
    np.testing.assert_array_equal(voxels_of(dataset, layer), np.load(material("odd") / name / "expected_layer.npy") // 255)
    assert dataset.get_layer(layer).largest_segment_id == 1


def test_12_bits_and_other_endings(tmp_path):
    dataset = converted(tmp_path, "jpg12/src")
    assert dataset.get_layer("src").dtype == np.uint16
    assert voxels_of(dataset, "src").shape == (1, 24, 40)
    shutil.rmtree(tmp_path / "d")
    source = material("odd") / "lsm_ext/src/s.btf"
    read = converted(tmp_path, "lsm_ext/src/s.btf").get_layer("src").get_finest_mag().read()  # x, y, c: red, green, blue of four samples
    np.testing.assert_array_equal(read[..., 0].transpose(0, 2, 1), tifffile.imread(source)[:3])


def test_channels_are_chosen(tmp_path):
    dataset = converted(tmp_path, "many_channels/src/v.ome.tif", channels=[0, 24])
    expected = tifffile.imread(material("odd") / "many_channels/src/v.ome.tif")
    for name, number in zip(sorted(dataset.layers), (0, 24), strict=True):
        np.testing.assert_array_equal(voxels_of(dataset, name)[0], expected[number])
    shutil.rmtree(tmp_path / "d")
    assert len(converted(tmp_path, "many_channels/src/v.ome.tif", max_layers=25).layers) == 25


# -- what the file says enters the properties -----------------------------------------------------------------------


def properties(dataset: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dataset / "datasource-properties.json").read_text())
    return found


def test_names_colours_ranges_and_sizes_are_those_of_the_file(tmp_path):
    converted(tmp_path, "ij_lut_ranges/src/h.tif", voxel_size=None)
    found = properties(tmp_path / "d")
    assert found["scale"] == {"factor": [pytest.approx(0.2), pytest.approx(0.2), 3], "unit": "micrometer"}
    views = [layer["defaultViewConfiguration"] for layer in found["dataLayers"]]
    assert [(view["color"], view["intensityRange"]) for view in views] == [([0, 255, 0], [100, 5000]), ([255, 0, 255], [50, 900])]
    assert all(view["min"] < view["max"] for view in views)  # of the data
    shutil.rmtree(tmp_path / "d")
    converted(tmp_path, "ome_sig_bits_and_names/src/p.ome.tif", voxel_size=None)
    found = properties(tmp_path / "d")
    assert found["scale"]["unit"] == "micrometer"
    assert found["scale"]["factor"] == pytest.approx([0.1, 0.1, 0.3])


def test_a_size_that_is_not_known_is_asked_for(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "v.tif", np.ones((9, 11), np.uint8), resolution=(1e5, 1e5), resolutionunit=3)
    assert run_app(["convert", str(tmp_path / "v.tif"), str(tmp_path / "d")]) == 2
    error = capfd.readouterr().err
    assert (
        "v.tif: the voxel size is not known, found only x = 100 nm and y = 100 nm in the file, expected it for x, y and z; give it" in error
    )


def test_a_given_size_is_used_and_compared(tmp_path, capfd):
    source = str(material("odd") / "ome_sig_bits_and_names/src/p.ome.tif")
    assert run_app(["convert", source, str(tmp_path / "d"), "--voxel-size", "100.5,100,300", "--dry-run"]) == 0
    assert "voxel size" not in capfd.readouterr().err
    assert run_app(["convert", source, str(tmp_path / "d"), "--voxel-size", "11,11,300", "--dry-run"]) == 0
    assert (
        "layer DAPI: the given voxel size 11,11,300 nanometer is used, but p.ome.tif says 100, 100, 300 nm (x, y, z)"
        in capfd.readouterr().err
    )


def test_files_with_different_sizes_need_a_given_one(tmp_path):
    for i in (1, 2):
        metadata = {"axes": "ZYX", "spacing": 3, "unit": "um"}
        tifffile.imwrite(tmp_path / f"v{i}.tif", np.ones((3, 9, 11), np.uint8), imagej=True, resolution=(i, i), metadata=metadata)
    with pytest.raises(WkpipeError, match=r"v2\.tif: the images have different voxel sizes, found 0\.5,0\.5,3 micrometer, expected 1,1,3"):
        Dataset.from_images(tmp_path, tmp_path.parent / f"{tmp_path.name}-d")


# -- the wishes are part of what identifies a conversion --------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"dtype": "uint16", "rescale_min_max": (0, 9)}, {"channels": [1]}, {"sparse": "fail"}, {"bilevel": "0/1"}, {"series": 0}],
)
def test_the_same_command_resumes_and_another_is_refused(tmp_path, options):
    source = "ij_lut_ranges/src/h.tif"
    dataset = converted(tmp_path, source, **options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("*") if path.is_file()}
    assert set(converted(tmp_path, source, **options).layers) == set(dataset.layers)
    data = [path for path in before if ".wkpipe" not in path.parts]
    assert all(before[path] == path.stat().st_mtime_ns for path in data)
    with pytest.raises(WkpipeError, match="other parameters"):
        converted(tmp_path, source)


def test_pages_are_accounted_for_in_the_dry_run_and_in_the_state(tmp_path, capfd):
    source = tmp_path / "v.tif"
    with tifffile.TiffWriter(source) as writer:
        for plane, kind in ((np.ones((9, 11), np.uint8), 0), (np.ones((4, 5), np.uint8), 1)):
            writer.write(plane, subfiletype=kind, metadata=None)
    line = "v.tif: 2 pages, 1 used, 1 left out: 1 of lower resolution (page 2)"
    assert run_app(["convert", str(source), str(tmp_path / "d"), *VOXEL, "--dry-run"]) == 0
    assert line in capfd.readouterr().out
    assert run_app(["convert", str(source), str(tmp_path / "d"), *VOXEL]) == 0
    assert line in "".join(capfd.readouterr())
    stored = next(text for path in (tmp_path / "d" / ".wkpipe").rglob("*.json") if '"page 2"' in (text := path.read_text()))
    assert "of lower resolution" in stored
