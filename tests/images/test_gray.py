"""Gray: RGB images whose three channels are equal become one channel if the user says so, and every voxel proves it."""

from __future__ import annotations

import logging
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.users import run_app
from wkpipe import Dataset
from wkpipe.errors import InputRefused, UnreadableInput, UsageError, WkpipeError
from wkpipe.images import ContentOptions, Inspection, SourceOptions, inspect_source
from wkpipe.images.source import SourceBox

GRAY = np.random.default_rng(5).integers(0, 256, (3, 200, 30), dtype=np.uint8)
HINT = "red, green and blue are equal in a sample; --rgb gray makes one channel of them"


def write(folder: Path, planes: np.ndarray, extension: str = "png") -> Path:
    folder.mkdir()
    for z, plane in enumerate(planes):
        if extension == "rgb48.png":
            (folder / f"s{z}.png").write_bytes(imagecodecs.png_encode(plane))
        elif extension == "png":
            Image.fromarray(plane).save(folder / f"s{z}.png")
        else:
            tifffile.imwrite(folder / f"s{z}.tif", plane, photometric="rgb", compression="zlib", rowsperstrip=16)
    return folder


def colours(dtype: str = "uint8") -> np.ndarray:
    return np.repeat(GRAY[..., np.newaxis], 3, axis=-1).astype(dtype)


def inspected(path: Path, category: str | None = "color", **options: object) -> Inspection:
    return inspect_source(path, category=category, options=SourceOptions(content=ContentOptions(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("category", ["color", "segmentation", None])
@pytest.mark.parametrize("extension, dtype", [("png", "uint8"), ("tif", "uint8"), ("tif", "uint16"), ("rgb48.png", "uint16")])
def test_one_channel_on_demand(tmp_path: Path, extension: str, dtype: str, category: str | None) -> None:
    folder = write(tmp_path / "gray", colours(dtype), extension)
    found = inspected(folder, category, is_gray=True)
    (stack,) = found
    assert (stack.sizes, stack.dtype, stack.category) == ((1, 1, 3, 200, 30), np.dtype(dtype), category or "color")
    np.testing.assert_array_equal(stack.read(SourceBox.of((0,) * 5, stack.sizes))[0, 0], GRAY)
    assert not found.notes


def test_three_channels_stay_with_a_hint(tmp_path: Path) -> None:
    found = inspected(write(tmp_path / "gray", colours()))
    assert found[0].sizes.c == 3
    assert found.notes == (f"layer gray: {HINT}",)
    real = colours()
    real[0, 100, 7, 1] ^= 1
    assert inspected(write(tmp_path / "real", real)).notes == ()


def test_colours_in_the_sample_are_refused_while_planning(tmp_path: Path) -> None:
    planes = colours()
    planes[0, 100, 7, 1] ^= 1
    folder = write(tmp_path / "s", planes)
    with pytest.raises(
        InputRefused, match=r"s0\.png: found colours in which red, green and blue differ, expected gray; leave out --rgb gray"
    ):
        inspected(folder, is_gray=True)


@pytest.mark.parametrize("options, other", [({"dtype": "uint16"}, "--dtype"), ({"labels": "pack"}, "--rgb-labels")])
def test_other_options_on_values_are_refused(tmp_path: Path, options: dict[str, str], other: str) -> None:
    folder = write(tmp_path / "s", colours())
    with pytest.raises(UsageError, match=f"s0.png: --rgb gray and {other} cannot both say what RGB becomes; leave out one of them"):
        inspected(folder, "segmentation" if "labels" in options else "color", is_gray=True, **options)


def test_images_that_are_gray_already(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", GRAY)
    found = inspected(folder, is_gray=True)
    assert found[0].sizes.c == 1
    assert found.notes == ("--rgb gray makes no difference: no layer is RGB",)


def test_a_colour_anywhere_fails_the_run_and_publishes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The sample does not have it. No voxel is wrong and no colour is lost: the layer does not exist until the images are gray."""
    planes = colours()
    planes[2, 199, 29, 2] ^= 1
    folder = write(tmp_path / "s", planes)
    command = ["convert", str(folder), str(tmp_path / "d"), "--voxel-size", "1,1,1", "--category", "color", "--rgb", "gray"]
    assert run_app(command) == 1
    err = capfd.readouterr().err
    text = (
        "s2.png: plane 1 has colours in which red, green and blue differ (leave out --rgb gray, or pass --rgb-labels pack or map for ids)"
    )
    assert sum(text in line for line in err.splitlines()) >= 1
    assert "Traceback" not in err
    with pytest.raises(WkpipeError):
        Dataset.open(tmp_path / "d").get_layer("s").get_mag(1)
    write(tmp_path / "again", colours())
    (tmp_path / "again/s2.png").replace(folder / "s2.png")
    assert run_app(command) == 0
    np.testing.assert_array_equal(Dataset.open(tmp_path / "d").get_layer("s").get_mag(1).read()[0], GRAY.transpose(2, 1, 0))
    with caplog.at_level(logging.WARNING, "wkpipe"), pytest.raises(InputRefused, match="converted with other parameters"):
        Dataset.from_images(folder, tmp_path / "d", (1, 1, 1), layer_category="color", rgb="keep")
    dataset = Dataset.from_images(folder, tmp_path / "lib", (1, 1, 1), layer_category="color", rgb="gray")
    assert dataset.get_layer("s").num_channels == 1


def test_a_sampled_colour_is_found_by_the_recognition_too(tmp_path: Path) -> None:
    planes = colours()
    planes[1:, :, :, 2] ^= 1
    folder = write(tmp_path / "s", planes)
    with pytest.raises(UnreadableInput, match=r"s1\.png: plane 1 has colours in which red, green and blue differ"):
        inspected(folder, None, is_gray=True)
