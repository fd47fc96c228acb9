"""Images that are cropped, turned, moved, padded, and stored as a coarser mag: on the command line, in configs and in the library."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.content import content_of
from tests.steps.helpers import noise, plan_of
from tests.users import run_app
from wkpipe import BoundingBox, Dataset
from wkpipe.errors import AlreadyExists, WkpipeError
from wkpipe.geometry import Mag
from wkpipe.runs.run import run_here

PLANES = noise((6, 60, 90), "uint8", 7, few=False)
SIZE: dict[str, Any] = {"voxel_size": (4, 4, 4), "layer_name": "em", "category": "color"}
LAYOUT: dict[str, Any] = {"chunk_shape": (8, 8, 4), "shard_shape": (32, 32, 8)}
HOW: dict[str, Any] = {
    "mag": "2",
    "topleft": (64, 6, 10),
    "bbox": (10, 4, 1, 70, 50, 5),
    "swap_xy": True,
    "flip_x": True,
    "flip_z": True,
}
EXPECTED = PLANES[1:6, 4:54, 10:80].transpose(1, 2, 0)[::-1, :, ::-1]
"""Axes x, y, z of the layer."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for z, plane in enumerate(PLANES):
        tifffile.imwrite(folder / f"s{z}.tif", plane, compression="zlib", rowsperstrip=7)
    return folder


def as_options(values: dict[str, Any]) -> list[str]:
    found = []
    for key, value in values.items():
        name = f"--{key.replace('_', '-')}"
        found += [name] if value is True else [name, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return found


def test_commands_configs_and_the_library_make_the_same(tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["convert", str(images), str(tmp_path / "cli" / "d"), *as_options({**SIZE, **LAYOUT, **HOW}), "--jobs", "2"]
    assert run_app([*command, "--dry-run"]) == 0
    said = [
        "voxels 10,4,1,70,50,5 of images of 90 × 60 × 6",
        "x and y swapped",
        "mirrored along x and z",
        "at 64,6,10",
        "its images are mag 2",
    ]
    line = "; ".join(said)
    assert f"layer em: {line}" in capfd.readouterr().out.splitlines()
    assert run_app(command) == 0
    assert f"wkpipe: layer em: {line}" in capfd.readouterr().err.splitlines()
    layer = Dataset.open(tmp_path / "cli" / "d").get_layer("em")
    assert layer.bounding_box == BoundingBox((64, 6, 10), (100, 140, 10))
    assert min(layer.mags) == Mag(2)
    view = layer.get_mag(2)
    np.testing.assert_array_equal(view.read()[0], EXPECTED)
    assert not view.read(absolute_offset=(0, 0, 0), size=(64, 140, 20)).any()
    stored = json.loads((tmp_path / "cli" / "d" / ".wkpipe" / "conversion.json").read_text())
    assert stored["accounts"][-1] == {"layer": "em", "arranged": said}
    run_here(plan_of(tmp_path / "config" / "d", source=images, **SIZE, **LAYOUT, **HOW))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        how = {**HOW, "bbox": BoundingBox(HOW["bbox"][:3], HOW["bbox"][3:])}
        Dataset.from_images(
            images,
            tmp_path / "library" / "d",
            SIZE["voxel_size"],
            layer_name="em",
            layer_category="color",
            downsample=True,
            **LAYOUT,
            **how,
        )
    contents = [
        {str(path.relative_to(root)): content_of(path) for path in root.rglob("*") if path.is_file() and ".wkpipe" not in path.parts}
        for root in (tmp_path / name / "d" for name in ("cli", "config", "library"))
    ]
    assert contents[0] == contents[1] == contents[2]
    assert run_app(command) == 0
    assert "nothing to do" in capfd.readouterr().out


@pytest.mark.parametrize("key", [*HOW, "padding", "rgb"])
def test_another_value_is_another_conversion(tmp_path: Path, images: Path, key: str) -> None:
    """It never goes on with what another value has begun: refused, or made from scratch on demand."""
    other = {"padding": "fill", "rgb": "gray"}.get(key, HOW.get(key))
    run_here(plan_of(tmp_path / "d", source=images, downsample=False, **SIZE))
    with pytest.raises(AlreadyExists, match=rf"converted with other parameters \({key}: default, now "):
        plan_of(tmp_path / "d", source=images, downsample=False, **SIZE, **{key: other})
    plan = plan_of(tmp_path / "d", source=images, downsample=False, overwrite_existing=True, **SIZE, **{key: other})
    assert plan.preparation.remove_target
    assert plan.units_to_do == 1


def test_a_mag_that_is_not_finished_is_resumed(tmp_path: Path, images: Path) -> None:
    values = {"source": images, "downsample": False, **SIZE, **LAYOUT, **HOW}
    run_here(plan_of(tmp_path / "d", **values))
    lost = sorted(path for path in (tmp_path / "d" / "em" / "2").rglob("*") if path.is_file() and path.name.isdecimal())[1::2]
    for path in lost:
        path.unlink()
    plan = plan_of(tmp_path / "d", **values)
    assert plan.units_to_do == len(lost) > 1
    run_here(plan)
    np.testing.assert_array_equal(Dataset.open(tmp_path / "d").get_layer("em").get_mag(2).read()[0], EXPECTED)


def test_damage_is_repaired_from_the_images(tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_here(plan_of(tmp_path / "d", source=images, **SIZE, **LAYOUT, **HOW))
    victim = next(path for path in (tmp_path / "d" / "em" / "2").rglob("*") if path.is_file() and path.name.isdecimal())
    content = victim.read_bytes()
    victim.write_bytes(content[:20] + bytes(20) + content[40:])
    assert run_app(["verify", str(tmp_path / "d"), "--repair", "--deep"]) == 0, capfd.readouterr()
    assert victim.read_bytes() == content
    np.testing.assert_array_equal(Dataset.open(tmp_path / "d").get_layer("em").get_mag(2).read()[0], EXPECTED)


def test_a_slice_that_changes_makes_only_its_shards_again(tmp_path: Path, images: Path) -> None:
    """Slice 0 is the last one of a layer that is mirrored along z, at 12 to 17: shards are 8 deep."""
    values = {"source": images, "downsample": False, "flip_z": True, "topleft": (0, 0, 12), **SIZE, **LAYOUT}
    run_here(plan_of(tmp_path / "d", **values))
    changed = np.roll(PLANES[0], 1)
    tifffile.imwrite(images / "s0.tif", changed, compression="zlib", rowsperstrip=7)
    plan = plan_of(tmp_path / "d", **values)
    assert {unit[3] for task in plan.tasks for part in task.ranges for unit in part.units} == {2}
    run_here(plan)
    found = Dataset.open(tmp_path / "d").get_layer("em").get_mag(1).read()[0]
    np.testing.assert_array_equal(found, np.concatenate([PLANES[:0:-1], changed[np.newaxis]]).transpose(2, 1, 0))


def test_coarser_mags_are_those_of_the_voxels(tmp_path: Path, images: Path) -> None:
    """Mags 4 and 8 of images that are mag 2 are mags 2 and 4 of the same images as mag 1."""
    run_here(plan_of(tmp_path / "one", source=images, coarsest_mag="4", **SIZE))
    run_here(plan_of(tmp_path / "two", source=images, coarsest_mag="8", mag="2", **SIZE))
    one, two = (Dataset.open(tmp_path / name).get_layer("em") for name in ("one", "two"))
    assert [str(mag) for mag in two.mags] == ["2", "4", "8"]
    for mag in (1, 2, 4):
        np.testing.assert_array_equal(two.get_mag(2 * mag).read(), one.get_mag(mag).read())


@pytest.mark.parametrize("mag, swap, expected", [("1", False, (10, 20, 30)), ("2-2-1", False, (5, 10, 30)), ("2-2-1", True, (10, 5, 30))])
def test_the_voxel_size_of_the_images_is_that_of_their_mag_and_axes(
    tmp_path: Path, mag: str, swap: bool, expected: tuple[float, ...]
) -> None:
    about = {"axes": "ZYX", "PhysicalSizeX": 10, "PhysicalSizeY": 20, "PhysicalSizeZ": 30}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    tifffile.imwrite(tmp_path / "v.ome.tif", PLANES, metadata={**about, **units})
    plan = plan_of(tmp_path / "d", source=tmp_path / "v.ome.tif", mag=mag, swap_xy=swap, category="color")
    assert plan.new_dataset is not None
    assert tuple(plan.new_dataset["scale"]["factor"]) == expected
    given = plan_of(tmp_path / "d", source=tmp_path / "v.ome.tif", mag=mag, swap_xy=swap, category="color", voxel_size=expected)
    assert not given.notes
    other = plan_of(tmp_path / "d", source=tmp_path / "v.ome.tif", mag=mag, swap_xy=swap, category="color", voxel_size=(1, 10, 30))
    assert "v.ome.tif says" in other.notes[0]


@pytest.mark.parametrize(
    "values, words",
    [
        (
            {"topleft": "3,0,0", "mag": 2},
            "the position 3,0,0 is between voxels of mag 2, expected multiples of the mag; choose another --topleft",
        ),
        ({"topleft": "0,0"}, "topleft '0,0' is not valid: expected three numbers from 0 to 1099511627776"),
        ({"topleft": [0, 0, -1]}, "topleft [0, 0, -1] is not valid: expected three numbers from 0 to 1099511627776"),
        ({"topleft": [0, 0, 1 << 41]}, "topleft [0, 0, 2199023255552] is not valid: expected three numbers from 0 to 1099511627776"),
        ({"mag": 3}, "mag 3 is not valid"),
        ({"bbox": "1,2,3"}, "bbox '1,2,3' is not valid"),
        ({"bbox": [0, 0, 0, 0, 5, 5]}, "bbox [0, 0, 0, 0, 5, 5] is not valid: expected a box that is not empty"),
        ({"padding": "mirror"}, "padding 'mirror' is not valid"),
        ({"rgb": "grey"}, "rgb 'grey' is not valid"),
        ({"bbox": "0,0,0,91,5,5"}, "layer em: the box 0,0,0,91,5,5 is not inside the images, found 90 × 60 × 6 voxels"),
        ({"mag": "4", "coarsest_mag": "2"}, "the coarsest mag 2 is finer than the finest mag 4"),
        ({"rgb": "gray", "rgb_labels": "pack", "category": "segmentation"}, "s0.tif: --rgb-labels pack is for images in colours"),
    ],
    ids=str,
)
def test_bad_values_are_one_line(tmp_path: Path, images: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(WkpipeError) as error:
        plan_of(tmp_path / "d", **{"source": images, **SIZE, **values})
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "d").exists()


def test_positions_that_are_the_usual_ones_are_no_other_conversion(tmp_path: Path, images: Path) -> None:
    run_here(plan_of(tmp_path / "d", source=images, downsample=False, **SIZE))
    plan = plan_of(tmp_path / "d", source=images, downsample=False, topleft="0,0,0", mag=1, padding="fail", rgb="keep", **SIZE)
    assert not plan.tasks


def test_scripts_learn_which_axis_is_mirrored(tmp_path: Path, images: Path) -> None:
    """`flip_x` is the axis that the documentation of webknossos names; its versions up to 4.3.3 mirror the other one."""
    values: dict[str, Any] = {"layer_name": "em", "layer_category": "color"}
    with pytest.warns(UserWarning, match="flip_x mirrors x and flip_y mirrors y") as caught:
        dataset = Dataset.from_images(images, tmp_path / "d", (4, 4, 4), flip_x=True, **values)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(dataset.get_layer("em").get_mag(1).read()[0], PLANES.transpose(2, 1, 0)[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_images(images, tmp_path / "both", (4, 4, 4), flip_x=True, flip_y=True, **values)
        Dataset.from_images(images, tmp_path / "swapped", (4, 4, 4), flip_x=True, swap_xy=True, **values)
