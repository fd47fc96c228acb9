"""Images that cannot be read: the rest is made, nothing with a hole is published, and the same command after the repair makes the rest."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.users import run_app
from wkpipe import Dataset
from wkpipe.errors import UnreadableImages, UnreadableInput
from wkpipe.formats import open_array

PLANES = np.random.default_rng(2).integers(0, 255, (40, 24, 20), dtype=np.uint8)
LAYOUT = {"chunk_shape": (4, 4, 4), "shard_shape": (32, 32, 8)}
BAD = (9, 10, 30)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for z, plane in enumerate(PLANES):
        tifffile.imwrite(folder / f"s{z:02d}.tif", plane, photometric="minisblack", compression="zlib")
    for z in BAD:
        damage(folder / f"s{z:02d}.tif")
    return folder


def damage(path: Path) -> None:
    """Damage the compressed data, which only decoding can find."""
    with tifffile.TiffFile(path) as tiff:
        (offset,), (count,) = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
    content = bytearray(path.read_bytes())
    content[offset + count // 2 : offset + count // 2 + 20] = bytes(20)
    path.write_bytes(content)


def replace_bad(folder: Path) -> None:
    for z in BAD:
        tifffile.imwrite(folder / f"s{z:02d}.tif", PLANES[z], photometric="minisblack", compression="zlib")


def units_on_disk(root: Path) -> set[str]:
    return {path.name for path in (root / "slices/1").glob("c/*/*/*/*")}


def check_voxels(root: Path) -> None:
    array = open_array(root / "slices" / "1", "zarr3")
    np.testing.assert_array_equal(array.read((0, 0, 0, 0), (1, 20, 24, 40))[0], PLANES.transpose(2, 1, 0))


def test_on_the_command_line(tmp_path: Path, slices: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "d"
    options = [each for key, value in LAYOUT.items() for each in (f"--{key.replace('_', '-')}", ",".join(map(str, value)))]
    command = ["convert", str(slices), str(target), "--voxel-size", "1,1,1", "--category", "color", "--jobs", "2", *options]
    assert run_app([*command, "-q"]) == 1
    said = capfd.readouterr().err
    assert re.search(r"s09\.tif: strip 1 .* \(3 images cannot be read, also s10\.tif, s30\.tif\)", said)
    assert "run the same command again" in said
    assert units_on_disk(target) == {"0", "2", "4"}
    assert not (target / "datasource-properties.json").exists()
    replace_bad(slices)
    assert run_app([*command, "-n"]) == 0
    assert re.search(r"slices +1 .* 2 of 5 ", capfd.readouterr().out)
    assert run_app([*command, "-q"]) == 0
    check_voxels(target)
    assert len(Dataset.open(target).get_layer("slices").mags) > 1


def test_in_the_library(tmp_path: Path, slices: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "d"
    with (
        caplog.at_level(logging.WARNING, "wkpipe"),
        pytest.raises(UnreadableImages, match=r"s09\.tif: .* cannot be read.*; replace them, and"),
    ):
        Dataset.from_images(slices, target, (1, 1, 1), layer_category="color", **LAYOUT)
    assert [z for z in range(40) if any(f"s{z:02d}.tif" in message for message in caplog.messages)] == list(BAD)
    assert units_on_disk(target) == {"0", "2", "4"}
    replace_bad(slices)
    Dataset.from_images(slices, target, (1, 1, 1), layer_category="color", **LAYOUT)
    check_voxels(target)


def test_broken_headers_among_many_slices(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Up to one slice in a hundred may be truncated; the category is recognised from the others."""
    folder = tmp_path / "slices"
    folder.mkdir()
    planes = np.arange(200, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    for z, plane in enumerate(planes):
        tifffile.imwrite(folder / f"s{z:03d}.tif", plane, photometric="minisblack")
    kept = {z: (folder / f"s{z:03d}.tif").read_bytes() for z in (50, 150)}
    for z, content in kept.items():
        (folder / f"s{z:03d}.tif").write_bytes(content[:100])
    target, layout = tmp_path / "d", {"chunk_shape": 8, "shard_shape": (8, 8, 16)}
    with caplog.at_level(logging.WARNING, "wkpipe"), pytest.raises(UnreadableImages, match=r"s050\.tif: .*also s150\.tif\)"):
        Dataset.from_images(folder, target, (1, 1, 1), **layout)  # type: ignore[arg-type]
    assert sum("units that need it are not made" in message for message in caplog.messages) == 2
    assert units_on_disk(target) == {str(z) for z in range(13)} - {"3", "9"}
    for z, content in kept.items():
        (folder / f"s{z:03d}.tif").write_bytes(content)
    dataset = Dataset.from_images(folder, target, (1, 1, 1), **layout)  # type: ignore[arg-type]
    np.testing.assert_array_equal(dataset.get_layer("slices").get_mag(1).read()[0, 0, 0], np.arange(200))
    for z in (10, 20, 30):
        (folder / f"s{z:03d}.tif").write_bytes(b"")
    with pytest.raises(UnreadableInput, match=r"s010\.tif: the file is empty"):
        Dataset.from_images(folder, tmp_path / "other", (1, 1, 1))
