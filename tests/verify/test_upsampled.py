"""Verify and repair upsampled mags: damage, stale storage shards, lost recipes and ledgers, other voxels."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.verify.helpers import data_files, ledger_directory, records_of, replace_records
from wkpipe import BoundingBox, Dataset, Layer
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.dataset import VerifyReport, verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")
DEEP = Selection(deep=True, share=1.0)


def make(root: Path, data_format: str = "zarr3", seed: int = 0) -> Layer:
    layer = Dataset(root, (1, 1, 1)).add_layer("em", "color", data_format=data_format, bounding_box=BoundingBox((0, 0, 0), (64, 48, 32)))
    shard = {} if data_format == "zarr" else {"shard_shape": 16}
    layer.add_mag(4, chunk_shape=8, **shard).write(np.random.default_rng(seed).integers(1, 255, (16, 12, 8), dtype=np.uint8))
    layer.upsample(4, chunk_shape=8, **shard)
    return layer


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("pristine") / "d").dataset.path


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "d"))


def repaired(root: Path) -> VerifyReport:
    report = verify_dataset(root)
    return repair_dataset(root, report, Selection(), state_dir=None, sizing=Sizing.local(2), run=run_here)


def files_of(root: Path, mag: str) -> list[Path]:
    return [path for path in data_files(root) if path.relative_to(root).parts[1] == mag]


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in data_files(root)}


def test_a_sound_dataset_is_sound(root: Path) -> None:
    report = verify_dataset(root, selection=DEEP)
    assert report.is_sound
    assert report.deep_units == report.units == 29
    origins = {str(mag.mag): mag.origin for layer in summarise(root).layers for mag in layer.mags}
    assert origins == {"4": "written", "2": "upsampled from 4", "1": "upsampled from 2"}


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_damage_is_found_and_repaired(tmp_path: Path, data_format: str) -> None:
    """A damaged storage shard of mag 2 is made again first, then that of mag 1 which is made from it."""
    root = make(tmp_path / "d", data_format).dataset.path
    before = contents(root)
    for mag in ("2", "1"):
        file = files_of(root, mag)[0]
        file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    files_of(root, "1")[-1].unlink()
    report = verify_dataset(root)
    assert {(problem.kind, problem.mag) for problem in report.problems} == {(Kind.UNIT, "2"), (Kind.UNIT, "1")}
    assert all(problem.is_repairable for problem in report.problems)
    assert repaired(root).is_sound
    assert contents(root) == before


def test_what_is_made_from_damage_is_not_repaired(root: Path) -> None:
    for mag in ("4", "2"):
        file = files_of(root, mag)[0]
        file.write_bytes(b"?" * file.stat().st_size)
    after = repaired(root)
    assert {problem.mag for problem in after.problems} == {"4", "2"}


def test_stale_storage_shards_are_made_again(root: Path) -> None:
    layer = Dataset.open(root).get_layer("em")
    layer.get_mag(4).write(np.full((4, 4, 4), 9, np.uint8), absolute_offset=(0, 0, 0), allow_unaligned=True)
    report = verify_dataset(root)
    assert {(problem.kind, problem.mag) for problem in report.problems} == {(Kind.STALE, "2")}
    assert repaired(root).is_sound
    assert (layer.get_mag(1).read(absolute_offset=(0, 0, 0), size=(16, 16, 16)) == 9).all()
    assert verify_dataset(root, selection=DEEP).is_sound


@pytest.mark.parametrize("mag", ["2", "1"])
def test_a_lost_recipe_is_rebuilt(root: Path, mag: str) -> None:
    file = ledger_directory(root, "em", mag) / "recipe.json"
    good = file.read_bytes()
    file.unlink()
    assert [problem.kind for problem in verify_dataset(root).problems] == [Kind.RECIPE]
    assert repaired(root).is_sound
    assert file.read_bytes() == good


def test_a_lost_ledger_is_adopted(root: Path) -> None:
    for mag in ("4", "2", "1"):
        for segment in ledger_directory(root, "em", mag).glob("*.segment"):
            segment.unlink()
    assert not verify_dataset(root).is_sound
    adopt_dataset(root, state_dir=None, selection=Selection(deep=True))
    assert verify_dataset(root).is_sound
    config = load_config({"target": str(root), "coarsest_mag": "4"}, "test")
    assert make_plan(config, Sizing.local(1)).is_empty, "adopted units count as made"


def test_other_voxels_are_found_by_computing_them_again(root: Path, tmp_path: Path) -> None:
    """The records and the files of mag 1 agree with each other, but its voxels are not those of mag 2."""
    other = make(tmp_path / "other", seed=1).dataset.path
    own = {record.unit: record for record in records_of(root, "em", "1")}
    records = [replace(record, inputs=own[record.unit].inputs, mag=own[record.unit].mag) for record in records_of(other, "em", "1")]
    for path in files_of(root, "1"):
        shutil.copy2(other / path.relative_to(root), path)
    replace_records(root, "em", "1", records)
    assert verify_dataset(root).is_sound
    problems = verify_dataset(root, selection=DEEP).problems
    assert {problem.mag for problem in problems} == {"1"}
    assert "other than upsampling gives from mag 2" in problems[0].what


def test_the_source_that_was_made_from_it_since(root: Path) -> None:
    layer = Dataset.open(root).get_layer("em")
    layer.delete_mag(4)
    layer.delete_mag(2)
    layer.downsample(coarsest_mag=4, chunk_shape=8, shard_shape=16)
    report = verify_dataset(root)
    assert report.is_sound
    assert any("mag 1" in note and "it was made from mag 2, which was made from it since" in note for note in report.notes)
    file = files_of(root, "1")[0]
    file.write_bytes(b"?" * file.stat().st_size)
    assert {problem.is_repairable for problem in verify_dataset(root).problems if problem.mag == "1"} == {False}


@pytest.mark.parametrize("values", [{"from_mag": [1, 1, 1]}, {"from_mag": None}, {"from_mag": [8, 8, 8], "kind": "downsample"}])
def test_a_recipe_of_another_mag_is_refused(root: Path, values: dict[str, object]) -> None:
    file = ledger_directory(root, "em", "1") / "recipe.json"
    recipe = {key: value for key, value in {**json.loads(file.read_text()), **values}.items() if value is not None}
    file.write_text(json.dumps(recipe))
    assert [problem.kind for problem in verify_dataset(root).problems] == [Kind.RECIPE]
