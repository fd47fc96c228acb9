"""`downsample --overwrite-existing` in a place that cannot rename: new mags get new directories, which the properties name.

Killed at any moment, a run leaves the old mags or the new ones; the same command resumes and leaves nothing behind.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sample import WHOLE_VARIABLE
from tests.steps.helpers import mags_of, properties_json
from tests.steps.test_overwrite import Start, begin, hashes, overwritten, resumed_with_one_layer_done
from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import FORMATS, in_child, plan_of, work
from tests.verify.test_repair import repaired
from wkpipe import Dataset
from wkpipe.errors import MetadataError
from wkpipe.geometry import Mag
from wkpipe.plan.plan import load_plan
from wkpipe.runs.run import Run, run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.local import Local
from wkpipe.storage.record import WRITTEN
from wkpipe.stored import places
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.files import leftovers
from wkpipe.verify.report import Kind
from wkpipe.verify.summary import summarise

Voxels = dict[str, dict[str, str]]
"""The digests of the files of each visible mag."""


@pytest.fixture(autouse=True)
def no_syncs() -> None:
    """Keep the syncs, because `FaultyOs` counts them."""


@pytest.fixture(autouse=True, scope="module")
def no_renames() -> Iterator[None]:
    """Make all places of datasets and states ones that cannot rename."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "Local", functools.partial(Local, can_rename=False))
        yield


def paths_of(root: Path) -> list[str]:
    return [mag["path"] for mag in properties_json(root)["dataLayers"][0]["mags"]]


def visible(root: Path) -> Voxels:
    """Return the files of the mags that a reader sees, through the paths in the properties."""
    return {mag: hashes(root / path) for mag, path in zip(mags_of(root), paths_of(root), strict=True)}


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def check_end(root: Path, *names: str) -> None:
    """The mags have these directories, nothing else is left, and the dataset is valid."""
    assert paths_of(root) == [f"./layer/{name}" for name in names]
    assert names_in(root / "layer") == names_in(root / ".wkpipe/ledger/layer") == sorted(names)
    assert not (root / ".wkpipe/remade").exists()
    assert leftovers(plan_of({"target": str(root)}).locations) == (0, 0)
    assert verify_dataset(root).problems == ()
    summary = summarise(root)
    assert {mag.state for layer in summary.layers for mag in layer.mags} == {"up to date"}
    assert summary.unfinished == ()


@pytest.fixture(scope="module", params=list(FORMATS))
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, no_renames: None) -> Start:
    root, fresh, whole, sites = overwritten(tmp_path_factory.mktemp(request.param), request.param)
    new = visible(fresh)
    assert visible(whole) == new, "overwritten, it is as if newly built"
    check_end(whole, "1", "2.1", "4.1")
    return Start(root, visible(root), new, sites)


def check_old_or_new(root: Path, start: Start) -> str:
    """Check that a reader sees all old mags or all new ones; return which."""
    seen = visible(root)
    assert seen in (start.old, start.new)
    assert {problem.kind for problem in verify_dataset(root).problems} <= {Kind.LEFTOVER, Kind.GROUP}
    return "old" if seen == start.old else "new"


def kill(start: Start, place: Path, at: int) -> tuple[Path, dict[str, Any]]:
    root, values = start.copy(place)
    assert in_child(lambda: work(values), FaultyOs(at, "kill")).exit_code is None, at
    return root, values


def check_killed(start: Start, place: Path, at: int) -> str:
    """Kill an overwriting at a call, look at the dataset, and let the same command finish; return which mags were visible."""
    root, values = kill(start, place, at)
    seen = check_old_or_new(root, start)
    is_noted = (root / ".wkpipe/remade/layer/swap.json").exists()
    is_over = seen == "new" and not is_noted  # the only layer is done: the same command overwrites again
    again = in_child(lambda: work(values), FaultyOs(is_traced=True))
    assert again.exit_code == 0, f"call {at}: {again.message}"
    assert visible(root) == start.new
    check_end(root, "1", *(("2.2", "4.2") if is_over else ("2.1", "4.1")))
    if is_noted:
        assert not any("work._downsample" in site for site in again.sites), "what was proven was made again"
    shutil.rmtree(place)
    return seen


def calls(start: Start, *places: str) -> list[int]:
    """Return the first calls of places in the code."""
    return [next(i for i, site in enumerate(start.sites, 1) if all(part in site for part in place.split(" & "))) for place in places]


def test_killed_at_a_step_of_the_publishing_it_leaves_the_old_or_the_new(start: Start, tmp_path: Path) -> None:
    note, old_array, old_ledger, done = calls(
        start, "noted_swap", "replace & remove_below & _remove_old", "unlink & _remove_old", "put & _remove_old"
    )
    properties = max(i for i, site in enumerate(start.sites[:old_array], 1) if "replace" in site and "_save" in site)
    steps = sorted({note, note + 1, properties - 1, properties, properties + 1, old_array, old_array + 1, old_ledger, done, done + 1})
    seen = {at: check_killed(start, tmp_path / str(at), at) for at in steps}
    assert {seen[at] for at in steps if at <= properties} == {"old"}
    assert {seen[at] for at in steps if at > properties + 1} == {"new"}


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("part", ["building", "publishing"])
def test_killed_anywhere_it_leaves_the_old_or_the_new_and_goes_on(start: Start, part: str, tmp_path: Path) -> None:
    in_publishing = [i for i, site in enumerate(start.sites, 1) if "swap." in site or "publish_layers" in site]
    first, last = min(in_publishing), max(in_publishing)
    begin, end, most = (first, last + 1, 12) if part == "publishing" else (1, first, 12)
    steps = range(begin, end, 1 if os.environ.get(WHOLE_VARIABLE) and part == "publishing" else max(1, (end - begin) // most))
    seen = {check_killed(start, tmp_path / str(at), at) for at in steps}
    assert seen == ({"old"} if part == "building" else {"old", "new"})


def test_what_was_begun_is_resumed_in_the_same_directories(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin(values, 1)
    assert check_old_or_new(root, start) == "old"
    assert [(mag.mag, mag.origin) for mag in summarise(root).unfinished][:1] == [("2", "downsampled from 1 by nearest, again")]
    assert summarise(root).unfinished[0].done_units > 0
    shards = {path: path.stat().st_ino for path in (root / "layer/2.1").rglob("*") if path.is_file()}
    assert shards
    work(values)
    assert {path: path.stat().st_ino for path in shards} == shards, "what was proven was made again"
    check_end(root, "1", "2.1", "4.1")


def test_a_layer_that_is_done_is_not_begun_again(start: Start, tmp_path: Path) -> None:
    """The second of two layers is still under way when the run stops."""
    root, _ = resumed_with_one_layer_done(start, tmp_path)
    assert names_in(root / "layer") == names_in(root / "other") == ["1", "2.1", "4.1"]


def test_again_and_again(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    for number, mode in enumerate(("nearest", "max", "nearest"), 1):
        work({**values, "interpolation_mode": mode})
        check_end(root, "1", f"2.{number}", f"4.{number}")
    assert visible(root) == start.new
    assert plan_of({"target": str(root), "coarsest_mag": "4"}).is_empty
    work({"target": str(root), "coarsest_mag": "8", "interpolation_mode": "nearest"})
    check_end(root, "1", "2.3", "4.3", "8")
    work({**values, "interpolation_mode": "max"})
    check_end(root, "1", "2.4", "4.4")


def test_what_was_begun_with_other_parameters_is_thrown_away(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin({**values, "interpolation_mode": "max"}, 1)
    work(values)
    assert visible(root) == start.new
    check_end(root, "1", "2.1", "4.1")


def test_an_overwriting_that_is_given_up_leaves_nothing(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin(values, 1)
    assert (root / "layer/2.1").exists()
    work({"target": str(root), "coarsest_mag": "16"})
    assert {mag: files for mag, files in visible(root).items() if mag != "16"} == start.old
    check_end(root, "1", "2", "4", "8", "16")


@pytest.mark.parametrize("values", [{}, {"interpolation_mode": "max"}, {"coarsest_mag": "2"}])
def test_any_downsampling_ends_a_replacement_first(start: Start, values: dict[str, Any], tmp_path: Path) -> None:
    root, _ = kill(start, tmp_path, calls(start, "replace & remove_below & _remove_old")[0])
    plan = plan_of({"target": str(root), **values})
    assert "took the place" in " ".join(plan.notes)
    run_here(plan)
    assert visible(root) == start.new
    check_end(root, "1", "2.1", "4.1")


@pytest.mark.parametrize("path", ["./layer/1", "./other/2.1", "./layer/4.1", "./layer/2.0", "./layer/../2.1", "./layer/2.99"])
def test_a_note_that_wkpipe_cannot_have_written_is_refused(start: Start, path: str, tmp_path: Path) -> None:
    root, values = kill(start, tmp_path, calls(start, "replace & remove_below & _remove_old")[0])
    note = root / ".wkpipe/remade/layer/swap.json"
    content = json.loads(note.read_text())
    content["new"][0]["path"] = path
    note.write_text(json.dumps(content))
    with pytest.raises(MetadataError, match=r"swap\.json.*--overwrite-existing"):
        plan_of(values)


def test_jobs_find_the_directories_in_the_stored_plan(start: Start, tmp_path: Path) -> None:
    _, values = start.copy(tmp_path)
    plan = plan_of(values)
    run = Run(plan)
    with run.begun():
        stored = load_plan(run.directory, run.seal, plan.tasks[0].name)
        assert stored.locations == plan.locations
        assert stored.locations.array("layer", Mag(2)).path().name == "2.1"


def test_the_library_and_repair_find_the_directories(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    work(values)
    unit = next(unit for unit, record in Ledger.load(ledger_of(root)).records.items() if not record.proof.is_fill)
    mag = Dataset.open(root).get_layer("layer").get_mag(2)
    before = mag.read()
    damaged = mag._array.open().unit_files(unit)[0]
    damaged.write_bytes(b"\0" * 100)
    assert {problem.kind for problem in verify_dataset(root).problems} == {Kind.UNIT}
    (root / ".wkpipe/ledger/layer/4.1/recipe.json").unlink()
    assert repaired(root)[0].is_sound
    check_end(root, "1", "2.1", "4.1")
    assert np.array_equal(Dataset.open(root).get_layer("layer").get_mag(2).read(), before)
    mag = Dataset.open(root).get_layer("layer").get_mag(2)
    mag.write(np.full((1, 4, 4, 4), 9, np.uint8), allow_unaligned=True)
    assert np.all(mag.read()[:, :4, :4, :4] == 9)
    assert {record.origin for record in Ledger.load(ledger_of(root)).records.values()} >= {WRITTEN}
    assert names_in(root / ".wkpipe/ledger/layer") == ["1", "2.1", "4.1"]
    Dataset.open(root).get_layer("layer").delete_mag(4)
    assert names_in(root / "layer") == names_in(root / ".wkpipe/ledger/layer") == ["1", "2.1"]


def ledger_of(root: Path) -> Path:
    return root / ".wkpipe/ledger/layer/2.1"


def test_on_a_disk_the_mags_get_their_own_directories_back(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dataset was copied from a place that cannot rename, where it was overwritten."""
    root, values = start.copy(tmp_path)
    work(values)
    monkeypatch.setattr(places, "Local", Local)
    assert Locations.of(root).can_swap
    assert plan_of({"target": str(root), "coarsest_mag": "4"}).is_empty
    whole = tmp_path / "whole" / "dataset"
    shutil.copytree(root, whole)
    trace = in_child(lambda: work({**values, "target": str(whole)}), FaultyOs(is_traced=True)).sites
    assert visible(whole) == start.new
    check_end(whole, "1", "2", "4")
    swapping = [i for i, site in enumerate(trace, 1) if "swap." in site]
    for at in {*swapping[:: max(1, len(swapping) // 8)], swapping[-1]}:
        killed = tmp_path / str(at) / "dataset"
        shutil.copytree(root, killed)
        at_it = {**values, "target": str(killed)}
        assert in_child(lambda values=at_it: work(values), FaultyOs(at, "kill")).exit_code is None
        work(at_it)
        assert visible(killed) == start.new
        check_end(killed, "1", "2", "4")
    work({**values, "interpolation_mode": "max"})
    check_end(root, "1", "2", "4")
    work(values)
    assert visible(root) == start.new
    check_end(root, "1", "2", "4")
