"""The published marker of a layer: it depends only on the layer's data, in every run and copy, and changes when they do."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.steps.helpers import SIZING, Layer, noise, plan_of, run, shards, write_dataset
from tests.users import EVE, act, needs_root
from wkpipe.dataset.dataset import Dataset
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.stored.places import place_at
from wkpipe.stored.published import marker_object, marker_stem


def marker(root: Path, layer: str = "layer") -> Path:
    return marker_object(place_at(root / ".wkpipe"), layer).path


def for_snakemake(root: Path, **values: Any) -> Plan:
    """The plan as the Snakefile makes it, with a marker of every layer."""
    return make_plan(load_config({"target": root, **values}, "test"), SIZING, with_markers=True)


def known(path: Path) -> tuple[bytes, int, int]:
    status = path.stat()
    return path.read_bytes(), status.st_ino, status.st_mtime_ns


@pytest.fixture(params=["zarr3", "zarr", "wkw"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shard = None if request.param == "zarr" else (16, 16, 16)
    data = noise((1, 40, 30, 20), "u1", few=False)
    write_dataset(tmp_path / "dataset", Layer(data, data_format=request.param, shard=shard))
    run(tmp_path / "dataset")
    return tmp_path / "dataset"


def test_it_says_what_the_layer_is(dataset: Path) -> None:
    values = json.loads(marker(dataset).read_bytes())
    assert (values["layer"], values["category"], values["elementClass"]) == ("layer", "color", "uint8")
    assert values["boundingBox"] == {"topLeft": [0, 0, 0], "width": 40, "height": 30, "depth": 20}
    assert [mag["mag"] for mag in values["mags"]] == [[1, 1, 1], [2, 2, 2], [4, 4, 4]][: len(values["mags"])]
    assert len({mag["content"] for mag in values["mags"]}) == len(values["mags"]) > 1


def test_a_run_that_finds_nothing_new_leaves_it(dataset: Path) -> None:
    before = known(marker(dataset))
    assert plan_of(dataset).is_empty
    assert for_snakemake(dataset).is_empty
    shutil.rmtree(dataset / "layer" / "2")  # made again, with the same bytes
    run(dataset)
    assert known(marker(dataset)) == before
    for path in (*shards(dataset), *shards(dataset, mag="2")):
        os.utime(path, (1e9, 1e9))
    assert plan_of(dataset).units_to_prove
    run(dataset)  # also folds the ledger
    assert known(marker(dataset)) == before
    assert for_snakemake(dataset).is_empty


def test_a_copy_has_the_same(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(dataset, copy, copy_function=shutil.copy)
    before = marker(dataset).read_bytes()
    run(copy)
    assert marker(copy).read_bytes() == before
    marker(copy).unlink()
    run(copy)
    assert marker(copy).read_bytes() == before


def test_a_real_change_changes_it(dataset: Path) -> None:
    before = marker(dataset).read_bytes()
    view = Dataset.open(dataset).get_layer("layer").get_mag(1)
    old = view.read(absolute_offset=(0, 0, 0), size=(8, 8, 8))
    view.write(255 - old, absolute_offset=(0, 0, 0), allow_unaligned=True)
    run(dataset)
    changed = json.loads(marker(dataset).read_bytes())
    assert all(a["content"] != b["content"] for a, b in zip(changed["mags"], json.loads(before)["mags"], strict=True))
    assert for_snakemake(dataset).is_empty


@pytest.mark.parametrize("harm", ["deleted", "edited", "of another dataset", "empty", "a directory"])
def test_one_that_is_not_the_layers_is_written_again(dataset: Path, tmp_path: Path, harm: str) -> None:
    path, before = marker(dataset), marker(dataset).read_bytes()
    path.unlink()
    if harm == "edited":
        path.write_bytes(before.replace(b"uint8", b"uint9"))
    elif harm == "of another dataset":
        write_dataset(tmp_path / "other", Layer(noise((1, 20, 20, 20), "u1", 3)))
        run(tmp_path / "other")
        shutil.copy(marker(tmp_path / "other"), path)
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "a directory":
        path.mkdir()
    plan = plan_of(dataset)
    assert [task.rule for task in plan.tasks] == ["publish"]
    if harm == "a directory":
        return
    run_here(plan)
    assert path.read_bytes() == before
    assert plan_of(dataset).is_empty


def test_a_coarser_mag_of_a_later_run_is_in_it(tmp_path: Path) -> None:
    write_dataset(tmp_path, Layer(noise((1, 40, 40, 40), "u1")))
    run(tmp_path, coarsest_mag="2")
    assert [mag["mag"] for mag in json.loads(marker(tmp_path).read_bytes())["mags"]] == [[1, 1, 1], [2, 2, 2]]
    run(tmp_path, coarsest_mag="4")
    assert [mag["mag"] for mag in json.loads(marker(tmp_path).read_bytes())["mags"]] == [[1, 1, 1], [2, 2, 2], [4, 4, 4]]


def test_it_goes_with_the_layer(tmp_path: Path) -> None:
    write_dataset(tmp_path, *(Layer(noise((1, 20, 20, 20), "u1"), name=name) for name in ("one", "other", "third")))
    run(tmp_path)
    Dataset.open(tmp_path).delete_layer("other")
    assert not marker(tmp_path, "other").exists()
    properties = json.loads((tmp_path / "datasource-properties.json").read_text())
    properties["dataLayers"] = [layer for layer in properties["dataLayers"] if layer["name"] == "one"]
    (tmp_path / "datasource-properties.json").write_text(json.dumps(properties))
    marker(tmp_path, "one").unlink()
    run(tmp_path)
    assert marker(tmp_path, "one").exists()
    assert not marker(tmp_path, "third").exists()


def test_mags_of_another_tool_are_known_by_their_stamps(tmp_path: Path) -> None:
    """A whole pyramid that wkpipe has never worked on gets a marker only if a workflow requests it."""
    write_dataset(tmp_path / "made", Layer(noise((1, 20, 20, 20), "u1")))
    run(tmp_path / "made")
    foreign = tmp_path / "foreign"
    shutil.copytree(tmp_path / "made", foreign)
    shutil.rmtree(foreign / ".wkpipe")
    assert plan_of(foreign).is_empty
    plan = for_snakemake(foreign)
    assert [task.rule for task in plan.tasks] == ["publish"]
    run_here(plan)
    assert for_snakemake(foreign).is_empty
    before = marker(foreign).read_bytes()
    assert before != marker(tmp_path / "made").read_bytes()
    os.utime(shards(foreign, mag="2")[0], (1e9, 1e9))
    run_here(for_snakemake(foreign))
    after = json.loads(marker(foreign).read_bytes())["mags"]
    assert [a == b for a, b in zip(after, json.loads(before)["mags"], strict=True)] == [mag["mag"] != [2, 2, 2] for mag in after]


def test_a_mag_that_another_tool_has_made_again_is_another_one(tmp_path: Path) -> None:
    write_dataset(tmp_path, Layer(noise((1, 20, 20, 20), "u1")))
    run(tmp_path)
    before = json.loads(marker(tmp_path).read_bytes())["mags"]
    shutil.rmtree(tmp_path / "layer" / "1")
    write_dataset(tmp_path / "new", Layer(noise((1, 20, 20, 20), "u1", 5)))
    shutil.copytree(tmp_path / "new" / "layer" / "1", tmp_path / "layer" / "1")
    run(tmp_path)
    after = json.loads(marker(tmp_path).read_bytes())["mags"]
    assert all(a["content"] != b["content"] for a, b in zip(after, before, strict=True))


def test_a_layer_with_nothing_to_do_has_one_too(tmp_path: Path) -> None:
    """As if only an upload is requested, or the layer has a single mag."""
    write_dataset(tmp_path, Layer(noise((1, 4, 4, 4), "u1"), name="small"), Layer(noise((1, 20, 20, 20), "u1"), name="large"))
    run_here(for_snakemake(tmp_path, downsample=False))
    assert {path.name for path in marker(tmp_path).parent.iterdir()} == {"small.json", "large.json"}
    assert for_snakemake(tmp_path, downsample=False).is_empty
    run_here(for_snakemake(tmp_path, layer_name="large"))
    assert len(json.loads(marker(tmp_path, "large").read_bytes())["mags"]) > 1
    assert for_snakemake(tmp_path, layer_name="large").is_empty


def test_overwriting_changes_it(tmp_path: Path) -> None:
    write_dataset(tmp_path, Layer(np.asfortranarray(noise((1, 40, 40, 40), "u1", few=False))))
    run(tmp_path)
    before = json.loads(marker(tmp_path).read_bytes())["mags"]
    run(tmp_path, overwrite_existing=True, interpolation_mode="nearest")
    after = json.loads(marker(tmp_path).read_bytes())["mags"]
    assert [a["content"] == b["content"] for a, b in zip(after, before, strict=True)] == [mag["mag"] == [1, 1, 1] for mag in before]
    assert plan_of(tmp_path, interpolation_mode="nearest").is_empty


def test_another_box_or_voxel_size_is_another_identity(tmp_path: Path) -> None:
    data = noise((1, 20, 20, 20), "u1")
    write_dataset(tmp_path / "a", Layer(data))
    write_dataset(tmp_path / "b", Layer(data), voxel_size=(1, 1, 2))
    write_dataset(tmp_path / "c", Layer(data, category="segmentation"))
    for name in "abc":
        run(tmp_path / name, sampling_mode="isotropic", interpolation_mode="nearest")
    assert len({marker(tmp_path / name).read_bytes() for name in "abc"}) == 3


def test_any_name_of_a_layer_is_a_file_of_its_own() -> None:
    names = ["em", "EM", "a b", "a%20b", "{x}", "ü", "é" * 100, "é" * 99 + "e", "x" * 255, "x" * 254 + "y", ".."]
    stems = [marker_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert all(len(stem.encode()) <= 240 and not set(stem) & set("{}/ *?$'\"") for stem in stems)
    assert stems[0] == "em"


@needs_root
@pytest.mark.parametrize("harm", ["whole", "missing", "edited"])
def test_a_dataset_that_cannot_be_written_has_nothing_to_do(harm: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        Path(name).chmod(0o755)
        dataset = Path(name) / "dataset"
        write_dataset(dataset, Layer(noise((1, 20, 20, 20), "u1")))
        run(dataset)
        if harm == "missing":
            marker(dataset).unlink()
        elif harm == "edited":
            marker(dataset).write_bytes(b"")

        def check() -> None:
            for plan in (plan_of(dataset), for_snakemake(dataset)):
                assert plan.is_empty
                print(*plan.notes)

        done = act(check, EVE)
    assert done.code == 0, done.said
    assert ("is not up to date and cannot be written" in done.said) == (harm != "whole")
