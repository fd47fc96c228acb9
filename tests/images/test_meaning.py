"""Meaning: what stored values become: gray of either direction, palettes, masks, ids in colours, other types."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images import ContentOptions, ImageStack, Inspection, SourceOptions, inspect_source
from wkpipe.images.values import Values

RNG = np.random.default_rng(9)
GRAY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
IDS = np.repeat(np.repeat(RNG.integers(0, 4, (4, 6), dtype=np.uint8), 5, axis=0), 5, axis=1)
RAMP = np.arange(256, dtype=np.uint8)


def inspected(path: Path, category: str | None = "color", **options: object) -> Inspection:
    return inspect_source(path, category=category, options=SourceOptions(content=ContentOptions(**options)))  # type: ignore[arg-type]


def only(path: Path, category: str | None = "color", **options: object) -> ImageStack:
    (stack,) = inspected(path, category, **options)
    return stack


def colours(*rows: tuple[int, int, int]) -> Image.Image:
    """Return `IDS` as an image with a palette."""
    image = Image.fromarray(IDS, "P")
    image.putpalette([value for row in rows for value in row])
    return image


# -- gray ---------------------------------------------------------------------------------------------------------


def test_white_zero_is_kept_and_shown_inverted(tmp_path, voxels):
    tifffile.imwrite(tmp_path / "v.tif", GRAY, photometric="miniswhite")
    found = inspected(tmp_path / "v.tif")
    assert found[0].is_inverted
    said = f"layer {found[0].name}: in its images, 0 is white; values are kept as stored, and the layer is shown inverted"
    assert found.notes == (said,)
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], GRAY)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_gray_palettes_of_tiff_are_gray(tmp_path, voxels, is_reversed):
    ramp = RAMP[::-1] if is_reversed else RAMP
    tifffile.imwrite(tmp_path / "v.tif", GRAY, photometric="palette", colormap=np.tile(ramp.astype(np.uint16) * 257, (3, 1)))
    found = inspected(tmp_path)
    assert (found[0].is_inverted, len(found.notes)) == (is_reversed, is_reversed)
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], GRAY)


def test_colour_palettes_of_tiff_are_indices_and_said(tmp_path, voxels):
    tifffile.imwrite(tmp_path / "v.tif", GRAY, photometric="palette", colormap=RNG.integers(0, 65536, (3, 256), dtype=np.uint16))
    found = inspected(tmp_path / "v.tif")
    assert [note.partition(": ")[2] for note in found.notes] == [
        "its images have a palette; the stored indices are used, not their colours"
    ]
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], GRAY)


@pytest.mark.parametrize("extension", ["png", "gif", "bmp"])
def test_gray_palettes_are_one_channel(tmp_path, voxels, extension):
    levels = np.array([7, 50, 120, 200], np.uint8)
    colours(*((level,) * 3 for level in levels.tolist())).save(tmp_path / f"v.{extension}")
    stack = only(tmp_path)
    assert (stack.sizes.c, stack.is_inverted) == (1, False)
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], levels[IDS])


def test_a_reversed_gray_palette_of_png_keeps_its_indices(tmp_path, voxels):
    colours(*((level,) * 3 for level in (255, 170, 85, 0))).save(tmp_path / "v.png")
    stack = only(tmp_path)
    assert (stack.sizes.c, stack.is_inverted) == (1, True)
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], IDS)


def test_slices_that_mean_different_things_are_refused(tmp_path):
    for i, photometric in enumerate(("minisblack", "miniswhite", "minisblack")):
        tifffile.imwrite(tmp_path / f"s{i}.tif", GRAY, photometric=photometric)
    with pytest.raises(InputRefused, match=r"s1\.tif: found gray in which 0 is white, expected gray like s0\.tif; save all slices with"):
        inspected(tmp_path)


# -- ids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("category", ["segmentation", None])
def test_ids_of_few_bits_are_not_scaled(tmp_path, voxels, bits, category):
    ids = np.repeat(np.repeat(IDS, 4, axis=0), 4, axis=1)  # large enough to be recognised
    content = png_of_bits(ids, bits)
    assert set(np.unique(np.asarray(Image.open(io.BytesIO(content))))) == {0, *(i * (255 // (2**bits - 1)) for i in (1, 2, 3))}
    for i in range(2):
        (tmp_path / f"s{i}.png").write_bytes(content)
    stack = only(tmp_path, category)
    assert stack.category == "segmentation"
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], [ids, ids])
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0, ..., 0], ids * (255 // (2**bits - 1)))


def png_of_bits(data: np.ndarray, bits: int) -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    per_byte = 8 // bits
    padded = np.pad(data, ((0, 0), (0, -data.shape[1] % per_byte)))
    packed = sum(padded[:, i::per_byte].astype(np.uint8) << (8 - bits * (i + 1)) for i in range(per_byte))
    rows = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in packed)
    header = struct.pack(">II5B", data.shape[1], data.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("extension", ["png", "gif", "bmp"])
def test_palettes_of_labels_are_indices(tmp_path, voxels, extension):
    colours((0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)).save(tmp_path / f"v.{extension}")
    for labels in (None, "index"):
        np.testing.assert_array_equal(voxels(only(tmp_path, "segmentation", labels=labels))[0, 0, ..., 0], IDS)


def test_labels_with_different_palettes_are_refused(tmp_path):
    rows = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)]
    for i in range(3):
        colours(*(rows[::-1] if i == 1 else rows)).save(tmp_path / f"s{i}.png")
    with pytest.raises(InputRefused, match=r"found another palette, expected that of .*; save all slices with one palette, or pass --rgb-"):
        inspected(tmp_path, "segmentation")
    assert only(tmp_path, "segmentation", labels="pack").dtype == np.uint32


def test_a_shorter_palette_of_the_same_colours_fits(tmp_path, voxels):
    colours((0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)).save(tmp_path / "s0.png")
    few = Image.fromarray(np.minimum(IDS, 1), "P")
    few.putpalette([0, 0, 0, 255, 0, 0])
    few.save(tmp_path / "s1.png")
    np.testing.assert_array_equal(voxels(only(tmp_path, "segmentation"))[0, ..., 0], [IDS, np.minimum(IDS, 1)])


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_equal_colours_are_ids(tmp_path, voxels, extension):
    Image.fromarray(np.repeat(GRAY[..., np.newaxis], 3, axis=-1)).save(tmp_path / f"v.{extension}")
    np.testing.assert_array_equal(voxels(only(tmp_path, "segmentation"))[0, 0, ..., 0], GRAY)


def test_colours_that_differ_are_refused_wherever_they_are(tmp_path, voxels):
    data = np.zeros((400, 30, 3), np.uint8)
    data[0, 0, 0] = 1
    Image.fromarray(data).save(tmp_path / "v.png")
    with pytest.raises(UnreadableInput, match=r"v\.png: plane 1 has colours in which red, green and blue differ"):
        voxels(only(tmp_path, "segmentation"))
    data[200, 0, 0] = 1
    Image.fromarray(data).save(tmp_path / "v.png")
    with pytest.raises(InputRefused, match=r"v\.png: found RGB, expected one channel of ids .*; use category color, or pass --rgb-labels"):
        only(tmp_path, "segmentation")


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_colours_are_packed_or_numbered(tmp_path, voxels, extension):
    palette = np.array([(0, 0, 0), (255, 0, 1), (0, 3, 0), (0, 0, 9)], np.uint8)
    for i in range(2):
        Image.fromarray(palette[np.roll(IDS, i)]).save(tmp_path / f"s{i}.{extension}")
    slices = np.stack([IDS, np.roll(IDS, 1)])
    packed = only(tmp_path, "segmentation", labels="pack")
    ids = np.array([0, 255 << 16 | 1, 3 << 8, 9], np.uint32)
    np.testing.assert_array_equal(voxels(packed)[0, ..., 0], ids[slices])
    found = inspected(tmp_path, "segmentation", labels="map")
    np.testing.assert_array_equal(voxels(found[0])[0, ..., 0], np.array([0, 3, 2, 1])[slices])
    assert found.notes == (f"layer {found[0].name}: 4 colours became ids (0 = #000000, 1 = #000009, 2 = #000300, 3 = #ff0001)",)
    again = ImageStack.from_json(found[0].to_json())
    np.testing.assert_array_equal(voxels(again), voxels(found[0]))
    with pytest.raises(UsageError, match="--rgb-labels index needs images with a palette, found RGB; choose pack or map"):
        inspected(tmp_path, "segmentation", labels="index")


def test_wishes_that_do_not_fit_are_refused(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "v.png")
    for category in ("color", None):
        with pytest.raises(UsageError, match="--rgb-labels is for segmentations; pass --category segmentation too, or leave it out"):
            inspected(tmp_path, category, labels="pack")
    with pytest.raises(UsageError, match=r"v\.png: there is no series '1', found one image; leave out --series"):
        inspected(tmp_path, series="1")
    assert only(tmp_path, series="0").sizes.c == 1


def test_more_colours_than_labels(tmp_path):
    Image.fromarray(np.arange(300 * 300, dtype=np.uint32).view(np.uint8).reshape(300, 300, 4)[..., :3]).save(tmp_path / "v.png")
    with pytest.raises(InputRefused, match=r"v\.png: has more than 65536 colours, too many to number; pass --rgb-labels pack"):
        inspected(tmp_path, "segmentation", labels="map")


def test_label_options_for_gray_images_are_refused(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "v.png")
    with pytest.raises(UsageError, match=r"v\.png: --rgb-labels pack is for images in colours; leave it out"):
        inspected(tmp_path, "segmentation", labels="pack")


def test_indices_of_a_tiff_with_a_palette_may_be_asked_for(tmp_path, voxels):
    tifffile.imwrite(tmp_path / "v.tif", GRAY, photometric="palette", colormap=RNG.integers(0, 65536, (3, 256), dtype=np.uint16))
    stack = only(tmp_path, "segmentation", labels="index")
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], GRAY)
    with pytest.raises(UsageError, match=r"v\.tif: --rgb-labels pack is for images in colours; leave it out"):
        only(tmp_path, "segmentation", labels="pack")


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_masks(tmp_path, voxels, extension):
    mask = GRAY > 128
    if extension == "tif":
        tifffile.imwrite(tmp_path / "v.tif", mask, photometric="minisblack")
    else:
        Image.fromarray(mask).save(tmp_path / "v.png")
    for category, bits, high in (("color", None, 255), ("segmentation", None, 1), ("color", 1, 1), ("segmentation", 255, 255)):
        stack = only(tmp_path, category, bits=bits)
        assert (stack.dtype, stack.category) == (np.uint8, category)
        np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], mask * high)
    assert inspected(tmp_path, bits=1).notes == ()
    np.testing.assert_array_equal(voxels(only(tmp_path, dtype="uint16"))[0, 0, ..., 0], mask)
    with pytest.raises(UsageError, match=rf"v\.{extension}: --bilevel and --dtype cannot both say what bits become; leave out one"):
        only(tmp_path, bits=255, dtype="uint16")


def test_bilevel_without_bits_is_said(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "v.png")
    assert inspected(tmp_path, bits=1).notes == ("--bilevel makes no difference: no image has 1 bit",)


def test_dense_ids_are_a_segmentation(tmp_path):
    blocks = RNG.permutation(2**22)[: 24**3].astype(np.uint32).reshape(24, 24, 24)
    ids = blocks.repeat(3, 0).repeat(3, 1).repeat(3, 2)
    tifffile.imwrite(tmp_path / "v.tif", ids, photometric="minisblack", compression="zlib")
    assert only(tmp_path, None).category == "segmentation"


# -- 12 bits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3])
def test_jpeg_of_12_bits(tmp_path, voxels, samples):
    plane = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint16) * 30
    data = plane if samples == 1 else np.stack([plane, 4095 - plane, plane // 2], axis=-1)
    content = imagecodecs.jpeg_encode(data, level=95, bitspersample=12)
    (tmp_path / "v.jpg").write_bytes(content)
    found = inspected(tmp_path)
    assert [(stack.dtype, stack.sizes.y, stack.sizes.x) for stack in found] == [(np.uint16, 48, 64)] * samples
    read = np.concatenate([voxels(stack)[0, 0] for stack in found], axis=-1)
    np.testing.assert_array_equal(read.squeeze(), imagecodecs.jpeg_decode(content))


# -- other types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64", "float32", "uint16"])
def test_values_are_rescaled_on_demand(tmp_path, voxels, dtype):
    data = (RNG.random((20, 30)) * 300 - 50).astype(dtype) if dtype != "uint16" else RNG.integers(0, 300, (20, 30), dtype=dtype)
    tifffile.imwrite(tmp_path / "v.tif", data)
    stack = only(tmp_path, dtype="uint8", rescale=(0.0, 200.0))
    real = np.abs(data) if dtype == "complex64" else data
    expected = np.floor(np.clip(real.astype(np.float64) / 200, 0, 1) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], expected)
    again = ImageStack.from_json(stack.to_json())
    np.testing.assert_array_equal(voxels(again), voxels(stack))


def test_values_that_are_not_numbers_become_the_smallest():
    made = Values("rescaled", "int8", 0.0, 1.0).apply(np.array([[np.nan], [-np.inf], [np.inf], [0.5]]))
    assert made.ravel().tolist() == [-128, -128, 127, 0]


def test_a_type_without_a_range(tmp_path, voxels):
    data = RNG.random((20, 30))
    tifffile.imwrite(tmp_path / "v.tif", data)
    np.testing.assert_array_equal(voxels(only(tmp_path, dtype="float32"))[0, 0, ..., 0], data.astype(np.float32))
    with pytest.raises(UsageError, match=r"v\.tif: --dtype uint8 needs a range, because the images are float64; pass --rescale-min-max"):
        only(tmp_path, dtype="uint8")
    with pytest.raises(UsageError, match="--rescale-min-max needs --dtype"):
        only(tmp_path, rescale=(0.0, 1.0))
    tifffile.imwrite(tmp_path / "v.tif", np.arange(300, dtype=np.uint16).reshape(15, 20))
    assert voxels(only(tmp_path, dtype="uint32")).max() == 299
    with pytest.raises(UnreadableInput, match=r"v\.tif: plane 1 has values that uint8 cannot hold; pass --rescale-min-max LOW,HIGH"):
        voxels(only(tmp_path, dtype="uint8"))


def test_memory_of_computed_values_stays_within_the_estimate(tmp_path):
    import tracemalloc

    from tests.images.reading import bytes_for, read_rows

    data = np.broadcast_to(np.arange(2048, dtype=np.uint8)[:, np.newaxis], (1024, 2048, 3))
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="rgb", compression="zlib", rowsperstrip=16)
    for category, options in (
        ("segmentation", {}),
        ("segmentation", {"labels": "pack"}),
        ("color", {"dtype": "uint16", "rescale": (0.0, 9.0)}),
    ):
        stack = only(tmp_path, category, **options)
        read_rows(stack, 0, 0, 1, 0, 1)
        tracemalloc.start()
        read_rows(stack, 0, 0, 1, 0, 1024)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= bytes_for(stack, 1, 1024)
