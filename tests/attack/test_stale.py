"""Coarser mags that differ from what the finer mag gives now: verify reports them, downsample updates them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.attack.helpers import FORMATS, LAYER, assert_fresh, assert_sound, convert, downsample, noise, picture, read, refusal, verify
from tests.attack.other_tools import OtherTool
from wkpipe import Dataset
from wkpipe.cli.app import run_app
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection

Converted = Callable[..., Path]


@pytest.mark.parametrize("data_format", FORMATS)
def test_finest_mag_rewritten_by_another_tool(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    root = tool.make(tmp_path / "ds", LAYER, noise(), data_format)
    downsample(root)
    assert_sound(root)
    tool.write(root, LAYER, 1, noise(seed=1))
    problems = verify(root).problems
    assert {(problem.kind, problem.mag) for problem in problems} >= {(Kind.STALE, "2")}
    assert all("wkpipe downsample" in problem.fix for problem in problems if problem.kind is Kind.STALE)
    assert all(problem.mag != "1" for problem in problems), "the written mag is not wrong"
    downsample(root)
    assert_fresh(root)
    assert_sound(root)


def test_one_shard_rewritten_by_another_tool(tool: OtherTool, tmp_path: Path) -> None:
    """Only the units made from it are stale, and are made again."""
    root = tool.make(tmp_path / "ds", LAYER, noise((64, 64, 16)))
    downsample(root)
    before = picture(root, "2")
    tool.write(root, LAYER, 1, noise((16, 16, 16), seed=1))
    assert verify(root).problems
    downsample(root)
    assert_fresh(root)
    after = picture(root, "2")
    assert {name for name in before if before[name] != after[name]} == {f"{LAYER}/2/c/0/0/0/0"}


def test_exit_code(tool: OtherTool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tool.make(tmp_path / "ds", LAYER, noise())
    downsample(root)
    tool.write(root, LAYER, 1, noise(seed=1))
    assert run_app(["verify", str(root), "--jobs", "1"]) == 4
    assert "wkpipe downsample" in capsys.readouterr().out


# -- wkpipe's own library ---------------------------------------------------------------------------------------------


def write_block(root: Path) -> None:
    Dataset.open(root).layers[LAYER].get_mag(1).write(np.full((1, 32, 32, 16), 5, "u1"), absolute_offset=(0, 0, 0))


@pytest.mark.parametrize("data_format", FORMATS)
def test_written_by_the_library_then_downsampled(data_format: str, converted: Converted, images: Path) -> None:
    root = converted(data_format)
    write_block(root)
    assert {problem.kind for problem in verify(root).problems} == {Kind.STALE}
    downsample(root)
    assert (read(root)[:32, :32, :16] == 5).all()
    assert_fresh(root)
    assert_sound(root)
    before = picture(root)
    code, _ = refusal(lambda: convert(images, root, data_format))
    assert code == 3
    assert picture(root) == before


@pytest.mark.parametrize("is_downsampled", [True, False])
def test_repair_brings_no_recipe_back_over_written_voxels(is_downsampled: bool, converted: Converted, images: Path) -> None:
    root = converted()
    write_block(root)
    if is_downsampled:
        downsample(root)
    report = verify(root)
    after = repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert after.problems == ()
    assert_fresh(root)
    written = read(root)
    assert (written[:32, :32, :16] == 5).all()
    code, text = refusal(lambda: convert(images, root))
    assert code == 3, text
    np.testing.assert_array_equal(read(root), written)
