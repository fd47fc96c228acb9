"""Verify: sound datasets pass, and damage other than damaged files is found too."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.verify.helpers import (
    FORMATS,
    LAYERS,
    data_files,
    edit_json,
    ledger_directory,
    make_dataset,
    names_of,
    records_of,
    replace_records,
    run,
    snapshot,
    write_images,
)
from wkpipe.cli.app import run_app
from wkpipe.errors import LayerNotFound, MagNotFound, UnreadableInput
from wkpipe.formats import open_array
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.lease import RunLease
from wkpipe.storage.ledger import LedgerWriter
from wkpipe.storage.record import DIRTY, WRITTEN, Record, content_token
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import Problem, VerifyReport, verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection
from wkpipe.verify.summary import summarise

Copies = Callable[[str], Path]


def only(report: VerifyReport) -> Problem:
    """Return the only problem of a report."""
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


# -- sound ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
def test_sound_dataset(pristine: dict[str, Path], data_format: str) -> None:
    done = []
    report = verify_dataset(pristine[data_format], threads=2, on_unit=lambda *counts: done.append(counts[:2]))
    assert report.is_sound
    assert report.problems == ()
    assert report.notes == ()
    assert report.bytes_read == sum(file.stat().st_size for file in data_files(pristine[data_format]))
    assert done[-1] == (report.units, report.units)
    assert done == sorted(done)


@pytest.mark.parametrize("data_format", FORMATS)
def test_nothing_is_written(dataset: Copies, data_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root = dataset(data_format)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(root)
    try:
        report, summary = verify_dataset(root, threads=2), summarise(root)
        assert snapshot(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert report.problems == ()
    assert {mag.state for layer in summary.layers for mag in layer.mags} == {"up to date"}
    assert not (tmp_path / "state").exists()


def test_read_only_dataset_is_held_against_the_ledger_that_it_brings(dataset: Copies, tmp_path: Path) -> None:
    root = dataset("wkw")
    file = data_files(root)[0]
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    problem = only(verify_dataset(root, state_dir=tmp_path / "states"))
    assert "found the content xxh3-128/shard:" in problem.what
    assert not (tmp_path / "states").exists()


def test_copied_dataset_keeps_its_proofs(pristine: dict[str, Path], tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine["zarr3"], tmp_path / "elsewhere", copy_function=shutil.copyfile))
    assert verify_dataset(root).problems == ()
    assert {mag.state for layer in summarise(root).layers for mag in layer.mags} == {"up to date"}


def test_one_layer_or_mag(dataset: Copies) -> None:
    root = dataset("zarr3")
    whole, part = verify_dataset(root), verify_dataset(root, mag="2-2-1")
    assert (whole.mags, part.mags) == (3, 1)
    assert 0 < part.units < whole.units
    assert verify_dataset(root, layer_name="color").units == whole.units
    with pytest.raises(LayerNotFound):
        verify_dataset(root, layer_name="colour")
    with pytest.raises(MagNotFound):
        verify_dataset(root, mag=16)
    with pytest.raises(MagNotFound):
        verify_dataset(root, layer_name="color", mag=16)
    with pytest.raises(UnreadableInput):
        verify_dataset(root / "color")


# -- units ----------------------------------------------------------------------------------------------------------


def test_file_where_the_fill_value_was_recorded(dataset: Copies) -> None:
    root = dataset("zarr3")
    fill = root / "color/1/c/0/0/0/0"
    assert not fill.exists()
    shutil.copy(root / "color/1/c/0/1/0/0", fill)
    problem = only(verify_dataset(root))
    assert (problem.mag, problem.shard) == ("1", "0.0.0.0")
    assert "no file (nothing but the fill value)" in problem.what


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_without_a_record(dataset: Copies, data_format: str) -> None:
    root, layer = dataset(data_format), LAYERS[data_format]
    records = records_of(root, layer, "2-2-1")
    replace_records(root, layer, "2-2-1", records[1:])
    problems = [problem for problem in verify_dataset(root).problems if problem.mag == "2-2-1"]
    assert [problem.shard for problem in problems] == [".".join(map(str, records[0].unit))]
    assert "no record" in problems[0].what


def test_lost_ledger_of_a_published_mag(dataset: Copies) -> None:
    root = dataset("zarr3")
    count = len(records_of(root, "color", "1"))
    replace_records(root, "color", "1", [])
    assert len([problem for problem in verify_dataset(root).problems if problem.mag == "1"]) == count


def test_unfinished_write(dataset: Copies) -> None:
    root = dataset("zarr3")
    records = records_of(root, "color", "4-4-2")
    replace_records(root, "color", "4-4-2", [replace(records[0], origin=DIRTY), *records[1:]])
    assert "did not finish" in only(verify_dataset(root)).what


def test_damaged_ledger_line_is_a_note(dataset: Copies) -> None:
    root = dataset("zarr3")
    (ledger_directory(root, "color", "1") / "000009-torn.segment").write_bytes(b'0000abcd {"unit":[0,0')
    report = verify_dataset(root)
    assert report.is_sound
    assert any("ledger" in note for note in report.notes)


def test_all_damages_of_a_mag_are_reported(dataset: Copies) -> None:
    root = dataset("zarr3")
    shutil.rmtree(root / "color/1/c")
    report = verify_dataset(root, threads=2)
    stored = [record for record in records_of(root, "color", "1") if not record.proof.is_fill]
    assert len(report.problems) == len(stored)
    assert {problem.mag for problem in report.problems} == {"1"}


# -- fixes ----------------------------------------------------------------------------------------------------------


def _obey(fix: str) -> None:
    """Do what a fix says, without a workflow; test_commands checks that the command line accepts such commands."""
    words = shlex.split(fix)
    if words[0] == "rm":
        Path(words[-1]).unlink()
        return
    root = Path(words[2])
    values = {key[2:].replace("-", "_"): value for key, value in itertools.pairwise(words) if key.startswith("--")}
    if words[1] == "downsample":
        assert run_app([*words[1:], "--dry-run"]) == 0
        run(root, **values)
        return
    assert words[:2] == ["wkpipe", "verify"]
    assert words[-1] == "--repair"
    selection = Selection(values.get("layer_name"), Mag(values["mag"]) if "mag" in values else None)
    report = verify_dataset(root, selection=selection)
    repair_dataset(root, report, selection, state_dir=None, sizing=Sizing.local(2), run=run_here)


@pytest.mark.parametrize(
    "data_format,mag,is_silent",
    [
        ("zarr3", "1", False),
        ("zarr3", "1", True),
        ("zarr3", "2-2-1", False),
        ("zarr3", "2-2-1", True),
        ("zarr", "2-2-1", True),
        ("wkw", "1", True),
        ("wkw", "2-2-1", False),
    ],
)
def test_mend_repairs(images: Path, tmp_path: Path, data_format: str, mag: str, is_silent: bool) -> None:
    root = make_dataset(images, tmp_path / "dataset", data_format, coarsest_mag="2-2-1")
    before = {file: file.read_bytes() for file in data_files(root)}
    file = next(file for file in data_files(root) if names_of(root, file)[1] == mag)
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x55
    file.write_bytes(content)
    if is_silent:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    _obey(only(verify_dataset(root)).fix)
    assert verify_dataset(root).problems == ()
    assert {file: file.read_bytes() for file in data_files(root)} == before


# -- stale ----------------------------------------------------------------------------------------------------------


def test_stale_mag(dataset: Copies) -> None:
    root = dataset("zarr3")
    array = open_array(root / "color/1", "zarr3")
    unit = (0, 1, 0, 0)
    with array.unit_writer(unit, Scratch(root / ".wkpipe/tmp/000002")) as writer:
        for chunk in np.ndindex(*array.spec.chunks_per_unit):
            writer.append(chunk, writer.encode(np.full(array.spec.chunk_shape, 9, np.uint8)))
        proof = writer.commit()
    with LedgerWriter(ledger_directory(root, "color", "1"), 1) as ledger:
        ledger.add(Record(unit, WRITTEN, proof, content_token(proof)))
    problem = only(verify_dataset(root))
    assert (problem.layer, problem.mag, problem.shard) == ("color", "2-2-1", "0.0.0.0")
    assert "stale" in problem.what
    states = {mag.mag: (mag.state, mag.stale_units) for mag in summarise(root).layers[0].mags}
    assert states["1"] == ("up to date", 0)
    assert states["2-2-1"] == ("stale", 1)
    _obey(problem.fix)
    assert verify_dataset(root).problems == ()


def test_summary_sees_a_source_that_was_replaced(dataset: Copies) -> None:
    root = dataset("zarr3")
    file = root / "color/1/c/0/1/0/0"
    file.write_bytes(file.read_bytes() + b"more")
    states = {mag.mag: mag.state for mag in summarise(root).layers[0].mags}
    assert states == {"1": "unproven", "2-2-1": "stale", "4-4-2": "up to date"}


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data_format,name,shard",
    [
        ("zarr3", "stray.tmp", "stray.tmp"),
        ("zarr3", "c/0/00/0/0", "c/0/00/0/0"),
        ("zarr3", "c/0/7/0/0", "0.7.0.0"),
        ("zarr", "0/0/0/0.tmp", "0/0/0/0.tmp"),
        ("zarr", "0/64/0/0", "0.1.0.0"),
        ("wkw", "z0/y0/x0.wkw~", "z0/y0/x0.wkw~"),
        ("wkw", "z0/y9/x1.wkw", "0.1.9.0"),
    ],
)
def test_unexpected_file(dataset: Copies, data_format: str, name: str, shard: str) -> None:
    root = dataset(data_format)
    file = root / LAYERS[data_format] / "2-2-1" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"?")
    problem = only(verify_dataset(root))
    assert (problem.layer, problem.mag, problem.shard) == (LAYERS[data_format], "2-2-1", shard)
    assert str(file) in problem.what
    _obey(problem.fix)
    assert verify_dataset(root).is_sound


def test_leftovers_of_dead_runs(dataset: Copies) -> None:
    root = dataset("zarr3")
    locations = Locations.of(root)
    scratch = locations.temporary / "000001"
    scratch.mkdir(parents=True)
    (scratch / "0123.tmp").write_bytes(b"half")
    problem = only(verify_dataset(root))
    assert (problem.layer, problem.mag) == ("", "")
    assert "1 temporary files (4 bytes)" in problem.what
    with RunLease(locations.locks):  # now they may belong to a living run
        report = verify_dataset(root)
        assert report.is_sound
        assert "a run is under way" in report.notes[0]
        assert summarise(root).run


# -- metadata -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes,text",
    [
        ({"shape": [1, 32, 64, 64]}, "32 voxels along x"),
        ({"data_type": "int8"}, "int8"),
        ({"fill_value": 3}, "fill value"),
        ({"shape": [1, 96, 64]}, "shape"),
        ({"dimension_names": ["c", "z", "y", "x"]}, "c,z,y,x"),
    ],
)
def test_array_metadata_that_do_not_fit(dataset: Copies, changes: dict[str, object], text: str) -> None:
    root = dataset("zarr3")
    edit_json(root / "color/1/zarr.json", **changes)
    problems = [problem for problem in verify_dataset(root).problems if problem.mag == "1" and not problem.shard]
    assert any(text in problem.what for problem in problems), [problem.what for problem in problems]


def test_missing_directory_and_metadata(dataset: Copies) -> None:
    root = dataset("wkw")
    (root / "Raw/1/header.wkw").unlink()
    shutil.rmtree(root / "Raw/4-4-2")
    found = [(problem.mag, problem.shard) for problem in verify_dataset(root).problems]
    assert found == [("1", ""), ("4-4-2", "")]
    assert [mag.error != "" for mag in summarise(root).layers[0].mags] == [True, False, True]


def _edit_layer(root: Path, **values: object) -> None:
    file = root / "datasource-properties.json"
    properties = json.loads(file.read_text())
    properties["dataLayers"][0] |= values
    file.write_text(json.dumps(properties))


def test_channels(dataset: Copies) -> None:
    for data_format in FORMATS:
        root = dataset(data_format)
        _edit_layer(root, elementClass="uint24", numChannels=3)
        problems = [problem for problem in verify_dataset(root, mag=1).problems if "channels" in problem.what]
        assert [problem.shard for problem in problems] == [""]
        summarise(root)


def test_cube_length(dataset: Copies) -> None:
    root = dataset("wkw")
    mags = json.loads((root / "datasource-properties.json").read_text())["dataLayers"][0]["mags"]
    _edit_layer(root, mags=[entry | {"cubeLength": 1024} for entry in mags])
    assert "an edge of 32 voxels" in only(verify_dataset(root, mag=1)).what


def test_grown_box(dataset: Copies) -> None:
    """If the box is larger than what was made, the array does not cover it; the voxels beyond the array are not a loss."""
    root = dataset("zarr3")
    _edit_layer(root, boundingBox={"topLeft": [0, 0, 0], "width": 100, "height": 50, "depth": 40})
    problems = verify_dataset(root, mag=1).problems
    assert ["96 voxels along x, expected 100" in problem.what for problem in problems] == [True]


def test_shrunk_box_is_a_note_at_the_finest_mag(dataset: Copies) -> None:
    root = dataset("zarr3")
    _edit_layer(root, boundingBox={"topLeft": [0, 0, 0], "width": 32, "height": 50, "depth": 40})
    report = verify_dataset(root, mag=1)
    assert report.is_sound
    assert "outside the layer's box" in report.notes[0]


# -- unpublished ----------------------------------------------------------------------------------------------------


def test_new_images_do_not_disturb(tmp_path: Path) -> None:
    """Verify proves the dataset on its own: its source may be gone."""
    stack = write_images(tmp_path / "stack", seed=3)
    root = make_dataset(stack, tmp_path / "dataset", "zarr3")
    shutil.rmtree(stack)
    assert verify_dataset(root).is_sound
