"""What happens to datasets in practice: one test for each row of the tables in docs/design/identity.md."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.attack.helpers import (
    FORMATS,
    LAYER,
    SIZE,
    assert_fresh,
    assert_sound,
    convert,
    data_files,
    downsample,
    everything,
    noise,
    picture,
    plan_of,
    read,
    refusal,
    run,
    values_of,
    verify,
    write_images,
)
from tests.attack.other_tools import OtherTool
from wkpipe import Dataset
from wkpipe.cli.app import run_app
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import Run, run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection

Converted = Callable[..., Path]


def shell(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def touched(root: Path) -> None:
    """Give every data file another time, as copies that do not keep times do."""
    for file in data_files(root):
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 7 * 10**9))


def write_half(root: Path, value: int) -> None:
    Dataset.open(root).layers[LAYER].get_mag(1).write(np.full((1, 32, 32, 16), value, "u1"), absolute_offset=(0, 0, 0))


# -- units with another stamp --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_with_the_recorded_content(data_format: str, converted: Converted) -> None:
    """The unit was copied or touched: nothing is made again, and the next run has nothing to check."""
    root = converted(data_format)
    touched(root)
    assert_sound(root)
    before = picture(root)
    downsample(root)
    assert picture(root) == before
    values = {key: value for key, value in values_of(data_format).items() if key != "data_format"}
    assert plan_of(root, **values).is_empty, "the records did not get the new times"


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_of_a_source_that_differs(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    root = tool.make(tmp_path / "ds", LAYER, noise(), data_format)
    downsample(root)
    tool.write(root, LAYER, 1, noise((16, 16, 16), seed=3))
    source = picture(root, "1")
    downsample(root)
    assert picture(root, "1") == source
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_of_a_made_mag_that_differs(data_format: str, converted: Converted, tool: OtherTool) -> None:
    """Another tool wrote it: it is kept, and no unit of that mag is written, not even one with a changed source."""
    root = converted(data_format)
    write_half(root, 5)
    tool.write(root, LAYER, 2, np.full((8, 8, 8), 99, "u1"), at=(32, 16, 0))
    before = picture(root, "2")
    code, text = refusal(lambda: downsample(root))
    assert code == 3, text
    assert f"layer {LAYER}" in text
    assert "mag 2" in text
    assert picture(root, "2") == before


def damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 3])


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_of_a_made_mag_that_does_not_decode(data_format: str, converted: Converted) -> None:
    root = converted(data_format)
    before = {name: content for name, (_, _, content) in picture(root).items()}
    damage(data_files(root, "2")[0])
    assert verify(root).problems
    downsample(root)
    assert {name: content for name, (_, _, content) in picture(root).items()} == before
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_unit_of_a_source_that_does_not_decode(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    root = tool.make(tmp_path / "ds", LAYER, noise(), data_format)
    downsample(root)
    file = data_files(root, "1")[0]
    damage(file)
    before = picture(root)
    code, text = refusal(lambda: downsample(root))
    assert code == 4, text
    assert "mag 1" in text or f"/{LAYER}/1/" in text
    assert picture(root) == before


# -- copies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cp -a", "moved", "renamed"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_copied_with_times_or_moved(data_format: str, way: str, converted: Converted, images: Path, tmp_path: Path) -> None:
    root = converted(data_format)
    other = tmp_path / ("elsewhere/ds" if way == "moved" else "other")
    other.parent.mkdir(exist_ok=True)
    if way == "cp -a":
        shell("cp", "-a", root, other)
    else:
        root.rename(other)
    before = everything(other)
    values = {key: value for key, value in values_of(data_format).items() if key != "data_format"}
    assert plan_of(other, **values).is_empty
    downsample(other)
    convert(images, other, data_format)
    assert everything(other) == before, "there was nothing to do"
    assert_sound(other)


@pytest.mark.parametrize("way", ["cp -r", "rsync -r", "tar -m"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_copied_without_times(data_format: str, way: str, converted: Converted, images: Path, tmp_path: Path) -> None:
    root, other = converted(data_format), tmp_path / "copy" / "ds"
    other.parent.mkdir()
    if shutil.which(way.split()[0]) is None:
        pytest.skip(f"{way}: no such program here")
    if way == "tar -m":
        shell("tar", "-C", tmp_path, "-cf", tmp_path / "ds.tar", "ds")
        shell("tar", "-C", other.parent, "-xmf", tmp_path / "ds.tar")
    else:
        shell(*way.split(), f"{root}" if way == "cp -r" else f"{root}/", other)
    before = picture(other)
    assert any(picture(root)[name][1] != time for name, (_, time, _) in before.items()), "the times were kept"
    assert_sound(other)
    downsample(other)
    convert(images, other, data_format)
    assert picture(other) == before, "proven units were made again"

    for place, value in ((root, 11), (other, 22)):
        write_half(place, value)
        downsample(place)
    for place, value in ((root, 11), (other, 22)):
        assert (read(place)[:32, :32, :16] == value).all()
        assert_fresh(place)
        assert_sound(place)


def test_older_data_and_newer_state_of_a_made_mag(converted: Converted, tmp_path: Path) -> None:
    root = converted()
    backup = Path(shutil.copytree(root / LAYER / "2", tmp_path / "older"))
    write_half(root, 5)
    downsample(root)
    shutil.rmtree(root / LAYER / "2")
    shutil.copytree(backup, root / LAYER / "2")
    before = picture(root)
    code, text = refusal(lambda: downsample(root))
    assert code == 3, text
    assert "mag 2" in text
    assert picture(root) == before
    downsample(root, overwrite_existing=True)
    assert_fresh(root)
    assert_sound(root)


def test_newer_data_and_older_state_of_a_made_mag(converted: Converted, tmp_path: Path) -> None:
    root = converted()
    backup = Path(shutil.copytree(root / ".wkpipe", tmp_path / "older"))
    write_half(root, 5)
    downsample(root)
    shutil.rmtree(root / ".wkpipe")
    shutil.copytree(backup, root / ".wkpipe")
    before = picture(root)
    code, text = refusal(lambda: downsample(root))
    assert code == 3, text
    assert picture(root) == before


@pytest.mark.parametrize("older", ["data", "state"])
def test_older_and_newer_of_a_source(older: str, tool: OtherTool, tmp_path: Path) -> None:
    """In a mag that is only read, a different unit counts as changed."""
    root = tool.make(tmp_path / "ds", LAYER, noise())
    downsample(root)
    what = root / LAYER / "1" if older == "data" else root / ".wkpipe" / "ledger" / LAYER / "1"
    backup = Path(shutil.copytree(what, tmp_path / "older"))
    tool.write(root, LAYER, 1, noise((16, 16, 16), seed=3))
    downsample(root)
    shutil.rmtree(what)
    shutil.copytree(backup, what)
    source = picture(root, "1")
    downsample(root)
    assert picture(root, "1") == source
    assert_fresh(root)
    assert_sound(root)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Return a function that mounts a directory read-only elsewhere."""
    mounts: list[Path] = []

    def shown(root: Path) -> Path:
        place = tmp_path / "archive"
        place.mkdir()
        if os.geteuid() != 0:
            pytest.skip("only root may mount")
        for command in (["mount", "--bind", root, place], ["mount", "-o", "remount,bind,ro", place]):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                pytest.skip(f"mount: {result.stderr.strip()}")
            if not mounts:
                mounts.append(place)
        return place

    yield shown
    for place in mounts:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("has_times", [True, False], ids=["times", "no-times"])
def test_read_only_archive(
    has_times: bool, converted: Converted, read_only: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = converted()
    if not has_times:
        touched(root)
    archive = read_only(root)
    before = everything(root)
    assert run_app(["info", str(archive)]) == 0
    assert run_app(["verify", str(archive), "--jobs", "1"]) == 0
    if has_times:
        assert run_app(["downsample", str(archive), "--coarsest-mag", "4", "--jobs", "1"]) == 0
    capsys.readouterr()
    for command in (["downsample", "--coarsest-mag", "8"], ["downsample", "--overwrite-existing"], ["verify", "--forget", LAYER]):
        assert run_app([command[0], str(archive), *command[1:]]) == 3, command
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1, error
        assert "read-only" in error.lower() or "not writable" in error.lower()
    assert everything(root) == before


def test_hard_linked_snapshot(converted: Converted, tmp_path: Path) -> None:
    """Files are replaced, never changed in place."""
    root = converted()
    shell("cp", "-al", root, tmp_path / "snapshot")
    bytes_before = {name: content for name, (_, _, content) in everything(tmp_path / "snapshot").items()}
    write_half(root, 5)
    downsample(root)
    downsample(root, overwrite_existing=True, interpolation_mode="max")
    repair_dataset(root, verify(root), Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert {name: content for name, (_, _, content) in everything(tmp_path / "snapshot").items()} == bytes_before
    assert_sound(tmp_path / "snapshot")


def test_layer_renamed_by_another_tool(converted: Converted) -> None:
    root = converted()
    properties = root / "datasource-properties.json"
    properties.write_text(properties.read_text().replace(f'"{LAYER}"', '"renamed"').replace(f"./{LAYER}/", "./renamed/"))
    (root / LAYER).rename(root / "renamed")
    before = picture(root)
    assert [problem for problem in verify(root).problems if problem.layer == "renamed"] == []
    run(root, layer_name="renamed", chunk_shape=8, shard_shape=16, coarsest_mag="8")
    assert {name: now for name, now in picture(root).items() if name in before} == before
    assert_fresh(root, (1, 2, 4, 8), layer="renamed")
    assert [problem for problem in verify(root, deep=True).problems if problem.layer == "renamed"] == []


@pytest.mark.parametrize("data_format", FORMATS)
def test_other_tool_downsamples_a_dataset_of_wkpipe(data_format: str, images: Path, tool: OtherTool, tmp_path: Path) -> None:
    root = convert(images, tmp_path / "ds", data_format, downsample=False)
    tool.downsample(root, LAYER, 4)
    assert_sound(root)
    before = picture(root)
    downsample(root, coarsest_mag="8")
    assert {name: now for name, now in picture(root).items() if name in before} == before
    assert_fresh(root, (1, 2, 4, 8))
    assert_sound(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_wkpipe_downsamples_a_dataset_of_another_tool(data_format: str, tool: OtherTool, tmp_path: Path) -> None:
    """Source units are adopted with digests, and the arrays of the other tool stay as they are."""
    root = tool.make(tmp_path / "ds", LAYER, noise(), data_format)
    before = {name: now for name, now in everything(root / LAYER / "1").items() if now[2]}
    downsample(root)
    assert {name: now for name, now in everything(root / LAYER / "1").items() if now[2]} == before
    records = Ledger.load(root / ".wkpipe/ledger" / LAYER / "1").records.values()
    assert records
    assert all(record.proof.is_fill or "xxh3-128/" in record.proof.digest for record in records), "a source unit has no digest"
    assert_fresh(root)
    assert_sound(root)


@pytest.mark.parametrize("states", [("a", "a"), ("a", "b"), ("a", None)], ids=["shared", "apart", "one-inside"])
def test_one_run_at_a_time_whatever_the_state_directories(states: tuple[str, str | None], converted: Converted, tmp_path: Path) -> None:
    """Lease and epoch are in the dataset, so runs with other state directories, on other hosts or of other users, see them."""
    root = converted()
    shutil.rmtree(root / ".wkpipe")
    first, second = ({} if name is None else {"state_dir": str(tmp_path / name)} for name in states)
    plan = plan_of(root, chunk_shape=8, shard_shape=16, coarsest_mag="8", **first)
    with Run(plan).begun():
        assert (root / ".wkpipe" / "locks").is_dir()
        before = picture(root)
        code, text = refusal(lambda: downsample(root, coarsest_mag="8", **second))
        assert code == 75, text
        assert picture(root) == before
    downsample(root, coarsest_mag="8", **second)
    assert_fresh(root, (1, 2, 4, 8))


# -- what a copy of a dataset does not keep --------------------------------------------------------------------------------


def test_ids_are_no_paths_or_inodes(converted: Converted, tmp_path: Path) -> None:
    """A restored backup has other inodes and another path, but it is the same dataset."""
    root = converted()
    shell("cp", "-a", root, tmp_path / "backup")
    shutil.rmtree(root)
    shell("cp", "-a", tmp_path / "backup", root)
    before = everything(root)
    downsample(root)
    assert everything(root) == before


def test_images_changed_in_a_copy_without_times(tmp_path: Path) -> None:
    """Units are proven by content and stay fresh: only the units of changed images are made again."""
    images = write_images(tmp_path / "images", noise())
    root = convert(images, tmp_path / "ds")
    shell("cp", "-r", root, tmp_path / "copy")
    copy, before = tmp_path / "copy", picture(tmp_path / "copy")
    changed = noise()
    changed[:, :, 20:] = 3
    for z in range(20, SIZE[2]):
        (images / f"s{z:03}.tif").unlink()
    write_images(tmp_path / "new", changed)
    for z in range(20, SIZE[2]):
        (tmp_path / "new" / f"s{z:03}.tif").rename(images / f"s{z:03}.tif")
    convert(images, copy)
    np.testing.assert_array_equal(read(copy), changed)
    assert_fresh(copy)
    kept = [name for name, now in picture(copy).items() if now == before[name]]
    assert sorted(name for name in kept if name.startswith(f"{LAYER}/1/")) == sorted(
        name for name in before if name.startswith(f"{LAYER}/1/") and name.endswith("/0")
    )
    assert_sound(copy)
