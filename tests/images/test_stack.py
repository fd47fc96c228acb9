"""ImageStack: JSON, fingerprints, ranges, threads, and sources that change after planning."""

from __future__ import annotations

import colorsys
import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.images.reading import read_rows
from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images import ImageStack, inspect_source
from wkpipe.images.layers import channel_color
from wkpipe.images.source import SourceBox


def planes(z0: int, z1: int) -> SourceBox:
    return SourceBox.of((0, 0, z0, 0, 0), (1, 1, z1, 1, 1))


RNG = np.random.default_rng(3)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for z in range(6):
        data = RNG.integers(0, 255, (30, 40), dtype=np.uint8)
        compression = (None, "zlib", "lzw")[z % 3]
        tifffile.imwrite(folder / f"{z}.tif", data, compression=compression, rowsperstrip=None if z % 3 == 2 else 8)
    return folder


def test_json_round_trip(slices, voxels):
    channels = slices.parent / "channels.tif"
    tifffile.imwrite(channels, RNG.integers(0, 255, (2, 3, 5, 30, 40), dtype=np.uint16), metadata={"axes": "TCZYX"})
    for source in (slices, channels):
        for stack in inspect_source(source):
            again = ImageStack.from_json(json.loads(json.dumps(stack.to_json())))
            assert again == stack
            assert hash(again) == hash(stack)
            assert pickle.loads(pickle.dumps(stack)) == stack
            np.testing.assert_array_equal(voxels(again), voxels(stack))
    with pytest.raises(ValueError, match="of version 99 was found, expected 5; plan again"):
        ImageStack.from_json(stack.to_json() | {"version": 99})


def test_names_that_are_not_unicode(tmp_path):
    folder = os.fsencode(tmp_path) + b"/f\xff"
    os.mkdir(folder)  # noqa: PTH102
    path = Path(os.fsdecode(folder)) / "1.tif"
    tifffile.imwrite(path, np.zeros((3, 4), np.uint8))
    (stack,) = inspect_source(path.parent, category="color")
    again = ImageStack.from_json(json.loads(json.dumps(stack.to_json())))
    assert again.identity(planes(0, 1)) == stack.identity(planes(0, 1))
    assert read_rows(again, 0, 0, 1, 0, 3).shape == (1, 3, 4, 1)


def test_fingerprints_follow_the_files_of_a_range(slices):
    (before,) = inspect_source(slices)
    moved = slices.rename(slices.with_name("moved"))
    (same,) = inspect_source(moved)
    assert [same.identity(planes(z, z + 1)) for z in range(6)] == [before.identity(planes(z, z + 1)) for z in range(6)]
    os.utime(moved / "4.tif", ns=(1, 1))
    (after,) = inspect_source(moved)
    assert [after.identity(planes(z, z + 1)) == before.identity(planes(z, z + 1)) for z in range(6)] == [True] * 4 + [False, True]
    assert after.identity(planes(0, 4)) == before.identity(planes(0, 4)) != before.identity(planes(0, 3))
    (moved / "1.tif").rename(moved / "1a.tif")
    (renamed,) = inspect_source(moved)
    assert renamed.identity(planes(1, 2)) != before.identity(planes(1, 2))
    with pytest.raises(ValueError, match="planes 3 to 7 are outside of the stack of 6"):
        before.identity(planes(3, 7))


@pytest.mark.parametrize("t, z0, z1, y0, y1", [(1, 0, 1, 0, 1), (0, -1, 1, 0, 1), (0, 0, 7, 0, 1), (0, 2, 1, 0, 1), (0, 0, 1, 0, 31)])
def test_ranges_outside(slices, t, z0, z1, y0, y1):
    (stack,) = inspect_source(slices)
    with pytest.raises(
        ValueError, match=r"layer slices: SourceBox\(.* is not at one time of the stack, which has AxisSizes\(t=1, c=1, z=6, y=30, x=40\)"
    ):
        read_rows(stack, t, z0, z1, y0, y1)


def test_empty_ranges(slices):
    (stack,) = inspect_source(slices)
    assert read_rows(stack, 0, 2, 2, 0, 30).shape == (0, 30, 40, 1)
    assert read_rows(stack, 0, 0, 6, 30, 30).shape == (6, 0, 40, 1)


def test_files_that_change_after_planning_are_refused(slices):
    (stack,) = inspect_source(slices)
    os.utime(slices / "3.tif", ns=(1, 1))
    read_rows(stack, 0, 0, 3, 0, 30)
    with pytest.raises(UnreadableInput, match=r"3\.tif: changed while it was converted, found .*, expected .* as planned; start again"):
        read_rows(stack, 0, 2, 4, 0, 30)
    (slices / "5.tif").unlink()
    with pytest.raises(UnreadableInput, match=r"5\.tif: cannot be opened: No such file or directory"):
        read_rows(stack, 0, 5, 6, 0, 30)


def test_threads_read_the_same(slices, voxels):
    tifffile.imwrite(slices.parent / "v.tif", RNG.integers(0, 255, (6, 30, 40), dtype=np.uint16), compression="lzw", rowsperstrip=4)
    for source in (slices, slices.parent / "v.tif"):
        (stack,) = inspect_source(source)
        expected = voxels(stack)[0]
        gate = threading.Barrier(8)

        def read(i, stack=stack, gate=gate):
            gate.wait()
            return read_rows(stack, 0, i % 6, i % 6 + 1, 0, 30)[0]

        with ThreadPoolExecutor(8) as pool:
            for i, plane in enumerate(pool.map(read, range(8))):
                np.testing.assert_array_equal(plane, expected[i % 6])


def test_category_that_can_not_be(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((3, 4), np.float32))
    with pytest.raises(InputRefused, match=r"f\.tif: found float32, expected uint8, .* for a segmentation layer; use category color"):
        inspect_source(tmp_path, category="segmentation")
    (tmp_path / "f.tif").unlink()
    tifffile.imwrite(tmp_path / "rgb.tif", np.arange(36, dtype=np.uint8).reshape(3, 4, 3), photometric="rgb")
    with pytest.raises(InputRefused, match=r"rgb\.tif: found RGB, expected one channel of ids"):
        inspect_source(tmp_path, category="segmentation")
    with pytest.raises(UsageError, match="category 'colour' is not valid, expected color or segmentation"):
        inspect_source(tmp_path, category="colour")


def test_channel_colors():
    assert [channel_color(i) for i in range(6)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 38, 38), (38, 101, 255), (165, 255, 38)]
    hues = [colorsys.rgb_to_hsv(*channel_color(i))[0] for i in range(3, 9)]
    assert min(abs(a - b) for i, a in enumerate(hues) for b in hues[:i]) > 0.05


def test_sizes_in_json_do_not_grow_with_pages_of_even_steps(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", np.zeros((500, 8, 8), np.uint8), photometric="minisblack")
    (stack,) = inspect_source(tmp_path)
    assert len(json.dumps(stack.to_json())) < 800
