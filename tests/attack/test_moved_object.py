"""The same chunks at other places: a solid object moves by whole chunks, so sizes and sums over bytes stay the same."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorstore

from tests.attack.helpers import (
    FORMATS,
    LAYER,
    assert_fresh,
    assert_sound,
    block,
    convert,
    data_files,
    downsample,
    picture,
    read,
    refusal,
    verify,
    write_images,
)
from tests.attack.other_tools import OtherTool
from tests.oracle.pyramid import Array
from wkpipe import Dataset

BEFORE, AFTER = (0, 0, 0), (16, 0, 0)
LARGE = {"shard_shape": 32, "chunk_shape": 8}
"""The shards that hold the object before and after."""


@pytest.mark.parametrize("data_format", FORMATS)
def test_moved_in_the_images(data_format: str, tmp_path: Path) -> None:
    images, shapes = tmp_path / "images", {} if data_format == "zarr" else LARGE
    root = convert(write_images(images, block(BEFORE)), tmp_path / "ds", data_format, **shapes)
    assert_fresh(root)
    write_images(images, block(AFTER))
    for image in images.iterdir():  # the resolution of times may be two seconds
        os.utime(image, ns=(image.stat().st_atime_ns, image.stat().st_mtime_ns + 10**10))
    convert(images, root, data_format, **shapes)
    np.testing.assert_array_equal(read(root), block(AFTER))
    assert_fresh(root)
    assert_sound(root)
    before = picture(root)
    convert(images, root, data_format, **shapes)
    assert picture(root) == before, "what is up to date was made again"


@pytest.mark.parametrize("data_format", FORMATS)
def test_moved_by_the_library(data_format: str, tmp_path: Path) -> None:
    shapes = {} if data_format == "zarr" else LARGE
    root = convert(write_images(tmp_path / "images", block(BEFORE)), tmp_path / "ds", data_format, **shapes)
    Dataset.open(root).layers[LAYER].get_mag(1).write(block(AFTER)[None])
    downsample(root, **shapes)
    np.testing.assert_array_equal(read(root), block(AFTER))
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_moved_by_another_tool(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    root = tool.make(tmp_path / "ds", LAYER, block(BEFORE), data_format, shard=32)
    downsample(root)
    assert_fresh(root)
    tool.write(root, LAYER, 1, block(AFTER))
    downsample(root)
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_moved_and_moved_back_by_another_tool(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    """The content is the recorded one again, with another time: nothing has to be made."""
    root = tool.make(tmp_path / "ds", LAYER, block(BEFORE), data_format, shard=32)
    downsample(root)
    made = {mag: picture(root, mag) for mag in ("2", "4")}
    tool.write(root, LAYER, 1, block(AFTER))
    tool.write(root, LAYER, 1, block(BEFORE))
    downsample(root)
    assert_fresh(root)
    assert {mag: picture(root, mag) for mag in made} == made


@pytest.mark.parametrize("checksum", ["chunks", "shard"])
def test_checksum_codecs_of_others(checksum: str, tmp_path: Path) -> None:
    """Arrays with codecs that end in CRC-32C: a CRC-32C over such bytes is the same for any content."""
    root = tmp_path / "ds"
    rng = np.random.default_rng(1)
    first, second = (rng.integers(1, 255, (1, 32, 32, 32), "u1") for _ in range(2))
    _array_with_crc(root, first, checksum)
    downsample(root)
    assert_fresh(root)
    _write(root, second)
    downsample(root)
    np.testing.assert_array_equal(read(root), second[0])
    assert_fresh(root)
    assert_sound(root)


def _array_with_crc(root: Path, voxels: Array, checksum: str) -> None:
    bytes_crc = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    codecs = bytes_crc
    if checksum == "shard":
        codecs = [
            {"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 8, 8, 8], "codecs": bytes_crc, "index_codecs": bytes_crc}}
        ]
    metadata = {
        "shape": list(voxels.shape),
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 16, 16, 16]}},
        "codecs": codecs,
    }
    store = {"driver": "file", "path": f"{root}/{LAYER}/1/"}
    tensorstore.open({"driver": "zarr3", "kvstore": store, "metadata": metadata}, create=True).result()
    layer = {
        "name": LAYER,
        "category": "color",
        "boundingBox": {"topLeft": [0, 0, 0], "width": 32, "height": 32, "depth": 32},
        "dataFormat": "zarr3",
        "mags": [{"mag": [1, 1, 1], "path": f"./{LAYER}/1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}}],
        "numChannels": 1,
        "elementClass": "uint8",
    }
    properties = {
        "id": {"name": "ds", "team": ""},
        "scale": {"factor": [1, 1, 1], "unit": "nanometer"},
        "dataLayers": [layer],
        "version": 1,
    }
    (root / "datasource-properties.json").write_text(json.dumps(properties))
    _write(root, voxels)


def _write(root: Path, voxels: Array) -> None:
    store = {"driver": "file", "path": f"{root}/{LAYER}/1/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": store}, open=True).result()
    array[...].write(voxels).result()


# -- damage that keeps every checksum right -----------------------------------------------------------------------------


def exchange_entries(file: Path, silent: bool) -> None:
    """Exchange the places of two chunks in a Zarr 3 shard's index, and correct its checksum; all other bytes stay."""
    content, status = bytearray(file.read_bytes()), file.stat()
    count = _chunks_of(content)
    index = content[-16 * count - 4 : -4]
    entries = [index[16 * i : 16 * i + 16] for i in range(count)]
    used = [i for i, entry in enumerate(entries) if entry != b"\xff" * 16]
    (a, b) = next((i, j) for i in used for j in range(count) if entries[i] != entries[j])
    entries[a], entries[b] = entries[b], entries[a]
    index = bytearray(b"".join(entries))
    file.write_bytes(bytes(content[: -16 * count - 4]) + index + struct.pack("<I", google_crc32c.value(bytes(index))))
    if silent:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _chunks_of(content: bytes | bytearray) -> int:
    """Return the number of entries in the index at a shard's end, which its checksum confirms."""
    for count in (8, 64, 512):
        index, crc = content[-16 * count - 4 : -4], content[-4:]
        if len(index) == 16 * count and struct.pack("<I", google_crc32c.value(bytes(index))) == crc:
            return count
    raise AssertionError("no index")


@pytest.mark.parametrize("silent", [True, False], ids=["same-time", "new-time"])
@pytest.mark.parametrize("mag", ["1", "2"])
def test_index_with_a_right_checksum(mag: str, silent: bool, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", block((16, 8, 0), edge=8))
    root = convert(images, tmp_path / "ds", **LARGE)
    right = read(root, int(mag))
    file = data_files(root, mag)[0]
    exchange_entries(file, silent)
    assert not np.array_equal(read(root, int(mag)), right)
    key = file.relative_to(root / LAYER / mag / "c").as_posix().replace("/", ".")
    found = [(problem.mag, problem.shard) for problem in verify(root).problems]
    assert (mag, key) in found


def test_no_coarser_mag_is_made_from_such_a_shard(tmp_path: Path) -> None:
    """With the recorded time, planning trusts the file; wrong voxels must not be made from it with exit code 0."""
    images = write_images(tmp_path / "images", block((16, 8, 0), edge=8))
    root = convert(images, tmp_path / "ds", downsample=False, **LARGE)
    exchange_entries(data_files(root, "1")[0], silent=True)
    code, _ = refusal(lambda: downsample(root, **LARGE))
    assert code in (3, 4) or verify(root).problems
