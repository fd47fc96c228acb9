"""Voxel sizes in TIFF files of the programs of microscopes, whose private tags are made here as these programs write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.images.test_metadata import stacks
from wkpipe.errors import UnreadableInput
from wkpipe.images.source import SourceBox

DATA = np.random.default_rng(1).integers(0, 65536, (3, 9, 11), dtype=np.uint16)
LSM_INFO, UIC1, UIC2 = 34412, 33628, 33629
STEP, CALIBRATED, X_SIZE, Y_SIZE, UNIT = 2, 3, 4, 5, 6  # entries of UIC1
RATIONAL, LONG, BYTE = 5, 4, 1
MAGIC = 0x0400494C


def write_lsm(path: Path, sizes: tuple[float, float, float]) -> None:
    info = np.zeros((), np.dtype(tifffile.TIFF.CZ_LSMINFO).newbyteorder("<"))
    values = dict(zip(("VoxelSizeX", "VoxelSizeY", "VoxelSizeZ"), sizes, strict=True))
    values |= {"MagicNumber": MAGIC, "StructureSize": info.nbytes, "DimensionX": 11, "DimensionY": 9, "DimensionZ": 3}
    for key, value in (values | {"DimensionChannels": 1, "DimensionTime": 1}).items():
        info[key] = value
    content = info.tobytes()
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        for i, plane in enumerate(DATA):
            tags = [(LSM_INFO, BYTE, len(content), content, True)] if i == 0 else []
            writer.write(plane, metadata=None, contiguous=False, extratags=tags)
            writer.write(plane[::2, ::2], metadata=None, contiguous=False, subfiletype=1)


def write_stk(path: Path, distances: list[tuple[int, int]], *, is_calibrated: bool = True, unit: str = "um") -> None:
    """Write a STK: one directory for contiguous planes, and tags whose values are longer than their counts say."""
    planes = np.array([[*distance, 0, 0, 0, 0] for distance in distances], "<u4").ravel().tolist()
    text = unit.encode() + b"\0"
    tags = [(UIC1, LONG, 8, [0] * 8, True), (UIC2, LONG, len(planes), planes, True)]
    tifffile.imwrite(path, DATA[0], byteorder="<", metadata=None, extratags=tags)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        found = {code: tiff.pages.first.tags[code] for code in (UIC1, UIC2)}
        strip = tiff.pages.first.dataoffsets[0]
    assert strip + DATA[0].nbytes == len(content), "further planes follow the first one"
    content += DATA[1:].tobytes()
    end = len(content)
    content += struct.pack("<4I", 65, 1000, 13, 100) + struct.pack("<I", len(text)) + text
    entries = [CALIBRATED, int(is_calibrated), X_SIZE, end, Y_SIZE, end + 8, UNIT, end + 16]
    struct.pack_into("<8I", content, found[UIC1].valueoffset, *entries)
    struct.pack_into("<I", content, found[UIC1].offset + 4, len(entries) // 2)
    struct.pack_into("<HI", content, found[UIC2].offset + 2, RATIONAL, len(distances))
    path.write_bytes(content)


def read(path: Path) -> tuple[np.ndarray, tuple[float | None, ...]]:
    (stack,) = stacks(path)
    return np.asarray(stack.read(SourceBox.of((0,) * 5, tuple(stack.sizes))))[0, 0], stack.voxel_nm


def test_lsm(tmp_path: Path) -> None:
    write_lsm(tmp_path / "v.lsm", (6.5e-8, 1.3e-7, 5e-7))
    voxels, size = read(tmp_path / "v.lsm")
    np.testing.assert_array_equal(voxels, DATA)
    assert size == pytest.approx((65, 130, 500))


def test_lsm_that_does_not_know(tmp_path: Path) -> None:
    write_lsm(tmp_path / "v.lsm", (0.0, float("nan"), 5e-7))
    assert read(tmp_path / "v.lsm")[1] == (None, None, pytest.approx(500))


def test_a_broken_tag_is_refused(tmp_path: Path) -> None:
    write_lsm(tmp_path / "v.lsm", (6.5e-8, 6.5e-8, 5e-7))
    content = (tmp_path / "v.lsm").read_bytes()
    (tmp_path / "v.lsm").write_bytes(content.replace(struct.pack("<I", MAGIC), b"\1\2\3\4"))
    with pytest.raises(UnreadableInput, match=r"v\.lsm: not a readable TIFF file"):
        read(tmp_path / "v.lsm")


@pytest.mark.parametrize(
    "distances, z",
    [
        ([(3, 10)] * 3, 300),
        ([(0, 10), (3, 10), (6, 10)], 300),
        ([(0, 10), (3, 10), (7, 10)], None),
        ([(0, 1)] * 3, None),
    ],
)
def test_stk(tmp_path: Path, distances: list[tuple[int, int]], z: float | None) -> None:
    write_stk(tmp_path / "v.stk", distances)
    voxels, size = read(tmp_path / "v.stk")
    np.testing.assert_array_equal(voxels, DATA)
    assert size == (pytest.approx(65), pytest.approx(130), z if z is None else pytest.approx(z))


def test_stk_in_pixels(tmp_path: Path) -> None:
    write_stk(tmp_path / "a.stk", [(3, 10)] * 3, is_calibrated=False)
    assert read(tmp_path / "a.stk")[1] == (None, None, pytest.approx(300))
    write_stk(tmp_path / "b.stk", [(3, 10)] * 3, unit="pixel")
    assert read(tmp_path / "b.stk")[1][:2] == (None, None)


@pytest.mark.parametrize(
    "description, size",
    [
        ("Aperio Image Library v1.0|AppMag = 20|MPP = 0.4990", (499, 499, None)),
        ("Aperio Image Library v1.0|MPP = unknown", (None, None, None)),
        ("Aperio Image Library v1.0", (None, None, None)),
    ],
)
def test_svs(tmp_path: Path, description: str, size: tuple[float | None, ...]) -> None:
    tifffile.imwrite(tmp_path / "v.svs", DATA[0], metadata=None, description=description, tile=(16, 16))
    voxels, found = read(tmp_path / "v.svs")
    np.testing.assert_array_equal(voxels[0], DATA[0])
    assert found == tuple(each if each is None else pytest.approx(each) for each in size)
