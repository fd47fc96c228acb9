"""Frames: layers that show a part of their images, mirrored or swapped, and slices that are padded to one size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wkpipe.errors import InputRefused
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.images import Arrangement, ContentOptions, ImageStack, Inspection, SourceOptions, frame_texts, inspect_source
from wkpipe.images.source import SourceBox

RNG = np.random.default_rng(11)
PLANES = RNG.integers(0, 65536, (4, 37, 50), dtype=np.uint16)
COLOURS = RNG.integers(0, 256, (3, 21, 34, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for name, options in {"strips": {"rowsperstrip": 5}, "tiles": {"tile": (16, 32)}}.items():
        (root / name).mkdir()
        for z, plane in enumerate(PLANES):
            tifffile.imwrite(root / name / f"{z}.tif", plane, compression="zlib", **options)
    (root / "colours").mkdir()
    for z, plane in enumerate(COLOURS):
        Image.fromarray(plane).save(root / "colours" / f"{z}.png")
    tifffile.imwrite(root / "times.ome.tif", np.stack([PLANES, PLANES[::-1]]), photometric="minisblack", metadata={"axes": "TZYX"})
    return root


VOXELS: dict[str, Any] = {
    "strips": PLANES[np.newaxis, np.newaxis],
    "tiles": PLANES[np.newaxis, np.newaxis],
    "colours": COLOURS.transpose(3, 0, 1, 2)[np.newaxis],
    "times.ome.tif": np.stack([PLANES, PLANES[::-1]])[:, np.newaxis],
}
"""The voxels of each source, axes (t, c, z, y, x)."""


def inspected(path: Path, category: str = "color", padding: str = "fail", **wish: Any) -> Inspection:
    return inspect_source(path, category=category, options=SourceOptions(padding=padding, arrangement=Arrangement(**wish)))


def region(x: int, y: int, z: int, width: int, height: int, depth: int) -> Box:
    return Box(Vec3Int(x, y, z), Vec3Int(x + width, y + height, z + depth))


def all_of(stack: ImageStack) -> np.ndarray:
    return np.concatenate([stack.read(SourceBox.of((t, 0, 0, 0, 0), (t + 1, *stack.sizes[1:]))) for t in range(stack.sizes.t)])


@given(name=st.sampled_from(sorted(VOXELS)), swapped=st.booleans(), mirrored=st.sets(st.sampled_from("xyz")), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_is_that_of_turned_arrays(images: Path, name: str, swapped: bool, mirrored: set[str], data: st.DataObject) -> None:
    voxels = VOXELS[name]
    spans = [sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in voxels.shape[2:]]
    (z0, z1), (y0, y1), (x0, x1) = spans
    wish = {"region": region(x0, y0, z0, x1 - x0, y1 - y0, z1 - z0), "swapped": swapped, "mirrored": "".join(sorted(mirrored))}
    (stack,) = inspected(images / name, **wish)
    assert ImageStack.from_json(json.loads(json.dumps(stack.to_json()))) == stack
    expected = voxels[:, :, z0:z1, y0:y1, x0:x1]
    expected = expected.swapaxes(-1, -2) if swapped else expected
    expected = np.flip(expected, [i - 3 for i, axis in enumerate("zyx") if axis in mirrored])
    assert stack.sizes == expected.shape
    corner = [data.draw(st.integers(0, n - 1)) for n in expected.shape]
    end = [a + 1 if i == 0 else data.draw(st.integers(a + 1, n)) for i, (a, n) in enumerate(zip(corner, expected.shape, strict=True))]
    found = stack.read(SourceBox.of(corner, end))
    np.testing.assert_array_equal(found, expected[tuple(slice(a, b) for a, b in zip(corner, end, strict=True))])
    is_plain = not swapped and not mirrored
    assert stack.is_in_order == is_plain
    assert not is_plain or found[0].transpose(1, 2, 3, 0).flags.c_contiguous


def test_what_is_shown_is_said(images: Path) -> None:
    (stack,) = inspected(images / "tiles", region=region(3, 5, 1, 40, 20, 2), swapped=True, mirrored="xz")
    assert list(frame_texts(stack)) == ["voxels 3,5,1,40,20,2 of images of 50 × 37 × 4", "x and y swapped", "mirrored along x and z"]
    (whole,) = inspected(images / "tiles", region=region(0, 0, 0, 50, 37, 4))
    assert whole == inspected(images / "tiles")[0]
    assert not frame_texts(whole)


@pytest.mark.parametrize("box", [(0, 0, 0, 51, 37, 4), (0, 0, 3, 5, 5, 2), (-1, 0, 0, 5, 5, 1), (60, 60, 9, 1, 1, 1)], ids=str)
def test_a_region_outside_of_the_images_is_refused(images: Path, box: tuple[int, ...]) -> None:
    with pytest.raises(InputRefused) as error:
        inspected(images / "tiles", region=region(*box))
    assert "layer tiles: the box " + ",".join(map(str, box)) in str(error.value)
    assert "found 50 × 37 × 4 voxels, expected a box of voxels of the images, counted from 0; choose another --bbox" in str(error.value)


def test_identities_are_those_of_the_planes_that_are_shown(images: Path) -> None:
    """A change of another slice makes nothing again, and mirroring finds the slice that changed."""
    path = images / "strips" / "3.tif"
    plain, cropped = inspected(images / "strips")[0], inspected(images / "strips", region=region(0, 0, 0, 50, 37, 3))[0]
    mirrored = inspected(images / "strips", mirrored="z")[0]
    plane = [SourceBox.of((0, 0, z, 0, 0), (1, 1, z + 1, 37, 50)) for z in range(4)]
    assert [mirrored.identity(box) for box in plane] == [plain.identity(box) for box in plane][::-1]
    before = [cropped.identity(box) for box in plane[:3]]
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    again = inspected(images / "strips", mirrored="z")[0]
    assert [again.identity(box) == mirrored.identity(box) for box in plane] == [False, True, True, True]
    cropped = inspected(images / "strips", region=region(0, 0, 0, 50, 37, 3))[0]
    assert [cropped.identity(box) for box in plane[:3]] == before


# -- slices of different sizes -----------------------------------------------------------------------------------------

SIZES = [(30, 40), (25, 44), (30, 44), (1, 1), (30, 44)]


def write_uneven(folder: Path, extension: str, colours: int = 1) -> np.ndarray:
    """Write slices of different sizes; return them padded, axes (c, z, y, x)."""
    folder.mkdir()
    padded = np.zeros((colours, len(SIZES), 30, 44), np.uint8)
    for z, (rows, columns) in enumerate(SIZES):
        plane = RNG.integers(1, 256, (rows, columns, colours), dtype=np.uint8)
        padded[:, z, :rows, :columns] = plane.transpose(2, 0, 1)
        plane = plane[..., 0] if colours == 1 else plane
        if extension == "png":
            Image.fromarray(plane).save(folder / f"s{z}.png")
        else:
            tifffile.imwrite(folder / f"s{z}.tif", plane, photometric="rgb" if colours > 1 else "minisblack", rowsperstrip=7 + z)
    return padded


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_smaller_slices_are_padded_on_demand(tmp_path: Path, extension: str, colours: int) -> None:
    padded = write_uneven(tmp_path / "uneven", extension, colours)
    with pytest.raises(InputRefused, match=r"found .* pixels .*; pass --padding fill to pad the smaller ones with 0"):
        inspected(tmp_path / "uneven")
    found = inspected(tmp_path / "uneven", padding="fill")
    np.testing.assert_array_equal(all_of(found[0])[0], padded)
    said = (
        f"3 of 5 files are smaller than 44 × 30 and padded with 0 (s0.{extension}: 40 × 30, s1.{extension}: 44 × 25, s3.{extension}: 1 × 1)"
    )
    assert found.notes[:1] == (f"layer uneven: {said}",)
    assert found.accounts[-1].text.endswith(f"numbers 0 to 4; {said}")
    assert ImageStack.from_json(json.loads(json.dumps(found[0].to_json()))) == found[0]
    (turned,) = inspected(tmp_path / "uneven", padding="fill", region=region(20, 10, 1, 24, 20, 4), swapped=True, mirrored="y")
    np.testing.assert_array_equal(all_of(turned)[0], padded[:, 1:, 10:, 20:].swapaxes(-1, -2)[..., ::-1, :])


def test_padding_is_0_whatever_values_become(tmp_path: Path) -> None:
    padded = write_uneven(tmp_path / "uneven", "tif")[0]
    content = ContentOptions(dtype="int16", rescale=(-100.0, 255.0))
    (stack,) = inspect_source(tmp_path / "uneven", category="color", options=SourceOptions(padding="fill", content=content))
    found = all_of(stack)[0, 0]
    assert not found[padded == 0].any()
    assert found[padded == 255].min() == 32767


def test_slices_of_a_pattern_and_of_folders_are_padded(tmp_path: Path) -> None:
    padded = write_uneven(tmp_path / "uneven", "tif")[0]
    options = SourceOptions(pattern="s{z}.tif", padding="fill")
    found = inspect_source(tmp_path / "uneven", category="color", options=options)
    np.testing.assert_array_equal(all_of(found[0])[0, 0], padded)
    assert any("3 of 5 files are smaller than 44 × 30 and padded with 0" in note for note in found.notes)
    joined = inspect_source(tmp_path, category="color", options=SourceOptions(concat="z", padding="fill"))
    np.testing.assert_array_equal(all_of(joined[0])[0, 0], padded)


def test_padding_changes_nothing_if_all_slices_fit(images: Path) -> None:
    assert inspected(images / "strips", padding="fill") == inspected(images / "strips")
