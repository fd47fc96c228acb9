"""Damage inside of compressed data: an error names the file and the page, or the voxels are right; never a crash or a wrong shape.

Codecs without a checksum decode some damaged data to wrong voxels (docs/images.md lists them); for these, only the form is checked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.images.reading import read_rows
from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images import inspect_source

SEED = 4
SMOOTH = (np.add.outer(np.arange(96), np.arange(128)) // 2 + np.random.default_rng(SEED).integers(0, 9, (96, 128))).astype(np.uint8)
RGB = np.stack([SMOOTH, SMOOTH // 2, 255 - SMOOTH], axis=-1)

CHECKED = ("zlib", "lzma", "png", "lerc")
UNCHECKED = (None, "lzw", "packbits", "zstd", "jpeg", "jpeg2000", "webp", "jpegxl", "jpegxr")


def damaged(content: bytes, first: int, end: int, count: int) -> Iterator[bytes]:
    """Yield copies with flipped bits, zeroed spots and other bytes between two positions."""
    rng = np.random.default_rng(SEED)
    for i in range(count):
        broken, at = bytearray(content), int(rng.integers(first, end))
        if i % 3 == 0:
            broken[at] ^= 1 << int(rng.integers(8))
        elif i % 3 == 1:
            broken[at : min(end, at + 16)] = bytes(min(end, at + 16) - at)
        else:
            broken[at : min(end, at + 4)] = rng.bytes(min(end, at + 4) - at)
        if broken != content:
            yield bytes(broken)


def read(path: Path) -> np.ndarray:
    (stack,) = inspect_source(path, category="color")
    return read_rows(stack, 0, 0, stack.sizes.z, 0, stack.sizes.y)


def outcome(path: Path, expected: np.ndarray) -> str:
    """Read a file: it is refused in a line that names it, right, or wrong but of the right form."""
    try:
        found = read(path)
    except InputRefused as error:
        return "refused" if path.name in str(error) and "\n" not in str(error) else f"refused without a name: {error}"
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return "right" if np.array_equal(found, expected) else "wrong"


@pytest.mark.parametrize("codec", [*CHECKED, *UNCHECKED], ids=str)
def test_tiff_segments(tmp_path, codec):
    data = RGB if codec == "webp" else SMOOTH
    path = tmp_path / "v.tif"
    options: dict[str, Any] = {"photometric": "rgb" if data.ndim == 3 else "minisblack"}
    tifffile.imwrite(path, np.stack([data, data]), compression=codec, tile=(48, 64), metadata=None, **options)
    content, expected = path.read_bytes(), read(path)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[1]
        first, end = min(page.dataoffsets), max(np.add(page.dataoffsets, page.databytecounts))
    found = []
    for broken in damaged(content, first, end, 100):
        path.write_bytes(broken)
        found.append(outcome(path, expected))
    assert len(found) > 80
    assert set(found) <= {"refused", "right", "wrong"}
    if codec in CHECKED:
        assert "wrong" not in found
        assert found.count("refused") > 50
    path.write_bytes(content[:first] + bytes(end - first) + content[end:])
    if codec in CHECKED or codec == "jpeg":
        with pytest.raises(UnreadableInput, match=r"v\.tif: tile \d of page 2 (cannot be decoded|has decoded to)"):
            read(path)


@pytest.mark.parametrize("extension, options", [("png", {}), ("gif", {}), ("bmp", {}), ("jpg", {}), ("jpg", {"progressive": True})])
def test_other_images(tmp_path, extension, options):
    path = tmp_path / f"v.{extension}"
    Image.fromarray(SMOOTH).save(path, **options)
    content, expected = path.read_bytes(), read(path)
    found = []
    for broken in damaged(content, 60 if extension == "png" else len(content) // 4, len(content), 100):
        path.write_bytes(broken)
        found.append(outcome(path, expected))
    assert set(found) <= {"refused", "right", "wrong"} - ({"wrong"} if extension == "png" else set())
    if extension in ("png", "jpg"):
        assert found.count("refused") > 30


def test_a_jpeg_with_bytes_zeroed_inside_is_refused(tmp_path):
    path = tmp_path / "v.jpg"
    Image.fromarray(SMOOTH).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) * 3 // 4] = bytes(len(content) * 3 // 4 - len(content) // 2)
    path.write_bytes(content)
    assert np.asarray(Image.open(io.BytesIO(content))).shape == SMOOTH.shape  # other decoders pass over it
    with pytest.raises(UnreadableInput, match=r"v\.jpg: the JPEG image cannot be decoded: Corrupt JPEG data: .*; replace the file"):
        read(path)


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_in_tiff_is_read_as_before_and_checked_with_its_tables(tmp_path, colour):
    path = tmp_path / "v.tif"
    data = RGB if colour else SMOOTH
    Image.fromarray(np.tile(data, (8, 8) + (1,) * colour)).save(path, compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert page.jpegtables is not None
        first, end = page.dataoffsets[1], page.dataoffsets[1] + page.databytecounts[1]
        np.testing.assert_array_equal(read(path)[0].squeeze(), page.asarray())
    content = bytearray(path.read_bytes())
    content[first + (end - first) // 2 : end - 2] = bytes(end - 2 - first - (end - first) // 2)
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"v\.tif: strip 2 of page 1 cannot be decoded: Corrupt JPEG data"):
        read(path)


def test_the_checksums_of_png_are_checked(tmp_path):
    path = tmp_path / "v.png"
    Image.fromarray(SMOOTH).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") + 4 + int.from_bytes(content[content.index(b"IDAT") - 4 : content.index(b"IDAT")], "big")
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"v\.png: the PNG image cannot be decoded: the checksum of its chunk b'IDAT' is wrong"):
        read(path)


@pytest.mark.parametrize("extension", ["tif", "png", "jpg", "bmp", "gif"])
def test_garbage_with_the_right_beginning(tmp_path, extension):
    path = tmp_path / f"v.{extension}"
    (tifffile.imwrite if extension == "tif" else lambda path, data: Image.fromarray(data).save(path))(path, SMOOTH)
    head = path.read_bytes()[:16]
    rng = np.random.default_rng(SEED)
    for length in (0, 1, 100, 10_000):
        path.write_bytes(head + rng.bytes(length))
        with pytest.raises(InputRefused, match=rf"v\.{extension}"):
            read(path)
