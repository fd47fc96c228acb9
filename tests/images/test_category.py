"""Category: real images and real ids are distinguished, always in the same way."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.material import labels
from wkpipe.images import inspect_source
from wkpipe.images.category import _spread, category_from_name

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module", name="labels")
def real_labels() -> np.ndarray:
    return labels().T  # z, y, x


def category(folder: Path, data: np.ndarray, name: str = "neutral", **options) -> str:
    path = folder / name / "v.tif"
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    found = {stack.category for _ in range(2) for stack in inspect_source(path)}
    assert len(found) == 1
    return found.pop()


CROPS = [(0, 0, 0, 128), (100, 100, 100, 128), (128, 0, 120, 128), (60, 40, 3, 200), (64, 64, 64, 64)]


@pytest.mark.parametrize("z, y, x, edge", CROPS)
@pytest.mark.parametrize("depth", [1, 4, 128])
def test_real_ids_are_segmentation(tmp_path, labels, z, y, x, edge, depth):
    assert category(tmp_path, labels[z : z + depth, y : y + edge, x : x + edge], compression="zlib") == "segmentation"


def test_slices_of_real_ids_are_segmentation(tmp_path, labels):
    for z in range(32):
        tifffile.imwrite(tmp_path / f"{z}.tif", labels[200 + z, 128:256, 128:256], compression="lzw")
    (stack,) = inspect_source(tmp_path)
    assert stack.category == "segmentation"


def test_storage_does_not_matter(tmp_path, labels):
    data = labels[:16, :200, :200]
    plain = {category(tmp_path, data, options_name, **options) for options_name, options in (("a", {}), ("b", {"compression": "zlib"}))}
    assert plain == {"segmentation"}


def test_real_images_are_color(sample):
    for name in ("tiff", "temca2"):
        assert {stack.category for stack in inspect_source(sample(name, limit=9))} == {"color"}


def test_noise_and_gradients_are_color(tmp_path):
    assert category(tmp_path, RNG.integers(0, 2**32, (16, 64, 64), dtype=np.uint32)) == "color"
    assert category(tmp_path, RNG.integers(0, 256, (256, 256), dtype=np.uint8)) == "color"
    assert category(tmp_path, np.add.outer(np.arange(256), np.arange(256)).astype(np.uint16)) == "color"
    assert category(tmp_path, RNG.random((64, 64)).astype(np.float32), "labels") == "color"


def test_few_ids_are_segmentation(tmp_path):
    data = np.repeat(np.repeat(RNG.integers(1, 9, (10, 10), dtype=np.uint8), 30, axis=0), 30, axis=1)
    assert category(tmp_path, data) == "segmentation"


@pytest.mark.parametrize("name, expected", [("neutral", "color"), ("My_Labels", "segmentation"), ("segmentation2", "segmentation")])
def test_the_name_decides_if_the_data_do_not(tmp_path, name, expected):
    empty = np.zeros((8, 64, 64), np.uint8)
    assert category(tmp_path, empty, name) == expected
    assert category(tmp_path, empty + 255, name) == expected  # a mask of 0 and 255 has no usable voxel either


def test_only_the_end_of_a_path_is_searched():
    assert category_from_name(Path("labels/project/em/1.tif")) == "color"
    assert category_from_name(Path("project/LABELS/1.tif")) == "segmentation"
    assert category_from_name(Path("project/em/segmentation_1.tif")) == "segmentation"


def test_color_data_in_a_folder_named_labels_are_color(tmp_path):
    assert category(tmp_path, RNG.integers(0, 256, (256, 256), dtype=np.uint8), "labels") == "color"


def test_the_user_decides(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    assert [inspect_source(tmp_path, category=name)[0].category for name in ("color", "segmentation")] == ["color", "segmentation"]


@pytest.mark.parametrize("size, length", [(1, 1), (16, 16), (17, 16), (100, 16), (1000, 22), (9, 2)])
@pytest.mark.parametrize("most", [1, 3, 8])
def test_places_are_inside_and_do_not_overlap(size, length, most):
    places = _spread(size, length, most)
    assert 1 <= len(places) <= most
    assert places[0] >= 0
    assert places[-1] + length <= size
    assert all(b - a >= length for a, b in itertools.pairwise(places))
