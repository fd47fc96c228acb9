"""Coordinate transformations of layers: built, stored, read again, copied, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wkpipe import AffineCoordinateTransformation as Affine
from wkpipe import CoordinateTransformation, Dataset, LayerViewConfiguration
from wkpipe import ThinPlateSplineCoordinateTransformation as Spline
from wkpipe.errors import InputRefused

WARP = Spline.from_pairs([((0, 0, 0), (1, 2, 3)), ((9, 9, 9), (8, 9, 9.5))])
STEPS = Affine.identity().translate((1, 2, 3)).rotate("z", 30).scale((2, 3, 4)).flip("x").chain(Affine.from_translation((5, 6, 7)))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "brain", voxel_size=(4, 4, 40))


@pytest.mark.parametrize("axis", "xyz")
def test_a_quarter_turn_takes_each_axis_to_the_next_one(axis: str) -> None:
    turned = Affine.from_rotation(axis, 90).matrix[:3, :3]
    unit = np.eye(3)
    i = "xyz".index(axis)
    np.testing.assert_allclose(turned @ unit[i], unit[i], atol=1e-12)
    np.testing.assert_allclose(turned @ unit[(i + 1) % 3], unit[(i + 2) % 3], atol=1e-12)
    np.testing.assert_allclose(turned @ unit[(i + 2) % 3], -unit[(i + 1) % 3], atol=1e-12)


def test_steps_take_effect_one_after_the_other() -> None:
    point = np.array([1.0, 1.0, 1.0])
    moved = point + np.array([1, 2, 3])
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turned = np.array([cos * moved[0] - sin * moved[1], sin * moved[0] + cos * moved[1], moved[2]])
    expected = turned * (2, 3, 4) * (-1, 1, 1) + (5, 6, 7)
    np.testing.assert_allclose(STEPS.matrix[:3, :3] @ point + STEPS.matrix[:3, 3], expected)


def test_they_are_stored_and_read_again(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color")
    other = {"type": "of another tool", "numbers": [1, 2]}
    layer.coordinate_transformations = [STEPS, WARP, other]
    found = Dataset.open(dataset.path).get_layer("em").coordinate_transformations
    assert found == (STEPS, WARP, CoordinateTransformation(other))
    assert [type(each) for each in found] == [Affine, Spline, CoordinateTransformation]
    stored = json.loads((dataset.path / "datasource-properties.json").read_text())["dataLayers"][0]["coordinateTransformations"]
    assert stored == [STEPS.to_json(), WARP.to_json(), other]


def test_copies_and_like_layers_have_their_own(dataset: Dataset, tmp_path: Path) -> None:
    layer = dataset.add_layer("em", "color")
    layer.add_mag(1)
    layer.coordinate_transformations = [STEPS]
    layer.default_view_configuration = LayerViewConfiguration(color=(255, 0, 0))
    target = Dataset(tmp_path / "other", voxel_size=(4, 4, 40))
    copies = [target.add_layer_as_copy(layer, "copy"), target.add_layer_like(layer, "like")]
    layer.coordinate_transformations = None
    for each in copies:
        assert each.coordinate_transformations == (STEPS,)
        assert each.default_view_configuration == LayerViewConfiguration(color=(255, 0, 0))


def test_matrices_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        STEPS.matrix[0, 0] = 5
    values = STEPS.to_json()
    values["matrix"][0][0] = 99
    assert CoordinateTransformation.from_json(values) != STEPS


REFUSED: dict[str, Callable[[], object]] = {
    "matrix shape": lambda: Affine(np.eye(3)),
    "matrix text": lambda: Affine("x"),
    "matrix nan": lambda: Affine(np.full((4, 4), np.nan)),
    "axis": lambda: Affine.from_rotation("w", 90),
    "flip": lambda: Affine.identity().flip("q"),
    "scale": lambda: Affine.from_scale((1, 2)),
    "no landmarks": lambda: Spline([], []),
    "two axes": lambda: Spline([(0, 0)], [(1, 1)]),
    "lengths": lambda: Spline([(0, 0, 0)], [(1, 1, 1), (2, 2, 2)]),
    "triples": lambda: Spline.from_pairs([((0, 0, 0), (1, 1, 1), (2, 2, 2))]),
    "no matrix": lambda: CoordinateTransformation.from_json({"type": "affine"}),
    "no places": lambda: CoordinateTransformation.from_json({"type": "thin_plate_spline", "correspondences": 3}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_possible_is_refused(name: str) -> None:
    with pytest.raises(InputRefused):
        REFUSED[name]()
