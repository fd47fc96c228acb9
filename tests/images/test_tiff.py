"""TIFF: every kind of file is compared with plain tifffile, bands with whole reads; damaged files are refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.images.reading import bytes_for, read_rows
from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images import AxisSizes, ImageStack, inspect_source

RNG = np.random.default_rng(7)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return RNG.random(shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def only(path: Path, **options: Any) -> ImageStack:
    (stack,) = inspect_source(path, **({"category": "color"} | options))
    return stack


# -- samples ------------------------------------------------------------------------------------------------------


def test_sample_stack(sample, voxels):
    folder = sample("tiff", limit=24)
    stack = only(folder, category=None)
    expected = [tifffile.imread(path) for path in sorted(folder.glob("*.tiff"))]
    assert (stack.name, stack.category, stack.sizes) == ("tiff", "color", AxisSizes(1, 1, len(expected), 265, 265))
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], expected)


def test_sample_rgb(sample, voxels):
    folder = sample("rgb_tiff")
    stack = only(folder)
    assert (stack.name, stack.is_rgb, stack.sizes.c, stack.color) == ("rgb_tiff", True, 3, None)
    np.testing.assert_array_equal(voxels(stack)[0, 0], tifffile.imread(folder / "test_rgb.tif"))


def test_sample_time_series(sample, voxels):
    folder = sample("4D/4D_series")
    stack = only(folder, category=None)
    assert (stack.name, stack.category, stack.sizes) == ("4D-series.ome.tif", "color", AxisSizes(7, 1, 5, 167, 439))
    assert stack.dtype == np.int8
    np.testing.assert_array_equal(voxels(stack)[..., 0], tifffile.imread(folder / "4D-series.ome.tif"))


def test_sample_channels(sample, voxels):
    folder = sample("4D/multi_channel_z_series")
    stacks = inspect_source(folder)
    assert [stack.name for stack in stacks] == [f"multi-channel-z-series.ome.tif__channel{i}" for i in range(3)]
    assert [stack.color for stack in stacks] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    expected = tifffile.imread(folder / "multi-channel-z-series.ome.tif")
    for i, stack in enumerate(stacks):
        np.testing.assert_array_equal(voxels(stack)[0, ..., 0], expected[i])


def test_sample_single_plane(sample, voxels):
    folder = sample("4D/single_channel")
    stack = only(folder)
    assert (stack.name, stack.sizes) == ("single_channel", AxisSizes(1, 1, 1, 167, 439))
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], tifffile.imread(folder / "single-channel.ome.tiff"))


def test_sample_pages(sample, voxels):
    folder = sample("various_tiff_formats")
    stack = only(folder)
    assert (stack.name, stack.sizes) == ("test_I.tif", AxisSizes(1, 1, 64, 128, 64))
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], tifffile.imread(folder / "test_I.tif"))


@pytest.mark.parametrize("planes", [0, 2])
def test_link_checked_out_as_text_is_named(tmp_path, planes):
    for i in range(planes):
        tifffile.imwrite(tmp_path / f"v.{i}.tiff", noise(9, 11))
    (tmp_path / "v.9.tiff").write_text("../tiff/v.0.tiff")
    with pytest.raises(UnreadableInput, match=r"v\.9\.tiff: not a TIFF file: it starts with .* \(it looks like a link"):
        inspect_source(tmp_path)


# -- axes ---------------------------------------------------------------------------------------------------------

AXES = [
    ("TZCYX", (2, 3, 4, 9, 11), {"imagej": True}),
    ("TCYX", (3, 2, 9, 11), {"imagej": True}),
    ("ZCYX", (3, 2, 9, 11), {"imagej": True}),
    ("TYX", (3, 9, 11), {"imagej": True}),
    ("ZYX", (3, 9, 11), {"imagej": True}),
    ("CYX", (3, 9, 11), {"imagej": True}),
    ("TCZYX", (2, 3, 4, 9, 11), {"ome": True}),
    ("ZCTYX", (2, 3, 4, 9, 11), {"ome": True}),
    ("CTZYX", (2, 3, 4, 9, 11), {"ome": True, "compression": "zlib"}),
    ("CZYX", (2, 4, 9, 11), {"ome": True}),
    ("TZYX", (2, 4, 9, 11), {"compression": "zlib"}),
    ("CZTYX", (2, 4, 3, 9, 11), {}),
]


@pytest.mark.parametrize("axes, shape, options", AXES)
def test_axes(tmp_path, voxels, axes, shape, options):
    data = noise(*shape, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="minisblack", metadata={"axes": axes}, **options)
    if axes in ("TYX", "TCYX"):
        axes = axes.replace("T", "Z")  # the only axis besides c counts as z
    sizes = dict(zip(axes, shape, strict=True))
    stacks = inspect_source(tmp_path, category="color")
    assert len(stacks) == sizes.get("C", 1)
    full = data.reshape([*shape, 1, 1, 1])
    letters = axes + "".join(axis for axis in "TZC" if axis not in axes)
    full = full.reshape(shape + (1,) * (5 - len(shape))).transpose([letters.index(axis) for axis in "TZYXC"])
    np.testing.assert_array_equal(np.concatenate([voxels(stack) for stack in stacks], axis=-1), full)


@pytest.mark.parametrize(
    "shape, sizes", [((5, 9, 11), (1, 1, 5)), ((2, 5, 9, 11), (1, 2, 5)), ((6, 2, 5, 9, 11), (6, 2, 5)), ((2, 1, 9, 11), (1, 2, 1))]
)
def test_unlabelled_axes(tmp_path, voxels, shape, sizes):
    data = noise(*shape)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="minisblack")
    stacks = inspect_source(tmp_path, category="color")
    assert (stacks[0].sizes.t, len(stacks), stacks[0].sizes.z) == sizes
    read = np.stack([voxels(stack)[..., 0] for stack in stacks], axis=1)  # t, c, z, y, x
    np.testing.assert_array_equal(read, data.reshape(*sizes, 9, 11))


def test_axes_without_place_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", noise(2, 3, 4, 9, 11), photometric="minisblack", metadata={"axes": "HPZYX"})
    with pytest.raises(InputRefused, match=r"v\.tif: has the axes HPZ besides its planes.*H \(size 2\), P \(size 3\); save it"):
        inspect_source(tmp_path)


def test_contiguous_imagej_stack_with_one_directory(tmp_path, voxels):
    data = noise(6, 9, 11, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "whole.tif", data, imagej=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "whole.tif") as tiff:
        start, at = tiff.pages[0].dataoffsets[0], tiff.pages[0].offset
        entries = len(tiff.pages[0].tags)
    content = bytearray((tmp_path / "whole.tif").read_bytes())
    content[at + 2 + 12 * entries : at + 6 + 12 * entries] = bytes(4)  # as ImageJ writes beyond 4 GiB: no further directory
    del content[start + data.nbytes :]
    (tmp_path / "whole.tif").write_bytes(content)
    stack = only(tmp_path)
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], data)
    (tmp_path / "whole.tif").write_bytes(content[:-1])
    with pytest.raises(UnreadableInput, match="found 1 planes, expected 6 as its header says; replace the truncated file"):
        inspect_source(tmp_path)


def test_pages_of_different_size_or_incomplete_ome(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        writer.write(noise(9, 11), metadata=None, contiguous=False)
        writer.write(noise(9, 11), metadata=None, contiguous=False)
        writer.write(noise(4, 5), metadata=None, contiguous=False)
    with pytest.raises(
        InputRefused, match=r"3 planes in 2 series \(0: 2 planes of 11×9 uint8; 1: 1 plane of 5×4 uint8\), expected one series"
    ):
        only(tmp_path)
    (tmp_path / "v.tif").unlink()
    tifffile.imwrite(tmp_path / "v.ome.tif", noise(3, 9, 11), metadata={"axes": "ZYX"})
    content = (tmp_path / "v.ome.tif").read_bytes().replace(b'SizeZ="3"', b'SizeZ="5"')
    (tmp_path / "v.ome.tif").write_bytes(content)
    with pytest.raises(
        UnreadableInput,
        match=r"v\.ome\.tif: truncated, .* found 3 planes, expected 5 as its header says; save it as one",
    ):
        inspect_source(tmp_path)


def test_palette_and_inverted_gray_are_read_as_stored(tmp_path, voxels):
    data = noise(9, 11)
    for name, options in (
        ("p", {"photometric": "palette", "colormap": noise(3, 256, dtype=np.uint16)}),
        ("w", {"photometric": "miniswhite"}),
    ):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "v.tif", data, **options)
        np.testing.assert_array_equal(voxels(only(tmp_path / name))[0, 0, ..., 0], data)


# -- colours and dtypes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_rgb(tmp_path, voxels, samples, planar, compression):
    data = noise(20, 30, samples)
    written = data if planar == "contig" else np.moveaxis(data, -1, 0)
    extra = ["unassalpha"] if samples == 4 else None
    tifffile.imwrite(
        tmp_path / "v.tif",
        written,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        extrasamples=extra,
        rowsperstrip=7,
    )
    stack = only(tmp_path)
    assert stack.is_rgb
    np.testing.assert_array_equal(voxels(stack)[0, 0], data[..., :3])


@pytest.mark.parametrize("samples, extra, used", [(2, ["assocalpha"], 1), (4, [0, 0, "unassalpha"], 3), (2, [0], 2), (5, [0, 0, 0, 0], 5)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_of_gray_is_dropped(tmp_path, voxels, samples, extra, used, planar):
    data = noise(3, 20, 30, samples)
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for plane in data:
            written = plane if planar == "contig" else np.moveaxis(plane, -1, 0)
            writer.write(
                written,
                photometric="minisblack",
                planarconfig=planar,
                extrasamples=extra,
                metadata=None,
                contiguous=False,
                compression="zlib",
            )
    stacks = inspect_source(tmp_path, category="color")
    assert len(stacks) == used
    np.testing.assert_array_equal(np.concatenate([voxels(stack)[0] for stack in stacks], axis=-1), data[..., :used])


def test_rgb_stack_keeps_its_z(tmp_path, voxels):
    data = noise(4, 20, 30, 3)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="rgb")
    stack = only(tmp_path)
    assert (stack.name, stack.is_rgb, stack.sizes.z) == ("v.tif", True, 4)
    np.testing.assert_array_equal(voxels(stack)[0], data)


def test_rgb_of_16_bits_and_gray_with_more_samples_are_channels(tmp_path, voxels):
    deep, pair = noise(20, 30, 3, dtype=np.uint16), noise(20, 30, 2)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tifffile.imwrite(tmp_path / "a" / "v.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "b" / "v.tif", pair, photometric="minisblack", planarconfig="contig")
    stacks = inspect_source(tmp_path, category="color")
    assert [stack.name for stack in stacks] == ["a__channel0", "a__channel1", "a__channel2", "b__channel0", "b__channel1"]
    np.testing.assert_array_equal(np.concatenate([voxels(stack)[0, 0] for stack in stacks[:3]], axis=-1), deep)
    np.testing.assert_array_equal(np.concatenate([voxels(stack)[0, 0] for stack in stacks[3:]], axis=-1), pair)


def test_colour_models_that_are_not_rgb_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", noise(20, 30, 4), photometric="separated")
    with pytest.raises(InputRefused, match="found colours in CMYK, expected gray values or RGB; save it as an RGB TIFF"):
        inspect_source(tmp_path)


def test_jpeg_in_tiff(tmp_path, voxels):
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    data = np.stack([smooth, smooth // 2, 255 - smooth], axis=-1)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="rgb", compression="jpeg", tile=(32, 32))
    stack = only(tmp_path)
    assert stack.is_rgb
    np.testing.assert_array_equal(voxels(stack)[0, 0], tifffile.imread(tmp_path / "v.tif"))


DTYPES = [np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32, np.float32]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("predictor", [None, True])
def test_dtypes_and_byte_orders(tmp_path, voxels, dtype, byteorder, predictor):
    data = noise(3, 20, 30, dtype=dtype)
    compression = "zlib" if predictor else None
    tifffile.imwrite(tmp_path / "v.tif", data, byteorder=byteorder, photometric="minisblack", compression=compression, predictor=predictor)
    stack = only(tmp_path)
    assert stack.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], data)


@pytest.mark.parametrize("dtype", [np.uint64, np.int64])
def test_64_bits_are_ids(tmp_path, voxels, dtype):
    data = noise(20, 30, dtype=dtype)
    tifffile.imwrite(tmp_path / "v.tif", data)
    stack = only(tmp_path, category=None)
    assert stack.category == "segmentation"
    np.testing.assert_array_equal(voxels(stack)[0, 0, ..., 0], data)
    with pytest.raises(InputRefused, match=r"v\.tif: found u?int64, expected uint8, .* for a color layer; use category segmentation"):
        inspect_source(tmp_path, category="color")


@pytest.mark.parametrize("dtype", ["float64", "complex64", "float16"])
def test_dtypes_that_no_dataset_holds(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "v.tif", np.ones((20, 30), dtype))
    with pytest.raises(InputRefused, match=rf"v\.tif: found {dtype}, which a dataset cannot hold, expected .*; pass --dtype float32, or"):
        inspect_source(tmp_path)


def test_12_bits_are_unpacked(tmp_path, voxels):
    data = noise(20, 30, dtype=np.uint16) & 0xFFF
    tifffile.imwrite(tmp_path / "v.tif", data, bitspersample=12)
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0, ..., 0], data)


# -- storage ------------------------------------------------------------------------------------------------------

STORED = [
    {},
    {"rowsperstrip": 1},
    {"rowsperstrip": 7},
    {"bigtiff": True, "rowsperstrip": 7},
    {"compression": "lzw", "rowsperstrip": 7},
    {"compression": "lzw"},
    {"compression": "zlib", "rowsperstrip": 16, "predictor": True},
    {"compression": "zstd", "rowsperstrip": 5, "bigtiff": True},
    {"compression": "packbits", "rowsperstrip": 9},
    {"compression": "lzma", "rowsperstrip": 9},
    {"compression": "png", "tile": (16, 32)},
    {"compression": "zlib", "tile": (16, 32)},
    {"compression": "lzw", "tile": (32, 16), "byteorder": ">", "predictor": True},
    {"compression": "zstd", "tile": (64, 80)},
    {"tile": (16, 16)},
    {"metadata": None, "compression": "zlib", "rowsperstrip": 10},
    {"metadata": None},
]


@pytest.mark.parametrize("options", STORED, ids=str)
def test_storage_and_bands(tmp_path, voxels, options):
    data = noise(3, 50, 71, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "v.tif", data, photometric="minisblack", **options)
    stack = only(tmp_path)
    np.testing.assert_array_equal(voxels(stack)[0, ..., 0], data)
    coded = options.get("compression") is not None
    assert stack.whole_planes == (coded and ("rowsperstrip" not in options and options.get("tile", (64,))[0] >= 50))

    @given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 50), st.integers(0, 50))
    @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def bands_equal_the_whole(z0, z1, y0, y1):
        (z0, z1), (y0, y1) = sorted((z0, z1)), sorted((y0, y1))
        np.testing.assert_array_equal(read_rows(stack, 0, z0, z1, y0, y1)[..., 0], data[z0:z1, y0:y1])

    bands_equal_the_whole()


def test_strips_in_any_order_are_read_as_listed(tmp_path, voxels):
    data = noise(20, 30)
    tifffile.imwrite(tmp_path / "v.tif", data, rowsperstrip=5, metadata=None)
    content = bytearray((tmp_path / "v.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "v.tif") as tiff:
        tag = tiff.pages[0].tags["StripOffsets"]
        offsets = list(tag.value)
    item = {"H": 2, "I": 4}["H" if tag.dtype == 3 else "I"]
    content[tag.valueoffset : tag.valueoffset + item * 4] = struct.pack("<4" + {2: "H", 4: "I"}[item], *offsets[::-1])
    (tmp_path / "v.tif").write_bytes(content)
    swapped = data.reshape(4, 5, 30)[::-1].reshape(20, 30)
    np.testing.assert_array_equal(voxels(only(tmp_path))[0, 0, ..., 0], swapped)


def test_peak_memory_of_a_band_stays_within_the_estimate(tmp_path):
    import tracemalloc

    data = np.broadcast_to(np.arange(4096, dtype=np.uint16), (2048, 4096))
    for name, options in (
        ("raw", {}),
        ("strips", {"compression": "zlib", "rowsperstrip": 16}),
        ("tiles", {"compression": "zlib", "tile": (256, 256)}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        tifffile.imwrite(folder / "v.tif", data, **options)
        stack = only(folder)
        read_rows(stack, 0, 0, 1, 0, 1)
        tracemalloc.start()
        read_rows(stack, 0, 0, 1, 100, 200)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= bytes_for(stack, 1, 100) < data.nbytes


# -- damage -------------------------------------------------------------------------------------------------------

DAMAGED = [
    {"photometric": "minisblack"},
    {"photometric": "minisblack", "compression": "zlib", "rowsperstrip": 8},
    {"photometric": "minisblack", "compression": "lzw", "tile": (16, 16)},
    {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "ZYX"}},
    {"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZYX"}},
    {"photometric": "minisblack", "metadata": None, "bigtiff": True, "rowsperstrip": 8},
]


@pytest.mark.parametrize("options", DAMAGED, ids=str)
def test_truncation_never_gives_wrong_voxels(tmp_path, refused, options):
    data = noise(4, 30, 33)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, data, **options)
    content = path.read_bytes()
    cuts = sorted({1, 7, 8, 9, 16, *range(20, len(content), max(1, len(content) // 60)), *range(len(content) - 6, len(content))})
    count = 0
    for cut in cuts:
        path.write_bytes(content[:cut])
        count += refused(path, data[np.newaxis, ..., np.newaxis])
    assert count > len(cuts) * 0.8


def test_flipped_bytes_are_refused_or_named(tmp_path):
    data = noise(40, 33) // 16
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, data, compression="zlib", rowsperstrip=10)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[2], tiff.pages[0].databytecounts[2]
    broken = bytearray(content)
    broken[offset + count // 2] ^= 0xFF
    path.write_bytes(broken)
    stack = only(tmp_path, category="segmentation")
    read_rows(stack, 0, 0, 1, 0, 20)  # the damage is in another strip
    with pytest.raises(UnreadableInput, match=r"v\.tif: strip 3 of page 1 cannot be decoded: .*; replace the file"):
        read_rows(stack, 0, 0, 1, 0, 40)


def test_headers_at_random_never_crash(tmp_path):
    """Whatever the header says, the result is a stack or a refusal, never another exception or a huge allocation."""
    path = tmp_path / "v.tif"
    kinds = []
    for options in ({"compression": "zlib", "rowsperstrip": 4}, {"imagej": True}, {"ome": True}, {"bigtiff": True, "tile": (16, 16)}):
        tifffile.imwrite(path, noise(2, 16, 16), photometric="minisblack", **options)
        kinds.append(path.read_bytes())

    @given(st.sampled_from(kinds), st.integers(0, 600), st.binary(min_size=1, max_size=4) | st.just(bytes([255] * 8)))
    @settings(max_examples=250, deadline=None)
    @example(kinds[3], 8, bytes([255] * 8))
    def change(content, position, piece):
        path.write_bytes(content[:position] + piece + content[position + len(piece) :])
        try:
            for stack in inspect_source(path, category="segmentation"):
                if bytes_for(stack, stack.sizes.z, stack.sizes.y) < 1 << 24:
                    read_rows(stack, 0, 0, stack.sizes.z, 0, stack.sizes.y)
        except InputRefused as error:
            text = str(error)
        else:
            return
        assert "v.tif" in text

    change()


def test_absurd_sizes_are_refused_without_memory(tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="zlib", metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tags = {name: tiff.pages[0].tags[name] for name in ("ImageWidth", "ImageLength", "RowsPerStrip")}
    for tag in tags.values():
        content[tag.offset + 2 : tag.offset + 4] = struct.pack("<H", 4)
        content[tag.offset + 8 : tag.offset + 12] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match="claims 2147483648×2147483648 pixels, far more than its"):
        inspect_source(path)


def test_many_pages_and_many_files_are_quick(tmp_path):
    import time

    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((1500, 8, 8), np.uint8), compression="zlib", photometric="minisblack")
    (tmp_path / "slices").mkdir()
    tifffile.imwrite(tmp_path / "slices" / "0.tif", noise(8, 8))
    content = (tmp_path / "slices" / "0.tif").read_bytes()
    for i in range(1, 500):
        (tmp_path / "slices" / f"{i}.tif").write_bytes(content)
    for path, planes in ((tmp_path / "pages.tif", 1500), (tmp_path / "slices", 500)):
        start = time.process_time()
        stack = only(path)
        assert stack.sizes.z == planes
        assert time.process_time() - start < 3  # about 0.1 s
