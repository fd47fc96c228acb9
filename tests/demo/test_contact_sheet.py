"""The contact sheet shows every mag as it is stored: without smoothing, and each label in the same colour everywhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo.contact_sheet import CAPTION, MARGIN, Tile, colors_of, draw_sheet, label_colors, read_tiles
from wkpipe.geometry import BoundingBox, Mag


def _tile(plane: np.ndarray, mag: str = "1", layer: str = "em", category: str = "color") -> Tile:
    return Tile(layer, mag, category, (plane.shape[1], plane.shape[2], 1), plane)


def test_grey_voxels_are_drawn_as_they_are() -> None:
    plane = np.arange(6, dtype=np.uint8).reshape(1, 3, 2)
    colors = colors_of(_tile(plane))
    assert colors.shape == (2, 3, 3)
    assert np.array_equal(colors[:, :, 1], plane[0].T)


def test_rgb_channels_become_colours() -> None:
    plane = np.arange(18, dtype=np.uint8).reshape(3, 3, 2)
    assert np.array_equal(colors_of(_tile(plane)), plane.transpose(2, 1, 0))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "uint64"])
def test_wider_types_are_stretched_to_bytes(dtype: str) -> None:
    colors = colors_of(_tile(np.array([[[100], [300]]], dtype)))
    assert (colors.min(), colors.max()) == (0, 255)


def test_a_constant_slice_can_be_drawn() -> None:
    assert not colors_of(_tile(np.full((1, 4, 4), 7, np.uint16))).any()


def test_labels_keep_their_colour_and_zero_is_black() -> None:
    first, second = label_colors(np.array([[0, 5, 2**40]], np.uint64)), label_colors(np.array([[2**40, 0]], np.uint64))
    assert not first[0, 0].any()
    assert np.array_equal(first[0, 2], second[0, 0])
    assert not np.array_equal(first[0, 1], first[0, 2])


def test_neighbouring_labels_differ_clearly() -> None:
    colors = label_colors(np.arange(1, 200, dtype=np.uint32)).astype(int)
    assert np.median(np.abs(np.diff(colors, axis=0)).sum(axis=1)) > 100


def test_coarse_mags_are_enlarged_without_smoothing() -> None:
    plane = np.array([[[0, 255], [255, 0]]], np.uint8)
    sheet = np.asarray(draw_sheet([_tile(plane)], edge=64))
    picture = sheet[MARGIN + CAPTION :, MARGIN : MARGIN + 64][:64]
    assert set(np.unique(picture)) == {0, 255}
    assert (picture[:32, :32] == 0).all()
    assert (picture[:32, 32:] == 255).all()


def test_layers_make_rows_and_mags_make_columns() -> None:
    plane = np.zeros((1, 8, 8), np.uint8)
    tiles = [_tile(plane, mag, layer) for layer in ("em", "labels") for mag in ("1", "2-2-1", "4-4-2")]
    sheet = draw_sheet(tiles, edge=50)
    assert sheet.size == (MARGIN + 3 * (50 + MARGIN), MARGIN + 2 * (50 + MARGIN + CAPTION))


def test_a_sheet_without_tiles_is_empty() -> None:
    assert draw_sheet([]).size == (MARGIN, MARGIN)


class _View:
    """A mag whose voxels are their own x coordinate in mag 1, divided by 64."""

    def __init__(self, mag: Mag, box: BoundingBox) -> None:
        self.mag, self.bounding_box = mag, box

    def read(self, *, absolute_offset: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
        assert all(value % step == 0 for value, step in zip((*absolute_offset, *size), (*self.mag, *self.mag), strict=True))
        assert self.bounding_box.contains_bbox(BoundingBox(absolute_offset, size))
        shape = [length // step for length, step in zip(size, self.mag, strict=True)]
        xs = absolute_offset[0] + np.arange(shape[0]) * self.mag.x
        return np.broadcast_to((xs // 64)[None, :, None, None], (1, *shape)).astype(np.uint8)


def test_every_mag_shows_the_same_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    box = BoundingBox((0, 64, 8), (10240, 512, 104))
    mags = {Mag(mag): _View(Mag(mag), box) for mag in ([64, 64, 8], [1, 1, 1], [2, 2, 1])}
    dataset = SimpleNamespace(layers={"em": SimpleNamespace(category="color", mags=mags)})
    monkeypatch.setattr("wkpipe.Dataset", SimpleNamespace(open=lambda path: dataset), raising=False)
    tiles = read_tiles(tmp_path)
    assert [tile.mag for tile in tiles] == ["1", "2-2-1", "64-64-8"]
    assert [tile.shape for tile in tiles] == [(10240, 512, 104), (5120, 256, 104), (160, 8, 13)]
    assert [tile.plane.shape for tile in tiles] == [(1, 4096, 512), (1, 2048, 256), (1, 64, 8)]
    assert len({int(tile.plane[0, 0, 0]) for tile in tiles}) == 1
