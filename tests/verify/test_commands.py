"""``wkpipe verify`` and ``wkpipe info`` as people and scripts see them, and the summary of info."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.helpers import data_files, names_of, run
from wkpipe.cli.app import run_app
from wkpipe.errors import UnreadableInput
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.text_table import aligned, bytes_text
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task
from wkpipe.verify.summary import summarise

Copies = Callable[[str], Path]


def test_verify_sound(pristine: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["verify", str(pristine["zarr3"])]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "nothing is wrong" in out
    assert err == ""


def test_verify_damaged(dataset: Copies, capsys: pytest.CaptureFixture[str]) -> None:
    root = dataset("wkw")
    data_files(root)[0].unlink()
    assert run_app(["verify", str(root), "--jobs", "1"]) == 4
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "layer Raw, mag 1, storage shard 0." in out
    assert len(err.splitlines()) == 1
    assert "found 1 problem" in err
    assert run_app(["verify", str(root), "--mag", "2-2-1"]) == 0
    capsys.readouterr()
    assert run_app(["verify", str(root), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is False
    assert found["problems"][0]["layer"] == "Raw"


@pytest.mark.parametrize("arguments,code", [(["--mag", "3"], 2), (["--mag", "64"], 3), (["--layer-name", "no"], 3), (["--jobs", "0"], 2)])
def test_verify_refuses(pristine: dict[str, Path], arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["verify", str(pristine["zarr3"]), *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1


def test_info(pristine: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["info", str(pristine["zarr3"])]) == 0
    text = capsys.readouterr().out
    for expected in (
        "zarr3",
        "10,10,20 nanometer",
        "70x50x40",
        "2-2-1",
        "converted",
        "downsampled from 1 by median",
        "zstd 5",
        "up to date",
    ):
        assert expected in text
    assert run_app(["info", str(pristine["zarr"]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    finest = found["layers"][0]["mags"][0]
    assert finest["all_files"] == 5 * 4 * 3
    files = [file for file in data_files(pristine["zarr"]) if names_of(pristine["zarr"], file)[1] == "1"]
    assert finest["files"] == len(files)
    assert finest["bytes_on_disk"] == sum(file.stat().st_size for file in files)
    assert (finest["proven_units"], finest["units"]) == (1, 1)


def test_info_refuses(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput):
        summarise(tmp_path)
    with pytest.raises(UnreadableInput):
        summarise(tmp_path / "nothing")


def test_info_of_an_unfinished_conversion(images: Path, tmp_path: Path) -> None:
    values = {"source": str(images), "target": str(tmp_path / "new"), "voxel_size": [1, 1, 2], "chunk_shape": 16, "shard_shape": 32}
    plan = make_plan(load_config(values, "test"), Sizing.local(2))
    with Run(plan).begun() as epoch:
        run_task(plan, plan.tasks[0], epoch)
        summary = summarise(tmp_path / "new")
    assert not summary.published
    assert summary.run
    assert [mag.origin for mag in summary.unfinished][:2] == ["converted", "downsampled from 1 by median"]
    assert summary.unfinished[0].done_units == summary.unfinished[0].units == 12
    assert "no layer is published yet" in summary.table()
    assert "12/12" in summary.table()
    run(**{**values, "target": tmp_path / "new"})
    finished = summarise(tmp_path / "new")
    assert finished.published
    assert finished.unfinished == ()
    assert finished.run == ""


def test_table() -> None:
    assert aligned(("mag", "size"), [("1", "10 kB"), ("2-2-1", "1 B")]) == ["  mag     size", "  1      10 kB", "  2-2-1    1 B"]
    assert [bytes_text(size) for size in (0, 999, 1000, 44_100, 3 * 10**15)] == ["0 B", "999 B", "1.0 kB", "44.1 kB", "3.0 PB"]
