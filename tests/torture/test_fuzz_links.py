"""Links and paths that lead out of a dataset: files outside may be read, but are never written, changed or removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torture.fuzz_seeds import make_dataset, write_images
from wkpipe import Dataset
from wkpipe.errors import InputRefused, MetadataError, WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.summary import summarise


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("links")
    write_images(root / "images")
    make_dataset(root / "images" / "stack", root / "dataset", shard_shape=16)
    return root / "dataset"


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "dataset"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a directory beside the dataset with a file in it that must not be lost."""
    path = tmp_path / "outside"
    (path / "precious").mkdir(parents=True)
    (path / "precious" / "file").write_text("keep me")
    return path


def downsample(dataset: Path, **values: Any) -> None:
    run_here(make_plan(load_config({"target": str(dataset), **values}, "test"), Sizing.local(1)))


def contents(root: Path) -> dict[str, Any]:
    """Return everything below a directory, with times."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(root.rglob("*"))
    }


def move_out(path: Path, outside: Path) -> Path:
    """Move a directory out of the dataset and leave a link in its place."""
    there = outside / path.name
    path.rename(there)
    path.symlink_to(there)
    return there


def change_source(dataset: Path) -> None:
    """Write other voxels into mag 1, so that the coarser mags are stale."""
    view = Dataset.open(dataset).layers["stack"].get_mag(1)
    view.write(255 - view.read(), absolute_offset=(0, 0, 0), allow_unaligned=True)


def set_path(dataset: Path, mag: int, path: str) -> None:
    file = dataset / "datasource-properties.json"
    values = json.loads(file.read_text())
    next(entry for entry in values["dataLayers"][0]["mags"] if entry["mag"] == [mag] * 3)["path"] = path
    file.write_text(json.dumps(values))


def test_a_linked_layer_is_read_and_not_written(dataset: Path, outside: Path) -> None:
    expected = Dataset.open(dataset).layers["stack"].get_mag(2).read()
    move_out(dataset / "stack", outside)
    before = contents(outside)
    assert verify_dataset(dataset).is_sound
    assert not any(mag.error for layer in summarise(dataset).layers for mag in layer.mags)
    np.testing.assert_array_equal(Dataset.open(dataset).layers["stack"].get_mag(2).read(), expected)
    for values in ({"coarsest_mag": "8"}, {"overwrite_existing": True}, {"layer_name": "stack", "coarsest_mag": "16"}):
        with pytest.raises(InputRefused, match=r"leads out to .*outside/stack.* copy|is outside of the dataset"):
            downsample(dataset, **values)
    with pytest.raises(WkpipeError):
        change_source(dataset)
    with pytest.raises(WkpipeError):
        Dataset.open(dataset).layers["stack"].add_mag(8)
    assert contents(outside) == before


def test_a_layer_that_links_to_another_layer_does_not_write_into_it(dataset: Path) -> None:
    shutil.copytree(dataset / "stack", dataset / "other")
    shutil.rmtree(dataset / "stack")
    (dataset / "stack").symlink_to("other")
    before = contents(dataset / "other")
    with pytest.raises(InputRefused, match="leads out"):
        downsample(dataset, coarsest_mag="8")
    assert contents(dataset / "other") == before


def test_a_linked_source_is_read(dataset: Path, outside: Path) -> None:
    expected = Dataset.open(dataset).layers["stack"].get_mag(4).read()
    move_out(dataset / "stack" / "1", outside)
    before = contents(outside)
    downsample(dataset, overwrite_existing=True, coarsest_mag="4")
    np.testing.assert_array_equal(Dataset.open(dataset).layers["stack"].get_mag(4).read(), expected)
    assert contents(outside) == before


@pytest.mark.parametrize("link", [True, False])
def test_a_derived_mag_that_was_moved_out_is_a_source_that_is_only_read(dataset: Path, outside: Path, link: bool) -> None:
    there = move_out(dataset / "stack" / "2", outside)
    if not link:
        (dataset / "stack" / "2").unlink()
        set_path(dataset, 2, f"../outside/{there.name}")
    change_source(dataset)
    before = contents(outside)
    downsample(dataset, coarsest_mag="8")
    assert [str(mag) for mag in Dataset.open(dataset).layers["stack"].mags] == ["1", "2", "4", "8"]
    with pytest.raises(InputRefused, match="outside of the dataset"):
        downsample(dataset, overwrite_existing=True)
    assert contents(outside) == before


@pytest.mark.parametrize("path", ["../outside/1", "/{outside}/1", "./stack/../../outside/1", "stack/../1"])
def test_paths_that_lead_out_are_only_read(dataset: Path, outside: Path, path: str) -> None:
    shutil.move(dataset / "stack" / "1", dataset / "1" if path.startswith("stack") else outside / "1")
    set_path(dataset, 1, path.format(outside=str(outside).lstrip("/")))
    before = contents(outside)
    downsample(dataset, overwrite_existing=True, coarsest_mag="4")
    assert verify_dataset(dataset).is_sound
    assert not (dataset / "stack" / "1").exists()
    assert contents(outside) == before


@pytest.mark.parametrize("target", ["outside", "outside/precious", "nowhere"])
def test_a_new_mag_is_not_made_through_a_link(dataset: Path, outside: Path, target: str) -> None:
    (dataset / "stack" / "8").symlink_to(dataset.parent / target)
    before = contents(dataset.parent)
    for overwrite in (False, True):
        with pytest.raises(InputRefused, match="is a link that leads out"):
            downsample(dataset, coarsest_mag="8", overwrite_existing=overwrite)
    assert contents(dataset.parent) == before


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize("mag", [1, 2])
def test_a_linked_directory_within_a_mag_is_not_written_through(tmp_path: Path, outside: Path, data_format: str, mag: int) -> None:
    write_images(tmp_path / "images")
    dataset = tmp_path / "dataset"
    shards = {} if data_format == "zarr" else {"shard_shape": 16}
    make_dataset(tmp_path / "images" / "stack", dataset, data_format=data_format, **shards)
    change_source(dataset)
    inner = next(path for path in sorted((dataset / "stack" / str(mag)).rglob("*")) if path.is_dir() and path.name != "c")
    move_out(inner, outside)
    before = contents(outside)
    with pytest.raises(InputRefused, match=r"a link leads to .*outside/.* put a copy"):
        change_source(dataset) if mag == 1 else downsample(dataset)
    assert contents(outside) == before


@pytest.mark.parametrize("part", ["", "tmp", "runs", "locks", "ledger", "ledger/stack", "ledger/stack/8"])
def test_the_state_is_not_kept_through_a_link(dataset: Path, outside: Path, part: str) -> None:
    path = dataset / ".wkpipe" / part
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside)
    before = contents(outside)
    with pytest.raises(InputRefused, match=r"is a link that leads out to .*outside"):
        downsample(dataset, coarsest_mag="8")
    assert contents(outside) == before


@pytest.mark.parametrize(
    "name", ["..", ".", "../outside", "/outside", "a/b", "", ".hidden", "a\0b", "a\nb", "\x1b[2J", "\ud800", "x" * 256]
)
def test_layer_names_are_no_paths(dataset: Path, name: str) -> None:
    file = dataset / "datasource-properties.json"
    values = json.loads(file.read_text())
    values["dataLayers"][0]["name"] = name
    file.write_text(json.dumps(values))
    looks: list[Callable[[], Any]] = [
        lambda: Dataset.open(dataset).layers,
        lambda: summarise(dataset),
        lambda: downsample(dataset),
    ]
    for look in looks:
        with pytest.raises(MetadataError, match=r"dataLayers\[0\]\.name") as caught:
            look()
        assert str(caught.value).isprintable()
    (problem, *_) = verify_dataset(dataset).problems
    assert "dataLayers[0].name" in str(problem)
    assert str(problem).isprintable()


def test_a_linked_properties_file_is_replaced_and_not_written_through(dataset: Path, outside: Path) -> None:
    file = dataset / "datasource-properties.json"
    shutil.copy(file, outside / "properties.json")
    file.unlink()
    file.symlink_to(outside / "properties.json")
    before = contents(outside)
    downsample(dataset, coarsest_mag="8")
    assert contents(outside) == before
    assert not file.is_symlink()
