"""Repair and adopt: what they fix, what they refuse to fix, and what an interruption leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.helpers import FORMATS, LAYERS, data_files, ledger_directory, make_dataset, names_of, records_of, run, write_images
from wkpipe.cli.app import run_app
from wkpipe.errors import DamagedShard, MetadataError, TryAgain
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.storage.lease import RunLease
from wkpipe.storage.local import Local
from wkpipe.stored.locations import Locations
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.dataset import VerifyReport, verify_dataset
from wkpipe.verify.ledger import bad_lines
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.report import Kind
from wkpipe.verify.select import Selection

Copies = Callable[[str], Path]


def repaired(root: Path, selection: Selection | None = None, run: Callable[[Plan], None] = run_here) -> tuple[VerifyReport, list[str]]:
    """Verify and repair; return the new report, and the messages."""
    said: list[str] = []
    chosen = selection or Selection()
    report = verify_dataset(root, selection=chosen)
    after = repair_dataset(root, report, chosen, state_dir=None, sizing=Sizing.local(2), run=run, threads=2, say=said.append)
    return after, said


def contents(root: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in data_files(root)}


def plan_of(root: Path, **values: object) -> Plan:
    return make_plan(load_config({"target": str(root), **values}, "test"), Sizing.local(2))


# -- repair ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
def test_all_data_lost(dataset: Copies, data_format: str) -> None:
    root = dataset(data_format)
    before = contents(root)
    for file in before:
        file.unlink()
    after, _ = repaired(root)
    assert after.is_sound
    assert contents(root) == before


def test_just_the_damaged_shards_are_made(dataset: Copies) -> None:
    root = dataset("zarr3")
    files = data_files(root)
    files[2].write_bytes(b"?")
    before = {file: file.stat().st_ino for file in files}
    made: list[Plan] = []

    def run_and_keep(plan: Plan) -> None:
        made.append(plan)
        run_here(plan)

    after, _ = repaired(root, run=run_and_keep)
    assert after.is_sound
    assert after.units == 1
    assert [plan.units_to_do for plan in made] == [1]
    assert [file for file in files if file.stat().st_ino != before[file]] == [files[2]]


def test_finest_mag_without_its_images_is_not_repaired(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    root = make_dataset(images, tmp_path / "dataset", "zarr3")
    finest, coarse = root / "color/1/c/0/1/0/0", root / "color/2-2-1/c/0/0/0/0"
    shutil.rmtree(images)
    finest.write_bytes(b"?")
    coarse.unlink()
    other = next(file for file in data_files(root) if names_of(root, file)[1] == "4-4-2")
    good = other.read_bytes()
    other.unlink()
    after, said = repaired(root)
    assert {(problem.mag, problem.shard) for problem in after.problems} == {
        ("1", "0.1.0.0"),  # its images are gone
        ("2-2-1", "0.0.0.0"),  # its source is damaged
        ("4-4-2", "0.0.0.0"),  # and so on
    }
    assert any("first repair 0.1.0.0 of mag 1" in text for text in said)
    assert "restore its files from a copy" in after.problems[0].fix
    assert run_app(["verify", str(root), "--repair"]) == 4
    make_dataset(write_images(images), tmp_path / "again", "zarr3")
    shutil.copy(tmp_path / "again/color/1/c/0/1/0/0", finest)
    after, _ = repaired(root)
    assert after.is_sound
    assert other.read_bytes() == good


def test_changed_images_are_not_taken(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    root = make_dataset(images, tmp_path / "dataset", "zarr3")
    file = data_files(root)[0]
    file.unlink()
    write_images(tmp_path / "others", seed=9)
    shutil.copy(tmp_path / "others/slice_000.tif", images / "slice_000.tif")
    after, said = repaired(root)
    assert [problem.shard for problem in after.problems] == [names_of(root, file)[2]]
    assert any("changed since they were converted" in text for text in said)
    assert not file.exists()


def test_interrupted_repair_goes_on_and_lets_nobody_build_on_damage(dataset: Copies) -> None:
    root = dataset("wkw")
    before = contents(root)
    file = data_files(root)[0]
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")

    class Killed(Exception):
        pass

    def killed(_: Plan) -> None:
        raise Killed

    with pytest.raises(Killed):
        repaired(root, run=killed)
    with pytest.raises(DamagedShard, match="wkpipe verify --repair"):
        plan_of(root)
    assert "did not finish" in verify_dataset(root).problems[0].what
    after, _ = repaired(root)
    assert after.is_sound
    assert contents(root) == before
    assert plan_of(root).units_to_do == 0


def test_a_run_keeps_repair_away(dataset: Copies) -> None:
    root = dataset("zarr3")
    data_files(root)[0].unlink()
    locks = Locations.of(root).locks.path()
    with RunLease(Local(locks)), pytest.raises(TryAgain):
        repaired(root)


def test_stale_mags_are_brought_up_to_date(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    root = make_dataset(images, tmp_path / "dataset", "zarr3")
    shutil.copy(images / "slice_001.tif", images / "slice_000.tif")
    run(
        root,
        source=str(images),
        voxel_size=[10, 10, 20],
        chunk_shape=16,
        shard_shape=32,
        layer_name="color",
        category="color",
        downsample=False,
    )
    assert {problem.kind for problem in verify_dataset(root).problems} == {Kind.STALE}
    after, _ = repaired(root)
    assert after.is_sound
    assert verify_dataset(root, selection=Selection(deep=True, share=1.0)).is_sound


def test_the_command_repairs_through_the_workflow(dataset: Copies, capsys: pytest.CaptureFixture[str]) -> None:
    root = dataset("zarr3")
    before = contents(root)
    data_files(root)[0].unlink()
    (root / "color/2-2-1/zarr.json").write_bytes(b"{}")
    (root / "color/zarr.json").unlink()
    assert run_app(["verify", str(root), "--repair", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert "nothing is wrong" in out
    assert "1 of 1 damaged storage shards are made again" in err
    assert contents(root) == before
    assert verify_dataset(root).is_sound


@pytest.mark.parametrize("arguments", [["--repair", "--adopt"], ["--adopt", "--sample", "5%"]])
def test_contradictions(pristine: dict[str, Path], arguments: list[str]) -> None:
    assert run_app(["verify", str(pristine["wkw"]), *arguments]) == 2


# -- metadata -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": 3}', b"\x00" * 10, None])
def test_properties_are_put_back(dataset: Copies, content: bytes | None) -> None:
    root = dataset("wkw")
    file = root / "datasource-properties.json"
    good = file.read_bytes()
    file.unlink() if content is None else file.write_bytes(content)
    (problem,) = verify_dataset(root).problems
    assert (problem.kind, problem.is_repairable) == (Kind.PROPERTIES, True)
    after, _ = repaired(root)
    assert after.is_sound
    assert file.read_bytes() == good


def test_broken_properties_that_nobody_knows_are_refused(dataset: Copies) -> None:
    root = dataset("zarr3")
    shutil.rmtree(root / ".wkpipe")
    (root / "datasource-properties.json").write_bytes(b"{")
    with pytest.raises(MetadataError):
        verify_dataset(root)


def test_edited_properties_are_a_note(dataset: Copies) -> None:
    root = dataset("zarr3")
    file = root / "datasource-properties.json"
    values = json.loads(file.read_text())
    values["id"]["name"] = "renamed"
    file.write_text(json.dumps(values))
    report = verify_dataset(root)
    assert report.is_sound
    assert any("edited it" in note for note in report.notes)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("mag", ["1", "2-2-1"])
def test_recipe_is_rebuilt_to_the_byte(dataset: Copies, data_format: str, mag: str) -> None:
    root = dataset(data_format)
    file = ledger_directory(root, LAYERS[data_format], mag) / "recipe.json"
    good = file.read_bytes()
    file.unlink()
    assert [problem.kind for problem in verify_dataset(root).problems] == [Kind.RECIPE]
    after, _ = repaired(root)
    assert after.is_sound
    assert file.read_bytes() == good


@pytest.mark.parametrize("data_format", FORMATS)
def test_one_after_the_other(dataset: Copies, data_format: str) -> None:
    """First the properties, without which no mag is known; then a recipe, from its hash alone; then the array; then the data."""
    root, layer = dataset(data_format), LAYERS[data_format]
    name = {"zarr3": "zarr.json", "zarr": ".zarray", "wkw": "header.wkw"}[data_format]
    array, recipe = root / layer / "4-4-2" / name, ledger_directory(root, layer, "4-4-2") / "recipe.json"
    before = contents(root) | {file: file.read_bytes() for file in (array, recipe, root / "datasource-properties.json")}
    for file in before:
        file.unlink()
    (root / ".wkpipe/conversion.json").unlink()
    after, _ = repaired(root)
    assert after.is_sound
    assert {file: file.read_bytes() for file in before} == before


def test_copy_of_the_conversion_that_is_nested_too_deeply(dataset: Copies) -> None:
    """The state came with the dataset, from anywhere."""
    root = dataset("zarr3")
    (root / ".wkpipe/conversion.json").write_text("{")
    (root / ".wkpipe/copies/conversion.json").write_text("[" * 200_000)
    _, said = repaired(root)
    assert any("is not restored" in line and "nested too deeply" in line for line in said)


def test_number_of_the_newest_run(dataset: Copies) -> None:
    root = dataset("zarr3")
    Locations.of(root).locks.path("epoch").unlink()
    assert [problem.kind for problem in verify_dataset(root).problems] == [Kind.EPOCH]
    after, _ = repaired(root)
    assert after.is_sound


# -- the ledger -----------------------------------------------------------------------------------------------------


def test_damaged_line_is_told_from_a_torn_one(dataset: Copies) -> None:
    root = dataset("zarr3")
    directory = ledger_directory(root, "color", "1")
    (segment,) = directory.glob("*.segment")
    content = bytearray(segment.read_bytes())
    content[40] ^= 1
    segment.write_bytes(content)
    (directory / "000001-00000-crashed.segment").write_bytes(b'0000abcd {"unit":[0,0')
    bad = bad_lines(Local(directory))
    assert (bad.damaged, bad.torn, bad.first) == (1, 1, segment)
    problems = verify_dataset(root).problems
    assert [problem.kind for problem in problems] == [Kind.LEDGER, Kind.UNIT]
    after, _ = repaired(root)
    assert after.is_sound
    assert bad_lines(Local(directory)).damaged == 0


@pytest.mark.parametrize("data_format", FORMATS)
def test_lost_ledger_is_adopted(dataset: Copies, data_format: str) -> None:
    root, layer = dataset(data_format), LAYERS[data_format]
    before = contents(root)
    for mag in ("1", "2-2-1"):
        for segment in ledger_directory(root, layer, mag).glob("*.segment"):
            segment.unlink()
    assert not verify_dataset(root).is_sound
    assert run_app(["verify", str(root), "--adopt", "--deep"]) == 0
    assert {record.origin for record in records_of(root, layer, "1")} == {"adopted"}
    assert contents(root) == before
    assert plan_of(root).units_to_do == 0, "adopted units of derived mags count as made"
    file = data_files(root)[0]
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    assert not verify_dataset(root).is_sound, "adopted with a checksum"


def test_adopting_takes_no_damage(dataset: Copies) -> None:
    root = dataset("zarr3")
    for segment in ledger_directory(root, "color", "2-2-1").glob("*.segment"):
        segment.unlink()
    broken, lost = (root / f"color/2-2-1/c/0/{x}/0/0" for x in (0, 1))
    broken.write_bytes(broken.read_bytes()[:-3])
    lost.unlink()
    adopt_dataset(root, state_dir=None, selection=Selection())
    assert {problem.shard for problem in verify_dataset(root).problems if problem.kind is Kind.UNIT} == {"0.0.0.0", "0.1.0.0"}
    after, _ = repaired(root)
    assert after.is_sound


def test_adopting_deep_takes_no_other_voxels(dataset: Copies) -> None:
    root = dataset("wkw")
    files = [file for file in data_files(root) if names_of(root, file)[1] == "2-2-1"]
    shutil.copy(files[1], files[0])
    for segment in ledger_directory(root, "Raw", "2-2-1").glob("*.segment"):
        segment.unlink()
    adopt_dataset(root, state_dir=None, selection=Selection(deep=True))
    (problem,) = [problem for problem in verify_dataset(root).problems if problem.kind is Kind.UNIT]
    assert problem.shard == names_of(root, files[0])[2]


def test_adopting_gives_a_foreign_dataset_checksums(golden: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(golden / "wkw", tmp_path / "foreign"))
    assert verify_dataset(root).only_decoded > 0
    assert adopt_dataset(root, state_dir=None, selection=Selection()) > 0
    report = verify_dataset(root)
    assert report.is_sound
    assert report.only_decoded == 0
    assert adopt_dataset(root, state_dir=None, selection=Selection()) == 0, "nothing is left to adopt"


def test_lost_ledger_of_a_source_is_missed(dataset: Copies) -> None:
    """The ledger and the recipe of a mag are gone: the mags that were made from it show that."""
    root = dataset("zarr3")
    shutil.rmtree(ledger_directory(root, "color", "1"))
    problems = verify_dataset(root).problems
    assert [problem.kind for problem in problems] == [Kind.LEDGER]
    assert problems[0].fix.endswith("--adopt")
    assert run_app(["verify", str(root), "--adopt"]) == 0
