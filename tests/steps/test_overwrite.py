"""`downsample --overwrite-existing`: the new mags are made beside the old ones and replace them when they are proven.

Killed at any moment, a run leaves the old mags or the new ones; the same command resumes and leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.content import content_of
from tests.sample import WHOLE_VARIABLE
from tests.steps.helpers import data_files, mags_of, properties_json
from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import FORMATS, in_child, plan_of, work, write_slices
from wkpipe import Dataset
from wkpipe.errors import AlreadyExists, MetadataError
from wkpipe.geometry import Mag
from wkpipe.plan.table import plan_table
from wkpipe.runs.run import Run, run_here
from wkpipe.steps.task import run_task
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.proof import MTIMES
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.files import leftovers
from wkpipe.verify.report import Kind
from wkpipe.verify.summary import summarise

NEW = {"interpolation_mode": "nearest", "overwrite_existing": True, "coarsest_mag": "4"}
"""Fewer mags than before: the coarsest old one is removed."""

Files = Mapping[str, str]


@pytest.fixture(autouse=True)
def no_syncs() -> None:
    """Keep the syncs, because `FaultyOs` counts them."""


@dataclass
class Start:
    """A dataset with the mags 1, 2, 4 and 8, and the result of an undisturbed overwriting."""

    root: Path
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    sites: list[str]

    def copy(self, place: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
        target = place / "dataset"
        shutil.copytree(self.root, target)
        return target, {**NEW, "target": str(target), **more}


def overwritten(base: Path, data_format: str) -> tuple[Path, Path, Path, list[str]]:
    """Make a dataset with the mags 1, 2, 4 and 8, one as it is to be, and a copy of the first that was overwritten; and list its calls."""
    layout = FORMATS[data_format]
    images = write_slices(base / "layer", (20, 34, 66))
    source = {"source": str(images), "voxel_size": "1,1,1", "layer_name": "layer", "category": "color"}
    root, fresh, whole = (base / name / "dataset" for name in ("old", "fresh", "whole"))
    work({**layout, **source, "target": str(root), "coarsest_mag": "8"})
    assert mags_of(root) == ["1", "2", "4", "8"]
    work({**layout, **source, "target": str(fresh), "downsample": False})
    work({"target": str(fresh), "interpolation_mode": "nearest", "coarsest_mag": "4"})
    shutil.copytree(root, whole)
    outcome = in_child(lambda: work({**NEW, "target": str(whole)}), FaultyOs(is_traced=True))
    assert outcome.exit_code == 0, outcome
    return root, fresh, whole, outcome.sites


@pytest.fixture(scope="module", params=list(FORMATS))
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Start:
    root, fresh, whole, sites = overwritten(tmp_path_factory.mktemp(request.param), request.param)
    assert data_files(whole) == data_files(fresh), "overwritten, it is as if newly built"
    check_end(whole)
    return Start(root, data_files(root), data_files(fresh), sites)


def check_end(root: Path) -> None:
    """Neither the old mags nor the place beside them are left, and the dataset is valid."""
    state = root / ".wkpipe"
    assert not (state / "remade").exists()
    assert leftovers(plan_of({"target": str(root)}).locations) == (0, 0)
    assert sorted(path.name for path in (root / "layer").iterdir() if path.is_dir()) == ["1", "2", "4"]
    assert sorted(path.name for path in (state / "ledger/layer").iterdir()) == ["1", "2", "4"]
    assert verify_dataset(root).problems == ()
    summary = summarise(root)
    assert {mag.state for layer in summary.layers for mag in layer.mags} == {"up to date"}
    assert summary.unfinished == ()


def of_mag(files: Files, mag: str) -> dict[str, str]:
    return {name.split("/", 2)[2]: digest for name, digest in files.items() if name.startswith(f"layer/{mag}/")}


def hashes(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(content_of(path)).hexdigest() for path in files}


def check_no_mix(root: Path, start: Start) -> str:
    """Check that the visible mags are all old or all new, and that the others are whole somewhere. Return the visible ones.

    A killed process may leave temporary files, and group files that are ahead of the properties.
    """
    files, mags = data_files(root), mags_of(root)
    assert of_mag(files, "1") == of_mag(start.old, "1")
    if mags == ["1", "2", "4", "8"]:
        for mag in mags:
            assert of_mag(files, mag) == of_mag(start.old, mag), mag
        assert {problem.kind for problem in verify_dataset(root).problems} <= {Kind.LEFTOVER, Kind.GROUP}
        return "old"
    beside = {mag: hashes(root / ".wkpipe/remade/layer/arrays" / mag) for mag in ("2", "4")}
    for mag, found in beside.items():
        assert of_mag(start.new, mag) in (found, of_mag(files, mag)), f"mag {mag} is whole in neither place"
        assert of_mag(files, mag) in ({}, of_mag(start.old, mag), of_mag(start.new, mag)), f"mag {mag} is a mix"
    if mags == ["1", "2", "4"]:
        assert not any(beside.values())
        assert {problem.kind for problem in verify_dataset(root).problems} <= {Kind.LEFTOVER, Kind.GROUP}
        return "new"
    assert mags == ["1"]
    return "none"


def proven_beside(root: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of the files in the ledgers beside the old mags."""
    found = {}
    for recipe in root.glob(".wkpipe/remade/layer/ledger/*/recipe.json"):
        mag = recipe.parent.name
        stamps = [record.proof.stamp for record in Ledger.load(recipe.parent).records.values()]
        times = {stamp.value for stamp in stamps}
        is_block = any(stamp.kind == MTIMES for stamp in stamps)  # all chunk files of a mag, if it is this small
        for path in (root / ".wkpipe/remade/layer/arrays" / mag).rglob("*"):
            if path.is_file() and (path.stat().st_mtime_ns in times or (is_block and path.name not in (".zarray", ".zattrs"))):
                found[f"{mag}/{path.relative_to(root / '.wkpipe/remade/layer/arrays' / mag)}"] = (
                    path.stat().st_ino,
                    path.stat().st_mtime_ns,
                )
    return found


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", ["building", "swap"])
def test_killed_anywhere_it_leaves_the_old_or_the_new_and_goes_on(start: Start, part: str, tmp_path: Path) -> None:
    in_swap = [i for i, site in enumerate(start.sites, 1) if "swap." in site or "publish_layers" in site]
    first, last = min(in_swap), max(in_swap)
    every = 1 if os.environ.get(WHOLE_VARIABLE) else max(1, (last - first) // 20)
    calls = range(first, last + 3, every) if part == "swap" else range(1, first, max(1, first // 12))
    seen = set()
    for at in calls:
        place = tmp_path / str(at)
        root, values = start.copy(place)
        outcome = in_child(lambda values=values: work(values), FaultyOs(at, "kill"))
        assert outcome.exit_code is None or at > last, f"call {at}: {outcome}"
        seen.add(check_no_mix(root, start))
        is_noted, beside = (root / ".wkpipe/remade/layer/swap.json").exists(), proven_beside(root)
        again = in_child(lambda values=values: work(values), FaultyOs(is_traced=True))
        assert again.exit_code == 0, f"call {at}: {again.message}"
        assert data_files(root) == start.new, at
        for name, (inode, mtime) in beside.items():
            stat = (root / "layer" / name).stat()
            assert (stat.st_ino, stat.st_mtime_ns) == (inode, mtime), f"call {at}: {name} was made again"
        if is_noted:
            assert not any("work._downsample" in site for site in again.sites), "what was proven was made again"
        check_end(root)
        shutil.rmtree(place)
    assert seen == ({"old"} if part == "building" else {"old", "none", "new"})


def resumed_with_one_layer_done(start: Start, place: Path) -> tuple[Path, list[str]]:
    """Overwrite the mags of two layers, stop when the first one is published, and resume; return the dataset and the layers in order."""
    root, values = start.copy(place)
    images = write_slices(place / "images" / "other", (20, 34, 66))
    write_slices(place / "images" / "layer", (20, 34, 66))
    shutil.rmtree(root)
    work({"source": str(images.parent), "voxel_size": "1,1,1", "target": str(root)})
    plan = plan_of(values)
    (first, second) = plan.of_rule("publish")
    with Run(plan).begun() as epoch:
        for task in [task for task in plan.tasks if task not in (first, second)] + [first]:
            run_task(plan, task, epoch)
    assert len(first.layers) == 1
    done = {path: path.stat().st_ino for path in (root / first.layers[0]).rglob("*") if path.is_file()}
    again = plan_of(values)
    assert [task.layers for task in again.tasks] == [second.layers]
    run_here(again)
    assert {path: path.stat().st_ino for path in done} == done
    assert not (root / ".wkpipe/remade").exists()
    assert not plan_of(values).is_empty, "a second command does it again"
    return root, [*first.layers, *second.layers]


def test_a_layer_that_is_done_is_not_begun_again(start: Start, tmp_path: Path) -> None:
    """The second of two layers is still under way when the run stops."""
    root, (_, second) = resumed_with_one_layer_done(start, tmp_path)
    assert mags_of(root, second) == ["1", "2", "4"]


def stopped_in_the_swap(start: Start, place: Path, at: str) -> tuple[Path, dict[str, Any]]:
    """Return a dataset whose overwriting was killed at the first call of a place in the code."""
    root, values = start.copy(place)
    number = next(i for i, site in enumerate(start.sites, 1) if at in site)
    assert in_child(lambda: work(values), FaultyOs(number, "kill")).exit_code is None
    assert (root / ".wkpipe/remade/layer/swap.json").exists()
    return root, values


@pytest.mark.parametrize("values", [{}, {"interpolation_mode": "max"}, {"coarsest_mag": "2"}])
def test_any_downsampling_ends_a_swap_first(start: Start, values: dict[str, Any], tmp_path: Path) -> None:
    root, _ = stopped_in_the_swap(start, tmp_path, "replace in names.rename < local.move_to < swap._replace")
    before = data_files(root)
    plan = plan_of({"target": str(root), **values})
    assert data_files(root) == before, "planning writes nothing"
    assert "took the place" in " ".join(plan.notes)
    assert "1 jobs, 0 storage shards to do" in plan_table(plan)
    run_here(plan)
    assert data_files(root) == start.new
    check_end(root)


def test_a_conversion_waits_for_the_end_of_a_swap(start: Start, tmp_path: Path) -> None:
    root, _ = stopped_in_the_swap(start, tmp_path, "replace in names.rename < local.move_to < swap._replace")
    conversion = json.loads((start.root / ".wkpipe/conversion.json").read_text())
    with pytest.raises(AlreadyExists, match="wkpipe downsample"):
        plan_of({**conversion["params"], "source": conversion["source"], "target": str(root)})


def test_a_damaged_note_is_refused_in_words(start: Start, tmp_path: Path) -> None:
    root, values = stopped_in_the_swap(start, tmp_path, "replace in names.rename < local.move_to < swap._replace")
    note = root / ".wkpipe/remade/layer/swap.json"
    for text in ("", "[]", '{"old": [], "new": [], "directories": ["../.."]}', '{"old": [3], "new": [], "directories": []}'):
        note.write_text(text)
        with pytest.raises(MetadataError, match=r"swap\.json.*--overwrite-existing"):
            plan_of(values)


def begin(values: Mapping[str, Any], tasks: int) -> None:
    """Do the first tasks of a run and stop."""
    plan = plan_of(values)
    with Run(plan).begun() as epoch:
        for task in plan.tasks[:tasks]:
            run_task(plan, task, epoch)


def test_what_was_begun_with_other_parameters_is_thrown_away(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin({**values, "interpolation_mode": "max"}, 1)
    assert proven_beside(root)
    assert data_files(root) == start.old
    work(values)
    assert data_files(root) == start.new
    check_end(root)


def test_with_its_layer_what_was_begun_beside_is_deleted(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin(values, 1)
    Dataset.open(root).delete_layer("layer")
    assert not list((root / ".wkpipe/remade").glob("*"))
    assert not (root / "layer").exists()


def test_an_overwriting_that_is_given_up_leaves_nothing(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    begin(values, 1)
    assert proven_beside(root)
    assert [(mag.mag, mag.origin) for mag in summarise(root).unfinished][:1] == [("2", "downsampled from 1 by nearest, again")]
    assert summarise(root).unfinished[0].done_units > 0
    work({"target": str(root), "coarsest_mag": "16"})
    assert mags_of(root) == ["1", "2", "4", "8", "16"]
    assert not (root / ".wkpipe/remade").exists()
    for mag in ("1", "2", "4", "8"):
        assert of_mag(data_files(root), mag) == of_mag(start.old, mag)


def test_the_plan_says_what_is_overwritten(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    assert "overwritten" in plan_table(plan_of(values))
    before = data_files(root)
    plan = plan_of({**values, "coarsest_mag": "1"})
    assert plan.is_empty
    assert data_files(root) == before


def other_tools(root: Path) -> None:
    """Put mags as another tool may leave them: one without a record, one under its long name."""
    shutil.rmtree(root / ".wkpipe/ledger/layer/2")
    shutil.rmtree(root / ".wkpipe/ledger/layer/8")
    (root / "layer/8").rename(root / "layer/8-8-8")

    def change(properties: Any) -> Any:
        layer = properties.layer("layer")
        entry = replace(layer.mag(Mag(8)), path="./layer/8-8-8")
        return properties.with_layer(layer.without_mag(Mag(8)).with_mag(entry))

    Locations(root, root / ".wkpipe").properties_file().update(change)


def test_mags_of_another_tool_go_wherever_they_lie(start: Start, tmp_path: Path) -> None:
    root, values = start.copy(tmp_path)
    other_tools(root)
    work(values)
    assert {name: digest for name, digest in data_files(root).items() if name != "datasource-properties.json"} == {
        name: digest for name, digest in start.new.items() if name != "datasource-properties.json"
    }
    assert properties_json(root)["dataLayers"][0]["mags"][-1]["mag"] == [4, 4, 4]
    check_end(root)


def test_a_state_elsewhere(start: Start, tmp_path: Path) -> None:
    """Ledgers are then in the state, arrays beside the dataset's own, on any file system of the state."""
    root, values = start.copy(tmp_path, state_dir=str(tmp_path / "state"))
    state = Locations.of(root, tmp_path / "state").state
    state.parent.mkdir()
    (root / ".wkpipe").rename(state)
    work(values)
    assert {n: d for n, d in data_files(root).items() if "/" in n} == {n: d for n, d in start.new.items() if "/" in n}
    assert not list((tmp_path / "state").glob("*/remade"))
    assert {path.name for path in (root / ".wkpipe").iterdir()} == {"dataset.json", "locks", "tmp"}
