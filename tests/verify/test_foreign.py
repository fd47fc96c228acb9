"""Datasets of other tools: no false alarms, and the losses that show without a ledger."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.material import material
from tests.small_datasets import FORMATS, make_small_dataset
from tests.verify.helpers import run, snapshot
from wkpipe.cli.app import run_app
from wkpipe.formats import open_array
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.scratch import Scratch
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

SOUND = [
    *(
        f"data/{name}"
        for name in ("old_wkw_dataset", "simple_ng_dataset", "simple_wkw_dataset", "simple_zarr3_dataset", "simple_zarr_dataset")
    ),
    *(f"made/{data_format}" for data_format in FORMATS if data_format != "n5"),
    *(
        f"golden/{name}"
        for name in ("wkw", "z2", "z3_dtypes", "z3_ladders", "z3_nd", "z3_raw", "z3_rgb", "z3_seg", "z3_u8_modes", "z3_upsample")
    ),
]


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(name: str, tmp_path: Path) -> None:
    root = _dataset(name, tmp_path)
    before = snapshot(root)
    report = verify_dataset(root, threads=2)
    summary = summarise(root)
    assert report.problems == ()
    assert {mag.state for layer in summary.layers for mag in layer.mags} == {"unknown"}
    assert summary.table().startswith(summary.name)
    assert snapshot(root) == before


def _dataset(name: str, tmp_path: Path) -> Path:
    """Return a dataset of the material, or make one in a format as another library does."""
    place, _, rest = name.partition("/")
    return make_small_dataset(tmp_path / "made", rest) if place == "made" else material(name)


def test_arrays_wider_than_the_layer_are_a_problem(tmp_path: Path) -> None:
    (problem,) = verify_dataset(make_small_dataset(tmp_path / "d", "n5")).problems
    assert "uint32" in problem.what


def test_mags_that_are_only_announced_are_problems() -> None:
    report = verify_dataset(material("data/complex_property_ds"))
    assert {(problem.layer, problem.mag) for problem in report.problems} == {
        (layer, mag) for layer in ("color", "segmentation") for mag in ("2", "4", "8", "16", "32")
    }


@pytest.fixture
def foreign(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden / "z3_u8_modes", tmp_path / "foreign"))


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


@pytest.mark.parametrize("name", ["golden/z3_u8_modes", "golden/wkw", "made/zarr", "made/neuroglancerPrecomputed"])
def test_cut_files_do_not_decode(tmp_path: Path, name: str) -> None:
    root = Path(shutil.copytree(_dataset(name, tmp_path), tmp_path / "foreign"))
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


# -- losses that other mags show ------------------------------------------------------------------------------------

DEEP = Selection(share=1.0, deep=True)


def test_lost_shard_shows_in_the_coarser_mag(foreign: Path) -> None:
    (foreign / "median/1/c/0/1/1/0").unlink()
    (problem,) = verify_dataset(foreign).problems
    assert (problem.layer, problem.mag, problem.shard) == ("median", "1", "0.1.1.0")
    assert "the coarser mag 2-2-1" in problem.what


def test_lost_shard_shows_in_the_finer_mag(foreign: Path) -> None:
    (foreign / "median/2-2-1/c/0/0/0/0").unlink()
    (problem,) = verify_dataset(foreign).problems
    assert (problem.layer, problem.mag, problem.shard) == ("median", "2-2-1", "0.0.0.0")
    assert "the finer mag 1" in problem.what


def test_lost_finest_mag(foreign: Path) -> None:
    shutil.rmtree(foreign / "max/1/c")
    problems = verify_dataset(foreign).problems
    assert {(problem.layer, problem.mag) for problem in problems} == {("max", "1")}
    assert all("coarser mag" in problem.what for problem in problems)


@pytest.mark.parametrize("name", [name for name in SOUND if name.startswith("golden/")])
def test_deep_gives_no_false_alarm(name: str) -> None:
    report = verify_dataset(material(name), selection=DEEP, threads=2)
    assert report.problems == ()
    if name != "golden/z3_raw":
        assert report.deep_units > 0
    # In these three modes, the reference's results depend on how it cut its work.
    unknown = {note.split(",")[0] for note in report.notes if "could not be computed again" in note}
    assert unknown <= {"layer nearest", "layer bilinear", "layer bicubic"}


@pytest.mark.parametrize("layer", ["median", "mode", "max", "min"])
def test_deep_sees_other_voxels(foreign: Path, layer: str) -> None:
    """A shard that decodes and has no record is compared with the finer mag."""
    array = open_array(foreign / layer / "4-4-2", "zarr3")
    unit = next(array.stored_units())
    voxels = array.read([u * n for u, n in zip(unit, array.spec.unit_shape, strict=True)], array.spec.unit_shape)
    at = tuple(axis[len(axis) // 2] for axis in np.nonzero(voxels))
    voxels[at] += 1
    with array.unit_writer(unit, Scratch(foreign / "tmp")) as writer:
        for chunk in np.ndindex(*array.spec.chunks_per_unit):
            corner = [slice(p * n, (p + 1) * n) for p, n in zip(chunk, array.spec.chunk_shape, strict=True)]
            writer.append(chunk, writer.encode(np.asfortranarray(voxels[tuple(corner)])))
        writer.commit()
    (problem,) = [p for p in verify_dataset(foreign, selection=DEEP, threads=2).problems if p.mag == "4-4-2"]
    assert (problem.layer, problem.unit) == (layer, unit)
    assert "found 1 of" in problem.what
    assert f"other than {layer} gives from mag 2-2-1" in problem.what
    assert verify_dataset(foreign, layer_name=layer, mag="4-4-2").is_sound


# -- pyramids after a crash -----------------------------------------------------------------------------------------


def test_downsample_says_and_repairs_what_a_crash_left(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference registers all mags first; if it is killed, some have no data."""
    voxels = {mag: _voxels(foreign / "median" / mag) for mag in ("1", "2-2-1", "4-4-2", "8-8-4")}
    for mag in ("2-2-1", "8-8-4"):
        shutil.rmtree(foreign / "median" / mag / "c")
    command = ["downsample", str(foreign), "--layer-name", "median", "--coarsest-mag", "8-8-4"]
    assert run_app([*command, "--dry-run"]) == 3
    error = capsys.readouterr().err
    assert "mag 2-2-1, 8-8-4 has no data at all although the finer mag 1 has" in error
    assert "--repair" in error
    assert len(error.splitlines()) == 1
    assert run_app([*command, "--dry-run", "--trust-empty"]) == 0
    run(foreign, layer_name="median", coarsest_mag="8-8-4", repair=True)
    assert {mag: _voxels(foreign / "median" / mag) for mag in voxels} == voxels
    assert verify_dataset(foreign, selection=Selection("median", deep=True, share=1.0)).is_sound
    (layer,) = [layer for layer in summarise(foreign).layers if layer.name == "median"]
    assert [(mag.mag, mag.state) for mag in layer.mags] == [
        ("1", "up to date"),
        ("2-2-1", "up to date"),
        ("4-4-2", "up to date"),  # adopted, because 8-8-4 was made from it
        ("8-8-4", "up to date"),
    ]


def _voxels(path: Path) -> bytes:
    array = open_array(path, "zarr3")
    return array.read([0] * len(array.spec.axes), [64] * len(array.spec.axes)).tobytes()


def test_repair_of_verify_makes_a_lost_mag_again(foreign: Path) -> None:
    before = _voxels(foreign / "median/8-8-4")
    shutil.rmtree(foreign / "median/8-8-4/c")
    selection = Selection("median")
    report = verify_dataset(foreign, selection=selection)
    assert [problem.kind for problem in report.problems] == [Kind.LOST_MAG]
    after = repair_dataset(foreign, report, selection, state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert after.is_sound
    assert _voxels(foreign / "median/8-8-4") == before


def test_rightly_empty_mag_is_no_loss(golden: Path, tmp_path: Path) -> None:
    """Sparse labels vanish in mode `mode`: that mag is registered and has no file."""
    root = Path(shutil.copytree(golden / "z3_seg", tmp_path / "seg"))
    assert not list((root / "seg16_step4/16-16-8").glob("c/**/*"))
    assert run_app(["downsample", str(root), "--layer-name", "seg16_step4", "--dry-run"]) == 0


def test_damage_of_a_foreign_dataset_is_not_repaired(foreign: Path) -> None:
    file = foreign / "median/2-2-1/c/0/0/0/0"
    os.truncate(file, file.stat().st_size // 2)
    before = snapshot(foreign / "median")
    report = verify_dataset(foreign)
    (problem,) = report.problems
    assert not problem.is_repairable
    assert "--overwrite-existing" in problem.fix
    after = repair_dataset(foreign, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert [p.shard for p in after.problems] == [problem.shard]
    assert snapshot(foreign / "median") == before
