"""Patterns: names say where each file belongs: slices, channels, times and tiles."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.material import material
from wkpipe import Dataset
from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images import ContentOptions, ImageStack, Inspection, SourceOptions, inspect_source
from wkpipe.images.pattern import Pattern
from wkpipe.images.source import SourceBox

RNG = np.random.default_rng(7)


def put(path: Path, shape: tuple[int, ...] = (4, 5)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    plane = RNG.integers(1, 255, shape, dtype=np.uint8)
    tifffile.imwrite(path, plane, photometric="rgb" if shape[-1] == 3 and len(shape) == 3 else "minisblack")
    return plane


def look(source: Path, pattern: str, missing: str = "fail", name: str | None = None) -> Inspection:
    return inspect_source(source, name, "color", SourceOptions(pattern=pattern, missing=missing))


def whole(stack: ImageStack, t: int = 0) -> np.ndarray:
    """Return all voxels at one time, axes (z, y, x, c), read in two boxes by another process's copy of the stack."""
    again = ImageStack.from_json(json.loads(json.dumps(stack.to_json())))
    sizes = again.sizes
    half = sizes.y // 2
    parts = [again.read(SourceBox.of((t, 0, 0, a, 0), (t + 1, sizes.c, sizes.z, b, sizes.x))) for a, b in ((0, half), (half, sizes.y))]
    return np.concatenate(parts, axis=3)[0].transpose(1, 2, 3, 0)


# -- the pattern ----------------------------------------------------------------------------------------------------


@given(st.integers(-99, 999), st.integers(0, 20), st.sampled_from(["DAPI", "0", "far red"]))
def test_a_name_made_from_a_pattern_gives_its_numbers(z: int, t: int, channel: str) -> None:
    place = Pattern.of("a(b)_z{z}_*/t{t}.{c}.tif").place(f"A(B)_Z{z:04d}_x.y/T{t}.{channel}.TIF")
    assert place is not None
    assert (place.z, place.t, place.channel, place.x) == (z, t, channel, 0)


def test_fields_that_occur_twice_must_agree() -> None:
    pattern = Pattern.of("{z}/{z}_{x}.jpg")
    assert pattern.place("12/12_3.jpg") is not None
    assert pattern.place("12/13_3.jpg") is None
    assert pattern.place("12/12_3.jpg.bak") is None


@pytest.mark.parametrize("text", ["s.tif", "{q}.tif", "{z.tif", "z}.tif", "{}.tif", "*.tif"])
def test_patterns_that_say_nothing(text: str) -> None:
    with pytest.raises(UsageError, match=r"the pattern .* has .*, expected .*\{z\}"):
        Pattern.of(text)


# -- layers ---------------------------------------------------------------------------------------------------------


def test_slices_of_several_channels(tmp_path: Path) -> None:
    planes = {(z, c): put(tmp_path / f"img_{z:03d}_Ch{c}.tif") for z in range(3) for c in (0, 2)}
    put(tmp_path / "overview.tif")
    found = look(tmp_path, "img_{z}_Ch{c}.tif", name="scan")
    assert [stack.name for stack in found] == ["scan__channel0", "scan__channel2"]
    assert len({stack.color for stack in found}) == 2
    for stack, c in zip(found, (0, 2), strict=True):
        np.testing.assert_array_equal(whole(stack)[..., 0], [planes[z, c] for z in range(3)])
    assert found.accounts[0].text.endswith("7 files, 6 used, 1 left out: 1 not of the form of the pattern (overview.tif)")
    assert found.accounts[-1].text == "layer scan__channel2: 3 slices, img_000_Ch2.tif to img_002_Ch2.tif, z 0 to 2"


def test_names_of_layers(tmp_path: Path) -> None:
    for name in ("em", "labels"):
        for z in (7, 8):
            put(tmp_path / name / f"{z}.tif")
    assert [stack.name for stack in look(tmp_path, "{name}/{z}.tif")] == ["em", "labels"]
    assert [stack.name for stack in look(tmp_path, "{name}/{z}.tif", name="a")] == ["a_em", "a_labels"]
    (stack,) = look(tmp_path, "em/{z}.tif", name="a")
    assert (stack.name, stack.sizes.z) == ("a", 2)


def test_tiles_of_several_times_with_shorter_ones_at_the_end(tmp_path: Path) -> None:
    expected = np.zeros((2, 2, 7, 11, 3), np.uint8)
    for t in range(2):
        for z in range(2):
            for y, height in ((0, 4), (4, 3)):
                for x, width in ((0, 5), (5, 5), (10, 1)):
                    if (t, z, y, x) != (1, 0, 4, 5):
                        expected[t, z, y : y + height, x : x + width] = put(tmp_path / f"t{t}/z{z}/{y}_{x}.tif", (height, width, 3))
    found = look(tmp_path, "t{t}/z{z}/{y}_{x}.tif")
    (stack,) = found
    assert tuple(stack.sizes) == (2, 3, 2, 7, 11)
    for t in range(2):
        np.testing.assert_array_equal(whole(stack, t), expected[t])
    assert len(json.dumps(stack.to_json())) < 260 * 23
    assert found.notes == (f"layer {tmp_path.name}: 1 of 24 tiles are missing and are filled with 0",)
    before = [stack.identity(SourceBox.of((0, 0, z, 0, 0), (2, 3, z + 1, 7, 11))) for z in range(2)]
    put(tmp_path / "t0/z1/0_0.tif", (4, 5, 3))
    (changed,) = look(tmp_path, "t{t}/z{z}/{y}_{x}.tif")
    after = [changed.identity(SourceBox.of((0, 0, z, 0, 0), (2, 3, z + 1, 7, 11))) for z in range(2)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


def test_what_no_tile_fills_is_0_whatever_a_stored_0_becomes(tmp_path: Path) -> None:
    """The values are signed: a stored 0 would become 128."""
    expected = np.zeros((1, 7, 10, 1), np.uint8)
    for y, x, height in ((0, 0, 4), (0, 5, 4), (4, 5, 3)):
        stored = RNG.integers(-128, 128, (height, 5)).astype(np.int8)
        tifffile.imwrite(tmp_path / f"{y}_{x}.tif", stored)
        expected[0, y : y + height, x : x + 5, 0] = stored.astype(int) + 128
    content = ContentOptions(dtype="uint8", rescale=(-128.0, 127.0))
    (stack,) = inspect_source(tmp_path, None, "color", SourceOptions(pattern="{y}_{x}.tif", content=content))
    np.testing.assert_array_equal(whole(stack), expected)


def test_a_tree_of_tiles_becomes_one_dataset(tmp_path: Path) -> None:
    """The tiles of a real volume: sections 1, 2 and 40 of it, each in a part of the whole area."""
    source = material("data/temca2")
    dataset = Dataset.from_images(
        source, tmp_path / "d", (4, 4, 40), layer_category="color", pattern="{z}/{y}/{x}.jpg", missing_slices="close", downsample=False
    )
    found = dataset.get_layer("temca2").get_mag(1).read()[0]
    assert found.shape == (6 * 1024, 2 * 1024, 3)
    (tile,) = inspect_source(source / "40" / "61" / "144.jpg", category="color")
    np.testing.assert_array_equal(found[4096:5120, 1024:, 2], whole(tile)[0, :, :, 0].T)
    assert not found[4096:, :, :2].any()


def test_the_finest_zoom_is_used(tmp_path: Path) -> None:
    for zoom, count in ((0, 4), (1, 2), (2, 1)):
        for x in range(count):
            put(tmp_path / f"{zoom}/{x}.tif")
    found = look(tmp_path, "{zoom}/{x}.tif")
    assert found[0].sizes.x == 20
    assert "3 of a coarser zoom (1/0.tif, 1/1.tif, 2/0.tif)" in found.accounts[0].text


def test_volumes_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / f"{name}_c1.tif", (3, 4, 5))
    assert [(stack.name, stack.sizes.z) for stack in look(tmp_path, "{name}_c{c}.tif")] == [("a__channel1", 3), ("b__channel1", 3)]
    put(tmp_path / "z" / "1.tif", (3, 4, 5))
    put(tmp_path / "z" / "2.tif", (3, 4, 5))
    with pytest.raises(InputRefused, match=r"found 3 planes, expected one plane, because the pattern says where it is"):
        look(tmp_path / "z", "{z}.tif")


# -- what is refused ------------------------------------------------------------------------------------------------


def test_what_is_refused(tmp_path: Path) -> None:
    for name in ("z1_x0", "z1_x1", "z2_x0", "z4_x0"):
        put(tmp_path / f"{name}.tif")
    with pytest.raises(UnreadableInput, match=r"found no path like s\{z\}\.tif, but z1_x0\.tif; check --pattern"):
        look(tmp_path, "s{z}.tif")
    with pytest.raises(InputRefused, match="found 1 missing slice: 3"):
        look(tmp_path, "z{z}_x0.tif")
    assert look(tmp_path, "z{z}_x0.tif", "fill")[0].sizes.z == 4
    put(tmp_path / "z01_x0.tif")
    with pytest.raises(InputRefused, match=r"z1_x0\.tif: found the same place as z01_x0\.tif has"):
        look(tmp_path, "z{z}_x{x}.tif")
    (tmp_path / "z01_x0.tif").unlink()
    put(tmp_path / "z1_x0.tif", (4, 6))
    put(tmp_path / "z1_x2.tif")
    with pytest.raises(InputRefused, match="found a tile of 5 pixels, expected 6 like the others"):
        look(tmp_path, "z1_x{x}.tif")
    put(tmp_path / "t0_z0.tif")
    put(tmp_path / "t0_z1.tif")
    put(tmp_path / "t1_z0.tif")
    with pytest.raises(InputRefused, match="found no file at z 1 of the times 1; put the files there, or give --missing-slices fill"):
        look(tmp_path, "t{t}_z{z}.tif")
    (stack,) = look(tmp_path, "t{t}_z{z}.tif", "fill")
    assert not whole(stack, 1)[1].any()


def test_numbers_may_be_pixels_or_fractions(tmp_path: Path) -> None:
    for x in ("0.0", "2.5", "7.5"):
        put(tmp_path / f"x{x}.tif")
    assert look(tmp_path, "x{x}.tif")[0].sizes.x == 20
    assert [*whole(look(tmp_path, "x{x}.tif")[0])[0, 0].reshape(4, 5).any(axis=1)] == [True, True, False, True]
    assert Pattern.of("x{x}.tif").place("x2.5.tif") == ("", "", "", 0, 0, 0, Fraction(5, 2))


def test_pixels_say_which_columns_are_missing_and_never_overlap(tmp_path: Path) -> None:
    first, last = put(tmp_path / "x0.tif", (4, 10)), put(tmp_path / "x20.tif", (4, 10))
    found = look(tmp_path, "x{x}.tif")
    np.testing.assert_array_equal(whole(found[0])[0, ..., 0], np.hstack([first, np.zeros_like(first), last]))
    assert found.notes == (f"layer {tmp_path.name}: 1 of 3 tiles are missing and are filled with 0",)
    (tmp_path / "x20.tif").rename(tmp_path / "x9.tif")
    words = "found numbers in steps of 9 for tiles of 10 pixels, which overlap or leave gaps, expected .* pixels in steps of 10"
    with pytest.raises(InputRefused, match=words):
        look(tmp_path, "x{x}.tif")


def test_last_tiles_of_different_lengths_are_filled(tmp_path: Path) -> None:
    expected = np.zeros((7, 8), np.uint8)
    for y, x, height, width in ((0, 0, 4, 5), (0, 1, 4, 2), (1, 0, 2, 5), (1, 1, 3, 3)):
        expected[4 * y : 4 * y + height, 5 * x : 5 * x + width] = put(tmp_path / f"{y}_{x}.tif", (height, width))
    np.testing.assert_array_equal(whole(look(tmp_path, "{y}_{x}.tif")[0])[0, ..., 0], expected)
