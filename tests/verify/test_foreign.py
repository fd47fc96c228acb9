"""Datasets of other tools: no false alarms, and what can be seen without a ledger."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.verify.helpers import snapshot
from wkpipe.steps.summary import summarise
from wkpipe.steps.verify import verify_dataset

SOUND = [
    *(
        f"data/{name}"
        for name in ("old_wkw_dataset", "simple_ng_dataset", "simple_wkw_dataset", "simple_zarr3_dataset", "simple_zarr_dataset")
    ),
    *(
        f"golden/{name}"
        for name in ("wkw", "z2", "z3_dtypes", "z3_ladders", "z3_nd", "z3_raw", "z3_rgb", "z3_seg", "z3_u8_modes", "z3_upsample")
    ),
]


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(shared: Path, name: str) -> None:
    before = snapshot(shared / name)
    report = verify_dataset(shared / name, threads=2)
    summary = summarise(shared / name)
    assert report.problems == ()
    assert {mag.state for layer in summary.layers for mag in layer.mags} == {"unknown"}
    assert summary.table().startswith(summary.name)
    assert snapshot(shared / name) == before


def test_what_the_fixtures_really_lack(shared: Path) -> None:
    """complex_property_ds has only its finest mags; simple_n5_dataset holds uint32 where its properties say uint24."""
    report = verify_dataset(shared / "data/complex_property_ds")
    assert {(problem.layer, problem.mag) for problem in report.problems} == {
        (layer, mag) for layer in ("color", "segmentation") for mag in ("2", "4", "8", "16", "32")
    }
    (problem,) = verify_dataset(shared / "data/simple_n5_dataset").problems
    assert "uint32" in problem.what


@pytest.fixture
def foreign(shared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared / "golden/z3_u8_modes", tmp_path / "foreign"))


def test_absent_shard_is_a_note(foreign: Path) -> None:
    next(file for file in sorted((foreign / "median/1/c").rglob("*")) if file.is_file()).unlink()
    report = verify_dataset(foreign)
    assert report.is_sound
    assert [note for note in report.notes if "median" in note and "count as empty" in note]


def test_mag_that_lost_everything(foreign: Path) -> None:
    shutil.rmtree(foreign / "median/2-2-1/c")
    (problem,) = verify_dataset(foreign).problems
    assert (problem.layer, problem.mag) == ("median", "2-2-1")
    assert "the finer mag 1 has data" in problem.what


@pytest.mark.parametrize("name", ["golden/z3_u8_modes", "golden/wkw", "data/simple_zarr_dataset", "data/simple_ng_dataset"])
def test_cut_files_do_not_decode(shared: Path, tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(shared / name, tmp_path / "foreign"))
    layers = {layer.name: layer for layer in summarise(root).layers}
    layer = next(iter(layers))
    (directory,) = {Path(mag.path) for mag in layers[layer].mags if mag.mag == "1"}
    files = [file for file in sorted((root / directory).rglob("*")) if file.is_file()]
    file = max(
        (f for f in files if not f.name.startswith(".") and f.name not in ("zarr.json", "header.wkw")), key=lambda f: f.stat().st_size
    )
    os.truncate(file, file.stat().st_size // 2)
    (problem,) = verify_dataset(root).problems
    assert (problem.layer, problem.mag) == (layer, "1")
    assert problem.shard


def test_strange_files_are_a_note(foreign: Path) -> None:
    (foreign / "median/1/.DS_Store").write_bytes(b"?")
    report = verify_dataset(foreign)
    assert report.is_sound
    assert any(".DS_Store" in note for note in report.notes)
