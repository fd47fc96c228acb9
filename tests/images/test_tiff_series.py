"""TIFF series: every page of a file is used or named; pages that belong together are one stack, whatever grouped them."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images import ContentOptions, Inspection, SourceOptions, inspect_source

RNG = np.random.default_rng(3)


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def inspected(path: Path, category: str = "color", **options: object) -> Inspection:
    return inspect_source(path, category=category, options=SourceOptions(content=ContentOptions(**options)))  # type: ignore[arg-type]


def pages(inspection: Inspection) -> tuple[int, int, dict[str, tuple[str, ...]]]:
    """Return how many pages there are and are used, and the names of the others by reason."""
    (account,) = [account for account in inspection.accounts if getattr(account, "unit", "") == "page"]
    return account.present, account.used, {left.reason: left.names for left in account.left_out}


def append(path: Path, planes: list[np.ndarray], **options: Any) -> None:
    """Append pages, each alone, with the metadata of `options`."""
    with tifffile.TiffWriter(path, append=path.exists()) as writer:
        for plane in planes:
            writer.write(plane, contiguous=False, **({"photometric": "minisblack", "metadata": None} | options))


def mark(path: Path, page: int, subfiletype: int) -> None:
    """Set what a page is: 1 is of lower resolution, 4 is a mask."""
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[page].tags[254].valueoffset
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, at, subfiletype)
    path.write_bytes(content)


# -- pages that belong together -----------------------------------------------------------------------------------


def test_pages_that_were_appended_one_by_one_are_a_stack(tmp_path, voxels):
    data = noise(5, 9, 11)
    for plane in data:
        append(tmp_path / "v.tif", [plane], metadata={})
    found = inspected(tmp_path / "v.tif")
    assert pages(found) == (5, 5, {})
    np.testing.assert_array_equal(voxels(found[0])[0, ..., 0], data)


@pytest.mark.parametrize("codecs", [("lzw", None), (None, "zlib"), ("packbits", "zstd"), (None, "jpeg")])
@pytest.mark.parametrize("metadata", [None, {}])
def test_pages_of_several_codecs_are_a_stack(tmp_path, voxels, codecs, metadata):
    data = np.broadcast_to(np.arange(64, dtype=np.uint8), (6, 48, 64)) + np.arange(6, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for i, plane in enumerate(data):
            options = {"photometric": "minisblack", "metadata": metadata, "contiguous": False}
            writer.write(plane, compression=codecs[i % 3 == 1], rowsperstrip=16, **options)
    found = inspected(tmp_path / "v.tif")
    assert pages(found) == (6, 6, {})
    assert np.abs(voxels(found[0])[0, ..., 0].astype(int) - data).max() <= (2 if "jpeg" in codecs else 0)


def test_an_imagej_stack_with_appended_pages_is_one_stack(tmp_path, voxels):
    data = noise(4, 9, 11)
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for i, plane in enumerate(data):
            description = "ImageJ=1.53t\nimages=1\n" if i == 0 else None
            writer.write(plane, description=description, metadata=None, contiguous=False, photometric="minisblack")
    np.testing.assert_array_equal(voxels(inspected(tmp_path / "v.tif")[0])[0, ..., 0], data)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([(9, 11), (4, 5)]), st.sampled_from([0, 0, 0, 1, 4]), st.sampled_from([None, "zlib"]), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_used_and_left_out_are_all_pages(tmp_path_factory, chain):
    path = tmp_path_factory.mktemp("chain") / "v.tif"
    written = [noise(*shape) for shape, *_ in chain]
    with tifffile.TiffWriter(path) as writer:
        for plane, (_, _, compression, has_metadata) in zip(written, chain, strict=True):
            metadata = {} if has_metadata else None
            writer.write(plane, compression=compression, metadata=metadata, photometric="minisblack", contiguous=False, subfiletype=1)
    for i, (_, subfiletype, _, _) in enumerate(chain):
        mark(path, i, subfiletype)
    found = inspected(path, series="all")
    if len(found) > 1:
        with pytest.raises(InputRefused, match="series"):
            inspected(path)
    present, used, left = pages(found)
    assert present == len(chain)
    assert used == sum(stack.sizes.z for stack in found)
    assert used + sum(map(len, left.values())) == present
    is_side = [bool(subfiletype) for _, subfiletype, *_ in chain]
    if len({shape for shape, *_ in chain}) == 1 and not any(is_side):
        assert (len(found), used) == (1, len(chain))
    if not all(is_side):
        assert used <= len(chain) - sum(is_side)


# -- pages that do not --------------------------------------------------------------------------------------------


def test_masks_and_pages_of_lower_resolution_are_named(tmp_path, voxels):
    data = noise(3, 32, 32)
    append(tmp_path / "v.tif", [data[0], data[0, ::2, ::2], data[1], data[2], data[0] // 200], subfiletype=1)
    for i, subfiletype in enumerate((0, 1, 0, 0, 4)):
        mark(tmp_path / "v.tif", i, subfiletype)
    found = inspected(tmp_path / "v.tif")
    assert pages(found) == (5, 3, {"of lower resolution": ("page 2",), "a mask": ("page 5",)})
    np.testing.assert_array_equal(voxels(found[0])[0, ..., 0], data)


@pytest.mark.parametrize("is_flat", [True, False])
def test_pyramids_are_read_at_full_resolution(tmp_path, voxels, is_flat):
    data = noise(64, 64)
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        writer.write(data, tile=(16, 16), metadata=None, subifds=None if is_flat else 2)
        for step in (2, 4):
            writer.write(data[::step, ::step], tile=(16, 16), metadata=None, subfiletype=1)
    found = inspected(tmp_path / "v.tif")
    assert pages(found) == ((3, 1, {"of lower resolution": ("page 2", "page 3")}) if is_flat else (1, 1, {}))
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], data)


def test_a_preview_before_the_stack_is_refused_until_the_user_chooses(tmp_path, voxels):
    preview, data = noise(7, 9), noise(4, 20, 30)
    append(tmp_path / "v.tif", [preview, *data])
    expected = (
        r"v\.tif: found 5 planes in 2 series \(0: 1 plane of 9×7 uint8; 1: 4 planes of 30×20 uint8\), expected one series; choose with"
    )
    with pytest.raises(InputRefused, match=expected):
        inspected(tmp_path / "v.tif")
    found = inspected(tmp_path / "v.tif", series="1")
    assert pages(found) == (5, 4, {"of a series that was not chosen": ("page 1",)})
    np.testing.assert_array_equal(voxels(found[0])[0, ..., 0], data)
    both = inspected(tmp_path / "v.tif", series="all")
    assert [(stack.name, stack.sizes.z) for stack in both] == [("series0", 1), ("series1", 4)]
    for wrong in ("2", "stack"):
        with pytest.raises(UsageError, match=rf"v\.tif: there is no series '{wrong}', found 0: 1 plane"):
            inspected(tmp_path / "v.tif", series=wrong)


def test_pages_that_mean_different_things_are_refused(tmp_path):
    for photometric in ("minisblack", "miniswhite", "minisblack"):
        append(tmp_path / "v.tif", [noise(9, 11)], photometric=photometric)
    with pytest.raises(InputRefused, match=r"v\.tif: page 2: found gray in which 0 is white, expected gray like the first; save all pages"):
        inspected(tmp_path / "v.tif")


def test_positions_are_a_layer_each(tmp_path, voxels):
    first, second = noise(3, 9, 11), noise(3, 9, 11)
    with tifffile.TiffWriter(tmp_path / "p.ome.tif", ome=True) as writer:
        writer.write(first, metadata={"axes": "ZYX", "Name": "left"})
        writer.write(second, metadata={"axes": "ZYX", "Name": "right"})
    with pytest.raises(InputRefused, match=r"0: 3 planes of 11×9 uint8 'left'; 1: 3 planes of 11×9 uint8 'right'"):
        inspected(tmp_path)
    both = inspected(tmp_path, series="all")
    assert [stack.name for stack in both] == ["left", "right"]
    np.testing.assert_array_equal(voxels(both[1])[0, ..., 0], second)
    assert pages(both) == (6, 6, {})
    (chosen,) = inspected(tmp_path, series="right")
    np.testing.assert_array_equal(voxels(chosen)[0, ..., 0], second)


# -- OME-TIFF sets ------------------------------------------------------------------------------------------------


def ome_set(folder: Path, data: np.ndarray, axes: str, along: str, names: str = "m_{}.ome.tif") -> list[Path]:
    """Write a set of files, one for each index along an axis of `data`, whose other axes are those of each file."""
    sizes = dict.fromkeys("TCZ", 1) | dict(zip(axes, data.shape[:-2], strict=True))
    parts = np.moveaxis(data, axes.index(along), 0)
    rest = axes.replace(along, "")
    planes = []
    for i, part in enumerate(parts):
        for number, index in enumerate(np.ndindex(part.shape[:-2])):
            at = {along: i} | dict(zip(rest, index, strict=True))
            firsts = " ".join(f'First{axis}="{at.get(axis, 0)}"' for axis in "TCZ")
            name = f'<UUID FileName="{names.format(i)}">urn:uuid:{i}</UUID>'
            planes.append(f'<TiffData IFD="{number}" {firsts} PlaneCount="1">{name}</TiffData>')
    channels = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(sizes["C"]))
    counts = " ".join(f'Size{axis}="{size}"' for axis, size in sizes.items())
    paths = []
    for i, part in enumerate(parts):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{i}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{data.shape[-1]}" SizeY="{data.shape[-2]}" {counts}>'
            f"{channels}{''.join(planes)}</Pixels></Image></OME>"
        )
        paths.append(folder / names.format(i))
        flat = part.reshape(-1, *data.shape[-2:])
        with tifffile.TiffWriter(paths[-1]) as writer:
            for number, plane in enumerate(flat):
                description = xml if number == 0 else None
                options = {"compression": "zlib" if i % 2 else None, "photometric": "minisblack", "metadata": None}
                writer.write(plane, description=description, contiguous=False, **options)
    return paths


SETS = [("ZYX", (4, 9, 11), "Z"), ("CZYX", (2, 3, 9, 11), "C"), ("CZYX", (2, 3, 9, 11), "Z"), ("TCZYX", (3, 2, 2, 9, 11), "T")]


@pytest.mark.parametrize("axes, shape, along", SETS)
@pytest.mark.parametrize("given_first", [None, 0, 1])
def test_a_set_of_ome_files_is_one_image(tmp_path, voxels, axes, shape, along, given_first):
    data = noise(*shape)
    paths = ome_set(tmp_path, data, axes[:-2], along)
    found = inspected(tmp_path if given_first is None else paths[given_first])
    full = data.reshape([dict(zip(axes, shape, strict=True)).get(axis, 1) for axis in "TCZYX"])
    assert len(found) == full.shape[1]
    read = np.concatenate([voxels(stack) for stack in found], axis=-1)
    np.testing.assert_array_equal(read, full.transpose(0, 2, 3, 4, 1))
    assert pages(found) == (data[..., 0, 0].size, data[..., 0, 0].size, {})
    # What a job reads is what was planned, and a file of the set that changes is noticed.
    again = type(found[0]).from_json(found[0].to_json())
    np.testing.assert_array_equal(voxels(again), full.transpose(0, 2, 3, 4, 1)[..., :1])
    before = found[0].identity(whole(found[0]))
    last = next(path for path in reversed(paths) if path != found[0].files[0].path)
    last.write_bytes(last.read_bytes() + b"\0")
    assert inspected(found[0].files[0].path)[0].identity(whole(found[0])) != before
    with pytest.raises(UnreadableInput, match=rf"{last.name}: changed while it was converted"):
        [voxels(stack) for stack in found]


def whole(stack):
    from wkpipe.images.source import SourceBox

    return SourceBox.of((0,) * 5, stack.sizes)


@pytest.mark.parametrize("along, shape", [("Z", (4, 9, 11)), ("C", (3, 9, 11)), ("T", (3, 9, 11))])
def test_a_missing_file_of_a_set_is_named(tmp_path, along, shape):
    ome_set(tmp_path, noise(*shape), along, along)[1].unlink()
    with pytest.raises(UnreadableInput, match=r"m_0\.ome\.tif: one of a set of \d files, of which 1 is missing \(m_1\.ome\.tif\), found"):
        inspected(tmp_path)


def test_two_sets_in_a_folder_are_two_layers(tmp_path, voxels):
    data = noise(2, 3, 9, 11)
    for i in range(2):
        ome_set(tmp_path, data[i], "Z", "Z", f"s{i}_{{}}.ome.tif")
    found = inspected(tmp_path)
    assert [stack.sizes.z for stack in found] == [3, 3]
    for stack, expected in zip(found, data, strict=True):
        np.testing.assert_array_equal(voxels(stack)[0, ..., 0], expected)


# -- strips and tiles without data --------------------------------------------------------------------------------


def sparse(path: Path, data: np.ndarray, empty: list[int], **options: object) -> None:
    """Write a TIFF, and set the offset and the size of some of its segments to 0."""
    tifffile.imwrite(path, data, metadata=None, **options)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages[0].tags
        for code in (324, 325) if tiff.pages[0].is_tiled else (273, 279):
            tag = tags[code]
            item = tag.dtype_name and {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
            for index in empty:
                content[tag.valueoffset + item * index : tag.valueoffset + item * (index + 1)] = bytes(item)
    path.write_bytes(content)


@pytest.mark.parametrize("options", [{"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 8}], ids=str)
def test_sparse_segments_are_fill_and_said(tmp_path, voxels, options):
    data = noise(32, 32)
    sparse(tmp_path / "v.tif", data, [1, 2], **options)
    expected = data.copy()
    if "tile" in options:
        expected[:16, 16:] = expected[16:, :16] = 0
    else:
        expected[8:24] = 0
    found = inspected(tmp_path)
    kind = "tile" if "tile" in options else "strip"
    assert found.notes == (f"v.tif: 2 of 4 {kind}s have no data and are read as fill",)
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], expected)
    with pytest.raises(UnreadableInput, match=rf"page 1: no data for {kind} 2 of 4, .* --sparse fill if it was left out on purpose"):
        inspected(tmp_path, sparse="fail")


def test_the_fill_of_sparse_tiles_is_what_the_file_says(tmp_path, voxels):
    data = noise(32, 32)
    sparse(tmp_path / "v.tif", data, [0], tile=(16, 16), extratags=[(42113, 2, 0, "77", True)])
    data[:16, :16] = 77
    np.testing.assert_array_equal(voxels(inspected(tmp_path)[0])[0, 0, ..., 0], data)


@pytest.mark.parametrize("count", [0, 5])
def test_wrong_sizes_of_uncompressed_strips_are_computed(tmp_path, voxels, count):
    data = noise(40, 50)
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, data, metadata=None, rowsperstrip=10)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tag, offsets = tiff.pages[0].tags[279], tiff.pages[0].tags[273]
    form = {3: "<H", 4: "<I"}[int(tag.dtype)]
    for i in range(4):
        struct.pack_into(form, content, tag.valueoffset + i * struct.calcsize(form), count)
    path.write_bytes(content)
    found = inspected(path)
    assert found.notes == ("v.tif: the sizes of 4 strips are wrong in the file and were computed",)
    np.testing.assert_array_equal(voxels(found[0])[0, 0, ..., 0], data)
    # Strips that would overlap are not certain.
    form = {3: "<H", 4: "<I"}[int(offsets.dtype)]
    first = struct.unpack_from(form, content, offsets.valueoffset)[0]
    struct.pack_into(form, content, offsets.valueoffset + struct.calcsize(form), first + 10)
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match=rf"page 1: strip 1: found {count} bytes, expected 500 from its size 50×40; replace the file"):
        inspected(path)


def test_a_missing_size_of_compressed_data_is_refused(tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise(40, 50), metadata=None, compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags[279]
    struct.pack_into({3: "<H", 4: "<I"}[int(tag.dtype)], content, tag.valueoffset, 0)
    path.write_bytes(content)
    with pytest.raises(
        UnreadableInput, match=r"page 1: no data for strip 1 of 1, perhaps its writer was interrupted; write the file again$"
    ):
        inspected(path)


# -- content decides ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["btf", "tf8", "tf2", "lsm", "stk", "qptiff", "svs", "scn", "ndpi", "gel", "BTF"])
def test_tiffs_with_other_endings(tmp_path, voxels, ending):
    data = noise(3, 9, 11)
    tifffile.imwrite(tmp_path / "v.tif", data, bigtiff=ending == "btf", photometric="minisblack")
    (tmp_path / "v.tif").rename(tmp_path / f"v.{ending}")
    np.testing.assert_array_equal(voxels(inspected(tmp_path / f"v.{ending}")[0])[0, ..., 0], data)


def test_time_without_z_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", noise(4, 9, 11), imagej=True, metadata={"axes": "TYX"})
    found = inspected(tmp_path)
    assert found[0].sizes.z == 4
    assert found.notes == ("v.tif: its only axis besides channels is time; the 4 time points are stored along z",)


@pytest.mark.parametrize("tags", [{257: 1 << 31, 278: 1}, {256: 1 << 31, 257: 1 << 31, 278: 1 << 31}])
def test_a_page_that_claims_to_be_huge_is_refused_in_little_memory(tmp_path: Path, tags: dict[int, int]) -> None:
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), rowsperstrip=8)
    for code, value in tags.items():
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            tiff.pages[0].tags[code].overwrite(value, dtype="I")
    tracemalloc.start()
    try:
        with pytest.raises(InputRefused, match=r"huge\.tif"):
            inspect_source(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
