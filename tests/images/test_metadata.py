"""Metadata: voxel sizes, channels, colours and display ranges, as microscopes write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from wkpipe.errors import UsageError
from wkpipe.images import ContentOptions, ImageStack, SourceOptions, inspect_source

DATA = np.random.default_rng(1).integers(0, 65536, (2, 3, 9, 11), dtype=np.uint16)  # c, z, y, x


def stacks(path: Path, **options: Any) -> list[ImageStack]:
    return list(inspect_source(path, category="color", options=SourceOptions(content=ContentOptions(**options))))


def ome(path: Path, **metadata: Any) -> None:
    tifffile.imwrite(path, DATA, ome=True, metadata={"axes": "CZYX", **metadata})


def test_ome_names_colours_and_sizes(tmp_path):
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (100, 100, 300), strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    ome(tmp_path / "v.ome.tif", Channel={"Name": ["DAPI", "GFP x"], "Color": [-16776961, 16711935]}, **sizes, **units)
    first, second = stacks(tmp_path / "v.ome.tif")
    assert (first.name, second.name) == ("DAPI", "GFPx")
    assert (first.color, second.color) == ((255, 0, 0), (0, 255, 0))
    assert first.voxel_size is not None
    assert (first.voxel_size.factor, first.voxel_size.unit) == ((100, 100, 300), "nanometer")


@pytest.mark.parametrize("unit", ["\u00b5m", "\u03bcm", "um"])
def test_the_size_of_each_axis_has_its_own_unit(tmp_path, unit):
    ome(tmp_path / "v.ome.tif", PhysicalSizeX=0.1, PhysicalSizeY=0.1, PhysicalSizeZ=300, PhysicalSizeZUnit="nm")
    content = (tmp_path / "v.ome.tif").read_bytes()
    assert stacks(tmp_path / "v.ome.tif")[0].voxel_nm == pytest.approx((100, 100, 300))
    assert b"PhysicalSizeZUnit" in content


@pytest.mark.parametrize("unit", ["pixel", "reference frame"])
def test_sizes_in_pixels_are_unknown(tmp_path, unit):
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
    ome(tmp_path / "v.ome.tif", PhysicalSizeX=1.0, PhysicalSizeY=1.0, PhysicalSizeZ=1.0, **units)
    assert stacks(tmp_path)[0].voxel_nm == (None, None, None)


UNITS = [
    ("um", 1000),
    ("micron", 1000),
    ("microns", 1000),
    ("\\u00B5m", 1000),
    ("nm", 1),
    ("\u00c5", 0.1),
    ("inch", 25.4e6),
    ("cm", 1e7),
    ("mm", 1e6),
]


@pytest.mark.parametrize("unit, nanometers", UNITS)
def test_imagej_units(tmp_path, unit, nanometers):
    description = f"ImageJ=1.53t\nimages=6\nchannels=2\nslices=3\nhyperstack=true\nmode=grayscale\nunit={unit}\nspacing=3.0\n"
    data = DATA.transpose(1, 0, 2, 3)
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for i, plane in enumerate(data.reshape(6, 9, 11)):
            described = description.encode("latin-1") if i == 0 else None
            writer.write(plane, description=described, metadata=None, resolution=(5, 4), resolutionunit=1, contiguous=False)
    (first, _) = stacks(tmp_path)
    assert first.voxel_nm == pytest.approx((0.2 * nanometers, 0.25 * nanometers, 3 * nanometers))


def test_imagej_colours_and_ranges(tmp_path):
    ramp = np.arange(256, dtype=np.uint8)
    green, magenta = (np.stack([ramp * on for on in channels]) for channels in ((0, 1, 0), (1, 0, 1)))
    tifffile.imwrite(
        tmp_path / "v.tif",
        DATA.transpose(1, 0, 2, 3),
        imagej=True,
        resolution=(10, 10),
        metadata={"axes": "ZCYX", "spacing": 2, "unit": "um", "LUTs": [green, magenta], "Ranges": (100.0, 5000.0, 50.0, 900.0)},
    )
    assert [stack.info[1:] for stack in stacks(tmp_path)] == [((0, 255, 0), (100, 5000)), ((255, 0, 255), (50, 900))]
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, DATA[0], imagej=True, metadata={"axes": "ZYX", "min": 3.0, "max": 77.0})
    assert stacks(one)[0].info.shown == (3, 77)


@pytest.mark.parametrize("dpi", [72, 96])
def test_what_programs_write_that_know_nothing_is_unknown(tmp_path, dpi):
    tifffile.imwrite(tmp_path / "v.tif", DATA[0, 0], resolution=(dpi, dpi), resolutionunit=2)
    assert stacks(tmp_path / "v.tif")[0].voxel_nm == (None, None, None)
    tifffile.imwrite(tmp_path / "w.tif", DATA[0, 0], resolution=(dpi / 2.54, dpi / 2.54), resolutionunit=3)
    assert stacks(tmp_path / "w.tif")[0].voxel_nm == (None, None, None)


@pytest.mark.parametrize("unit, nanometers", [(2, 2.54e7), (3, 1e7)])
def test_resolution_tags(tmp_path, unit, nanometers):
    tifffile.imwrite(tmp_path / "v.tif", DATA[0, 0], resolution=(100_000, 50_000), resolutionunit=unit)
    x, y, z = stacks(tmp_path)[0].voxel_nm
    assert (x, y, z) == (pytest.approx(nanometers / 100_000), pytest.approx(nanometers / 50_000), None)


# -- channels -----------------------------------------------------------------------------------------------------


def test_channels_are_chosen_by_number_and_by_name(tmp_path, voxels):
    ome(tmp_path / "v.ome.tif", Channel={"Name": ["DAPI", "GFP"]})
    (chosen,) = stacks(tmp_path, channels=("GFP",))
    np.testing.assert_array_equal(voxels(chosen)[0, ..., 0], DATA[1])
    assert [stack.name for stack in stacks(tmp_path, channels=("1", "DAPI", "1"))] == ["GFP", "DAPI"]
    with pytest.raises(UsageError, match=r"there is no channel 'RFP', expected numbers from 0 to 1 or names \(DAPI, GFP\)"):
        stacks(tmp_path, channels=("RFP",))
    with pytest.raises(UsageError, match="there is no channel '2'"):
        stacks(tmp_path, channels=("2",))


def test_a_channel_of_rgb_images(tmp_path, voxels):
    data = DATA.astype(np.uint8).reshape(-1)[: 9 * 11 * 3].reshape(9, 11, 3)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="rgb")
    (chosen,) = stacks(tmp_path, channels=("1",))
    np.testing.assert_array_equal(voxels(chosen)[0, 0, ..., 0], data[..., 1])
