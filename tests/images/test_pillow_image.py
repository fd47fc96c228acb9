"""PNG, JPEG, BMP and GIF: modes are compared with plain Pillow, 16-bit colours with imagecodecs; damaged files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tests.images.reading import read_rows
from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images import AxisSizes, ImageStack, inspect_source

RNG = np.random.default_rng(11)
NOISE = RNG.integers(0, 256, (40, 50, 4), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(200), np.arange(240)).astype(np.uint8)


def only(path: Path, **options: Any) -> ImageStack:
    (stack,) = inspect_source(path, **({"category": "color"} | options))
    return stack


def test_sample_jpegs(sample, voxels):
    folder = sample("temca2")
    stacks = inspect_source(folder)
    assert [stack.name for stack in stacks] == ["1_60", "1_61", "2_60", "2_61", "40_60", "40_61", "temca2"]
    assert {stack.category for stack in stacks} == {"color"}
    for stack in stacks[:-1]:
        expected = [np.asarray(Image.open(path)) for path in sorted((folder / stack.name.replace("_", "/")).glob("*.jpg"))]
        assert stack.whole_planes
        np.testing.assert_array_equal(voxels(stack)[0, ..., 0], expected)


PICTURES = {
    "L": (Image.fromarray(NOISE[..., 0]), NOISE[..., :1]),
    "LA": (Image.fromarray(NOISE[..., :2], "LA"), NOISE[..., :1]),
    "RGB": (Image.fromarray(NOISE[..., :3]), NOISE[..., :3]),
    "RGBA": (Image.fromarray(NOISE), NOISE[..., :3]),
    "I;16": (Image.fromarray(NOISE[..., 0].astype(np.uint16) * 200), NOISE[..., :1].astype(np.uint16) * 200),
}


@pytest.mark.parametrize("mode", PICTURES)
def test_png_modes(tmp_path, voxels, mode):
    image, expected = PICTURES[mode]
    image.save(tmp_path / "v.png")
    stack = only(tmp_path)
    assert (stack.sizes, stack.is_rgb) == (AxisSizes(1, expected.shape[2], 1, 40, 50), mode.startswith("RGB"))
    np.testing.assert_array_equal(voxels(stack)[0, 0], expected)
    np.testing.assert_array_equal(read_rows(stack, 0, 0, 1, 7, 19)[0], expected[7:19])


@pytest.mark.parametrize("colors", [2, 5, 16, 200])
def test_palettes_become_rgb(tmp_path, voxels, colors):
    image = Image.fromarray(NOISE[..., :3]).quantize(colors)
    for extension in ("png", "gif", "bmp"):
        folder = tmp_path / extension
        folder.mkdir()
        image.save(folder / f"v.{extension}")
        stack = only(folder)
        assert stack.is_rgb
        np.testing.assert_array_equal(voxels(stack)[0, 0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("samples", [3, 4])
def test_png_colours_of_16_bits_are_kept(tmp_path, voxels, samples):
    data = RNG.integers(0, 65536, (20, 30, samples), dtype=np.uint16)
    (tmp_path / "v.png").write_bytes(imagecodecs.png_encode(data))
    stacks = inspect_source(tmp_path, category="color")
    assert [stack.dtype for stack in stacks] == [np.uint16] * 3
    np.testing.assert_array_equal(np.concatenate([voxels(stack)[0, 0] for stack in stacks], axis=-1), data[..., :3])


def test_gray_with_alpha_of_16_bits_is_kept(tmp_path, voxels):
    data = RNG.integers(0, 65536, (20, 30, 2), dtype=np.uint16)
    (tmp_path / "v.png").write_bytes(imagecodecs.png_encode(data))
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0], data[..., :1])


@pytest.mark.parametrize("extension", ["jpg", "jpeg", "JPG", "bmp", "gif", "png"])
def test_extensions_in_upper_and_lower_case(tmp_path, voxels, extension):
    path = tmp_path / f"v.{extension}"
    Image.fromarray(SMOOTH).save(path)
    stack = only(tmp_path)
    expected = np.asarray(Image.open(path).convert("RGB" if stack.is_rgb else "L"))
    np.testing.assert_array_equal(voxels(stack)[0, 0], expected.reshape(200, 240, -1))


def test_jpeg_rgb(tmp_path, voxels):
    Image.fromarray(np.stack([SMOOTH, SMOOTH // 2, 255 - SMOOTH], axis=-1)).save(tmp_path / "v.jpg")
    stack = only(tmp_path)
    assert stack.is_rgb
    np.testing.assert_array_equal(voxels(stack)[0, 0], np.asarray(Image.open(tmp_path / "v.jpg")))


def test_content_counts_among_these_formats(tmp_path, voxels):
    Image.fromarray(NOISE[..., 0]).save(tmp_path / "v.png")
    (tmp_path / "v.png").rename(tmp_path / "v.jpg")
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0], NOISE[..., :1])


def test_other_content_is_refused(tmp_path):
    (tmp_path / "v.png").write_bytes(b"%PDF and so on")
    with pytest.raises(UnreadableInput, match=r"v\.png: not an image of the kind its name says: it starts with b'%PDF"):
        inspect_source(tmp_path)


def test_cmyk_and_animation_are_refused(tmp_path):
    Image.fromarray(NOISE).convert("RGB").convert("CMYK").save(tmp_path / "v.jpg")
    with pytest.raises(InputRefused, match=r"v\.jpg: found colours in CMYK, .*; save it as RGB"):
        inspect_source(tmp_path / "v.jpg")
    frames = [Image.fromarray(NOISE[..., i]) for i in range(3)]
    frames[0].save(tmp_path / "v.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputRefused, match=r"v\.gif: found an animated image, .*; save its frames"):
        inspect_source(tmp_path / "v.gif")


@pytest.mark.parametrize("extension, options", [("png", {}), ("jpg", {}), ("jpg", {"progressive": True}), ("bmp", {}), ("gif", {})])
def test_truncation_never_gives_wrong_voxels(tmp_path, voxels, refused, extension, options):
    path = tmp_path / f"v.{extension}"
    Image.fromarray(SMOOTH).save(path, **options)
    content = path.read_bytes()
    expected = voxels(only(tmp_path))
    cuts = sorted({1, 2, 8, *range(10, len(content), max(1, len(content) // 60)), *range(len(content) - 14, len(content))})
    count = 0
    for cut in cuts:
        path.write_bytes(content[:cut])
        count += refused(path, expected)
    assert count > len(cuts) * 0.8


def test_bytes_after_the_end_do_no_harm(tmp_path, voxels):
    for extension in ("jpg", "png"):
        folder = tmp_path / extension
        folder.mkdir()
        path = folder / f"v.{extension}"
        Image.fromarray(SMOOTH).save(path)
        expected = voxels(only(folder))
        path.write_bytes(path.read_bytes() + bytes(100_000))
        np.testing.assert_array_equal(voxels(only(folder)), expected)


def test_sizes_beyond_what_pillow_would_open(tmp_path, monkeypatch, voxels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(SMOOTH).save(tmp_path / "v.png")
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0, ..., 0], SMOOTH)


def test_absurd_sizes_are_refused_without_memory(tmp_path):
    import struct
    import zlib

    header = struct.pack(">II5B", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)
    (tmp_path / "v.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnreadableInput, match=r"v\.png: claims 2147483647×2147483647 pixels, far more than its"):
        inspect_source(tmp_path)
