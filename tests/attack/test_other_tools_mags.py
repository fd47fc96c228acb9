"""Ownership of mags: a mag that another tool deleted and made again under wkpipe's names belongs to the other tool."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.attack.helpers import (
    FORMATS,
    LAYER,
    assert_fresh,
    assert_sound,
    block,
    convert,
    downsample,
    everything,
    noise,
    picture,
    plan_of,
    read,
    refusal,
    run,
    values_of,
    verify,
    write_images,
)
from tests.attack.other_tools import OtherTool
from wkpipe import Dataset
from wkpipe.cli.app import run_app

Converted = Callable[..., Path]
SEVENS = np.full((24, 20, 12), 77, "u1")
"""The voxels of another tool's mag 2, which no mag 1 of noise gives."""


def is_refused_untouched(root: Path, command: Callable[[], object]) -> str:
    """Assert that a command ends with exit code 3 and writes nothing; return its text."""
    before = everything(root)
    code, text = refusal(command)
    assert code == 3, text
    assert everything(root) == before, "something was written"
    return text


@pytest.mark.parametrize("chunk, shard", [(8, 16), (4, 8), (16, 32)], ids=["same-layout", "finer-layout", "coarser-layout"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_mag_that_was_made_again_is_refused(data_format: str, chunk: int, shard: int, converted: Converted, tool: OtherTool) -> None:
    root = converted(data_format)
    for mag in (2, 4):
        tool.delete_mag(root, LAYER, mag)
    tool.add_mag(root, LAYER, 2, SEVENS, chunk, shard)
    before = picture(root)
    if data_format == "wkw" and chunk == 8:  # the same header: jobs recognise it by its units
        code, text = refusal(lambda: downsample(root))
        assert code == 3, text
    else:
        text = is_refused_untouched(root, lambda: downsample(root))
    assert "mag 2" in text
    assert "--overwrite-existing" in text
    assert "--forget" in text
    assert picture(root, "[12]") == before
    assert (read(root, 2) == 77).all()


def test_the_command_says_so_in_one_line(converted: Converted, tool: OtherTool, capsys: pytest.CaptureFixture[str]) -> None:
    root = converted()
    tool.delete_mag(root, LAYER, 2)
    tool.add_mag(root, LAYER, 2, SEVENS)
    assert run_app(["downsample", str(root), "--coarsest-mag", "4", "--dry-run"]) == 3
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"layer {LAYER}" in error
    assert "mag 2" in error


def test_half_of_the_ladder_made_again(converted: Converted, tool: OtherTool) -> None:
    """Mag 4 is still wkpipe's own, but the mag it was made from is gone."""
    root = converted()
    tool.delete_mag(root, LAYER, 2)
    tool.add_mag(root, LAYER, 2, SEVENS)
    text = is_refused_untouched(root, lambda: downsample(root))
    assert "mag 2" in text


def test_overwriting_replaces_the_other_tools_mag(converted: Converted, tool: OtherTool) -> None:
    root = converted()
    for mag in (2, 4):
        tool.delete_mag(root, LAYER, mag)
    tool.add_mag(root, LAYER, 2, SEVENS)
    downsample(root, overwrite_existing=True)
    assert_fresh(root)
    assert_sound(root)
    assert plan_of(root, **values_of(), overwrite_existing=False).is_empty


@pytest.mark.parametrize("what", [f"{LAYER}/2", LAYER])
def test_forgetting_takes_the_mag_as_it_is(what: str, converted: Converted, tool: OtherTool, capsys: pytest.CaptureFixture[str]) -> None:
    root = converted()
    for mag in (2, 4):
        tool.delete_mag(root, LAYER, mag)
    tool.add_mag(root, LAYER, 2, SEVENS)
    before = picture(root)
    assert run_app(["verify", str(root), "--forget", what]) == 0, capsys.readouterr().err
    assert picture(root) == before, "forgetting changes the state alone"
    assert verify(root).problems == ()
    downsample(root)
    assert (read(root, 2) == 77).all()
    assert (read(root, 4) == 77).all(), "mag 4 is made from mag 2 as it is"
    assert {name: now for name, now in picture(root).items() if name in before} == before
    assert verify(root).problems == ()


@pytest.mark.parametrize("what, code", [("no", 3), (f"{LAYER}/64", 3), (f"{LAYER}/3", 2), ("", 2)])
def test_forgetting_what_is_not_there(what: str, code: int, converted: Converted, capsys: pytest.CaptureFixture[str]) -> None:
    root = converted()
    before = everything(root)
    assert run_app(["verify", str(root), "--forget", what]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert everything(root) == before


def test_layer_made_again_with_another_dtype(converted: Converted, tool: OtherTool) -> None:
    root = converted()
    voxels = np.full((48, 40, 24), 7777, "u2")
    tool.delete_layer(root, LAYER)
    tool.add_layer(root, LAYER, "zarr3", "uint16", voxels.shape)
    tool.add_mag(root, LAYER, 1, voxels)
    tool.add_mag(root, LAYER, 2, voxels[:24, :20, :12])
    is_refused_untouched(root, lambda: downsample(root))
    assert run_app(["verify", str(root), "--forget", LAYER]) == 0
    downsample(root)
    assert (read(root, 4) == 7777).all()
    assert verify(root).problems == ()


def test_layer_made_again_by_another_tool_is_not_converted_over(converted: Converted, images: Path, tool: OtherTool) -> None:
    root = converted()
    tool.delete_layer(root, LAYER)
    tool.add_layer(root, LAYER, "zarr3", "uint8", SEVENS.shape)
    tool.add_mag(root, LAYER, 1, SEVENS)
    is_refused_untouched(root, lambda: convert(images, root))
    assert (read(root, 1) == 77).all()


@pytest.mark.parametrize("data_format", FORMATS)
def test_single_unit_that_somebody_wrote(data_format: str, converted: Converted, tool: OtherTool) -> None:
    """If another tool wrote a shard of a made mag, the shard is kept and no shard of that mag is written."""
    root = converted(data_format)
    tool.write(root, LAYER, 2, SEVENS[:16, :16, :12])
    before = picture(root)
    code, text = refusal(lambda: downsample(root))
    assert code == 3, text
    assert "mag 2" in text
    assert picture(root) == before
    assert any(problem.mag == "2" for problem in verify(root).problems)


def test_written_by_another_tool_in_a_converted_mag(converted: Converted, images: Path, tool: OtherTool) -> None:
    """Downsampling counts it as changed; converting again is refused, because that would lose it."""
    root = converted()
    tool.write(root, LAYER, 1, SEVENS[:16, :16, :12])
    before = picture(root, "1")
    code, text = refusal(lambda: convert(images, root))
    assert code == 3, text
    assert picture(root, "1") == before
    downsample(root)
    assert picture(root, "1") == before
    assert_fresh(root)


# -- a layer that was replaced as a whole ------------------------------------------------------------------------------


def sparse() -> np.ndarray:
    voxels = np.zeros((48, 40, 24), "u1")
    voxels[:16, :16, :8] = noise((16, 16, 8), seed=5)
    return voxels


def test_sparse_layer_in_the_place_of_a_converted_one(converted: Converted, tool: OtherTool) -> None:
    root = converted()
    tool.delete_layer(root, LAYER)
    tool.add_layer(root, LAYER, "zarr3", "uint8", (48, 40, 24))
    tool.add_mag(root, LAYER, 1, sparse())
    text = is_refused_untouched(root, lambda: downsample(root))
    assert "--forget" in text
    assert "restore" not in text
    assert run_app(["verify", str(root), "--forget", LAYER]) == 0
    np.testing.assert_array_equal(Dataset.open(root).layers[LAYER].get_mag(1).read()[0], sparse())
    downsample(root)
    np.testing.assert_array_equal(read(root), sparse())
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_sparse_layer_in_the_place_of_an_adopted_one(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    """If all recorded units of a mag without a recipe are gone or replaced, its records no longer count."""
    root = tool.make(tmp_path / "ds", LAYER, noise(), data_format)
    downsample(root)
    tool.delete_layer(root, LAYER)
    tool.add_layer(root, LAYER, data_format, "uint8", (48, 40, 24))
    tool.add_mag(root, LAYER, 1, sparse())
    if data_format == "zarr":  # most files of the only block are gone: that may also be a loss
        code, text = refusal(lambda: downsample(root))
        assert code == 4, text
        assert "--forget" in text
        assert run_app(["verify", str(root), "--forget", LAYER]) == 0
    np.testing.assert_array_equal(Dataset.open(root).layers[LAYER].get_mag(1).read()[0], sparse())
    downsample(root)
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_adopted_mag_of_which_every_shard_was_replaced(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    """The only object moves into another shard; the shard that it leaves is empty, so its file is gone."""
    root = tool.make(tmp_path / "ds", LAYER, block((0, 0, 0)), data_format)
    downsample(root)
    tool.write(root, LAYER, 1, block((16, 0, 0)))
    downsample(root)
    np.testing.assert_array_equal(read(root), block((16, 0, 0)))
    assert_fresh(root)
    assert_sound(root)


def test_pyramid_of_another_tool_in_the_place_of_coarser_mags(converted: Converted, tool: OtherTool) -> None:
    """The new pyramid is good: nothing in it is damaged, whatever the records of the old one say."""
    root = converted()
    for mag in (2, 4):
        tool.delete_mag(root, LAYER, mag)
    tool.downsample(root, LAYER, 4)
    for problem in verify(root).problems:
        assert problem.shard == "", f"a good shard is called damaged: {problem}"
        assert "--forget" in problem.fix
    assert run_app(["verify", str(root), "--forget", f"{LAYER}/2"]) == 0
    assert run_app(["verify", str(root), "--forget", f"{LAYER}/4"]) == 0
    assert_sound(root)
    assert_fresh(root)


# -- state of another dataset -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_state_of_another_dataset(place: str, images: Path, tmp_path: Path) -> None:
    """Another dataset replaces the one at a path, and the state of the old one still exists."""
    root, other = tmp_path / "ds", tmp_path / "other"
    state = {} if place == "inside" else {"state_dir": str(tmp_path / "state")}
    convert(images, root, **state)
    voxels = noise(seed=9)
    convert(write_images(tmp_path / "images-of-the-other", voxels), other)
    if place == "inside":
        shutil.rmtree(other / ".wkpipe")
        shutil.copytree(root / ".wkpipe", other / ".wkpipe")
    shutil.rmtree(root)
    other.rename(root)
    before = picture(root)
    code, text = refusal(lambda: downsample(root, coarsest_mag="8", **state))
    assert code in (0, 3), text
    assert {name: now for name, now in picture(root).items() if name in before} == before, "the other dataset's files were replaced"
    np.testing.assert_array_equal(read(root), voxels)
    units = [problem for problem in verify(root, state_dir=Path(state["state_dir"]) if state else None).problems if problem.shard]
    assert units == [], "good shards are compared with the records of another dataset"
    code, text = refusal(lambda: convert(images, root, **state))
    assert code == 3, text
    np.testing.assert_array_equal(read(root), voxels)


def test_state_directory_that_is_used_for_two_datasets(images: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    first = convert(images, tmp_path / "first", state_dir=state)
    before = picture(first)
    code, text = refusal(lambda: convert(images, tmp_path / "second", state_dir=state))
    if code == 0:  # kept apart, which is right too
        assert_fresh(tmp_path / "second")
    else:
        assert code == 3, text
    assert picture(first) == before
    assert verify(first, state_dir=Path(state)).problems == ()
    run(first, state_dir=state, **values_of())
