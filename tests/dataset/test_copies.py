"""Copies of mags, layers and datasets: the same voxels in other formats, again only what changed, and never over what is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_datasets import EDGE, FORMATS, make_small_dataset, voxels
from wkpipe import BoundingBox, Dataset, Layer, Mag, MagView, NDBoundingBox
from wkpipe.dataset.copying import layer_copies
from wkpipe.dataset.errors import DatasetDiffers, DatasetExists, DatasetNotFound, WrongType
from wkpipe.errors import (
    AlreadyExists,
    DamagedShard,
    ExistsDifferently,
    InputRefused,
    LayerNotFound,
    MagNotFound,
    MissingShard,
    NotWritable,
    TryAgain,
    WkpipeError,
)
from wkpipe.plan.build import make_copy_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.wishes.copying import CopyRequest, Recoding
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task
from wkpipe.storage.seal import VARIABLE
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.report import Kind

WRITABLE = ("zarr3", "zarr", "wkw")
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape", "ignore:layer .* WEBKNOSSOS shows")


def new_dataset(root: Path, name: str = "brain") -> Dataset:
    return Dataset(root / name, voxel_size=(4, 4, 40))


def noise(layer: Layer, seed: int = 0) -> Any:
    """Return voxels for mag 1 of a layer, some of them zero."""
    data = np.random.default_rng(seed).integers(1, 250, (layer.num_channels, *layer.bounding_box.size_xyz)).astype(layer.dtype)
    data[:, ::3, :, : data.shape[3] // 2] = 0
    return data


def source_mag(dataset: Dataset, box: BoundingBox, data_format: str = "zarr3", shard: int = 16, **values: Any) -> MagView:
    """Add a layer ``em`` with noise in mag 1, in storage shards of `shard` voxels."""
    layer = dataset.add_layer("em", "color", data_format=data_format, bounding_box=box, **values)
    mag = layer.add_mag(1, chunk_shape=8, shard_shape=8 if data_format == "zarr" else shard)
    mag.write(noise(layer), absolute_offset=box.topleft, allow_unaligned=True)
    return mag


def identities(mag: MagView) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of every file with voxels of a mag."""
    files = [path for path in mag.path.rglob("*") if path.is_file() and path.suffix not in (".json", ".ome") and path.name[0] != "."]
    return {str(path.relative_to(mag.path)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def entries(root: Path) -> set[str]:
    """Return what is in a dataset, without wkpipe's own part."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if ".wkpipe" not in path.parts}


def request_of(source: Dataset, target: Dataset) -> CopyRequest:
    """Ask for a copy of the layer ``em``, in Zarr 3."""
    stored = source._live.stored()
    copies = layer_copies(target._live.current(), stored, stored.layer("em"), None, "zarr3", Recoding(), False)
    return CopyRequest(target.path, (copies,))


boxes = st.tuples(*[st.integers(0, 20)] * 3, *[st.integers(1, 40)] * 3).map(lambda v: BoundingBox(v[:3], v[3:]))


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("target", WRITABLE)
@pytest.mark.parametrize("source", WRITABLE)
@settings(max_examples=4)
@given(
    box=boxes,
    chunk=st.sampled_from([None, 8, 16]),
    shards=st.sampled_from([1, 2, 4]),
    channels=st.integers(1, 3),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    compress=st.sampled_from([None, True, False]),
    number=st.uuids(),
)
def test_all_formats_hold_the_same_voxels(
    source: str,
    target: str,
    box: BoundingBox,
    chunk: int | None,
    shards: int,
    channels: int,
    dtype: str,
    compress: bool | None,
    number: object,
    temporary: Path,
) -> None:
    root = temporary / str(number)
    mag = source_mag(new_dataset(root, "raw"), box, source, dtype=dtype, num_channels=channels)
    layer = new_dataset(root).add_layer("em", "color", data_format=target, dtype=dtype, num_channels=channels)
    shard = None if target == "zarr" else (chunk or 8) * shards
    copy = layer.add_mag_as_copy(mag, chunk_shape=chunk, shard_shape=shard, compress=compress)
    assert copy.bounding_box == mag.bounding_box
    assert np.array_equal(copy.read(), mag.read())
    assert copy.info.chunk_shape.x == (chunk or 8)
    assert copy.info.compression_mode is (compress is not False)
    shutil.rmtree(root)


@pytest.mark.parametrize("data_format", FORMATS)
def test_other_tools_data_are_copied(data_format: str, tmp_path: Path) -> None:
    source = Dataset.open(make_small_dataset(tmp_path / "raw", data_format))
    copy = new_dataset(tmp_path).add_layer_as_copy(source.get_layer("color"), "copy")
    assert copy.data_format == (data_format if data_format in WRITABLE else "zarr3")
    assert copy.bounding_box == BoundingBox((0, 0, 0), (EDGE, EDGE, EDGE))
    assert np.array_equal(copy.get_mag(1).read(), voxels())
    assert verify_dataset(tmp_path / "brain").problems == ()


def test_only_the_channels_and_times_of_the_layer_are_copied(tmp_path: Path) -> None:
    box = NDBoundingBox((0, 0, 0, 0, 0), (3, 2, 20, 20, 10), ("t", "c", "x", "y", "z"))
    layer = new_dataset(tmp_path, "raw").add_layer("movie", "color", bounding_box=box)
    data = np.random.default_rng(0).integers(1, 255, (3, 2, 20, 20, 10), dtype=np.uint8)
    layer.add_mag(1, chunk_shape=8, shard_shape=16).write(data, allow_unaligned=True)
    target = new_dataset(tmp_path)
    copy = target.add_layer_as_copy(layer, data_format="zarr", chunk_shape=16)
    assert copy.bounding_box.axes == box.axes
    assert np.array_equal(copy.get_mag(1).read(), data)
    with pytest.raises(InputRefused):
        target.add_layer_as_copy(layer, "other", data_format="wkw")
    with pytest.raises(ExistsDifferently, match="additional axes"):
        target.add_layer("em", "color", num_channels=2).add_mag_as_copy(layer.get_mag(1))


def test_a_channel_of_a_shared_array_is_copied_alone(tmp_path: Path) -> None:
    make_small_dataset(tmp_path / "raw", "zarr3")
    file = tmp_path / "raw" / "datasource-properties.json"
    one = file.read_text().replace('"uint24"', '"uint8"').replace('"numChannels": 3', '"numChannels": 1')
    file.write_text(one.replace('"path": "./color/1"', '"path": "./color/1", "channelIndex": 2'))
    copy = new_dataset(tmp_path).add_layer_as_copy(tmp_path / "raw" / "color", data_format="wkw")
    assert np.array_equal(copy.get_mag(1).read(), voxels()[2:])


@pytest.mark.parametrize("data_format", WRITABLE)
def test_a_second_call_copies_only_what_changed(data_format: str, tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (64, 32, 16)), data_format)
    layer = new_dataset(tmp_path).add_layer("em", "color")
    copy = layer.add_mag_as_copy(mag, shard_shape=16)
    first = identities(copy)
    assert len(first) == 8
    layer.add_mag_as_copy(mag, shard_shape=16, exists_ok=True)
    assert identities(copy) == first
    mag.write(np.full((16, 16, 16), 9, np.uint8), absolute_offset=(32, 16, 0))
    layer.add_mag_as_copy(mag, shard_shape=16, exists_ok=True)
    now = identities(copy)
    assert np.array_equal(copy.read(), mag.read())
    changed = {name for name in now if now[name] != first[name]}
    # A block of chunk files is one unit, so that one change makes all that is copied from it pending.
    assert changed == ({*now} if data_format == "zarr" else {"c/0/2/1/0"})


def test_data_of_other_tools_are_recognised_by_their_files(tmp_path: Path) -> None:
    source = make_small_dataset(tmp_path / "raw", "zarr3")
    target = new_dataset(tmp_path)
    copy = target.add_layer_as_copy(source / "color").get_mag(1)
    first = identities(copy)
    target.add_layer_as_copy(source / "color", exists_ok=True)
    assert identities(copy) == first
    chunk = source / "color" / "1" / "c" / "0" / "0" / "0" / "0"
    os.utime(chunk, ns=(1, 1))
    target.add_layer_as_copy(source / "color", exists_ok=True)
    assert identities(copy) != first
    assert np.array_equal(copy.read(), voxels())


def test_a_source_that_lost_its_times_is_copied_as_it_is(tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (32, 32, 16)))
    shutil.copytree(tmp_path / "raw", tmp_path / "moved", copy_function=shutil.copyfile)
    copy = new_dataset(tmp_path).add_layer_as_copy(tmp_path / "moved" / "em").get_mag(1)
    assert np.array_equal(copy.read(), mag.read())


def test_a_source_that_changes_while_it_is_read_stops_the_copy(tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (32, 32, 16)))
    target = new_dataset(tmp_path)
    plan = make_copy_plan(request_of(mag.layer.dataset, target), Sizing.local(1))
    with Run(plan).begun() as epoch, pytest.raises(TryAgain, match="changed while it was being read"):
        run_task(plan, plan.tasks[0], epoch, on_voxels=lambda _: os.utime(mag.path / "c" / "0" / "0" / "0" / "0"))
    assert not target.layers
    assert np.array_equal(target.add_layer_as_copy(mag.layer).get_mag(1).read(), mag.read())


@pytest.mark.parametrize("data_format", WRITABLE)
def test_lost_files_of_the_source_are_not_copied_as_zeros(data_format: str, tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (64, 32, 16)), data_format)
    layer = new_dataset(tmp_path).add_layer("em", "color")
    before = entries(tmp_path / "brain")
    lost = mag.path / min(name for name in identities(mag) if name != "header.wkw")
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(MissingShard):
        layer.add_mag_as_copy(mag)
    assert entries(tmp_path / "brain") == before
    assert layer.bounding_box.is_empty()
    lost.write_bytes(content)
    assert np.array_equal(layer.add_mag_as_copy(mag).read(), mag.read())


def test_a_damaged_source_is_refused_and_resumed_after_its_repair(tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (64, 32, 16)), "wkw")
    layer = new_dataset(tmp_path).add_layer("em", "color")
    damaged = mag.path / "z0" / "y1" / "x2.wkw"
    good, stamp = damaged.read_bytes(), damaged.stat().st_mtime_ns
    damaged.write_bytes(good[:-9] + bytes(9))
    os.utime(damaged, ns=(stamp, stamp))
    with pytest.raises(DamagedShard, match=r"0\.2\.1\.0: damaged"):
        layer.add_mag_as_copy(mag)
    assert not layer.mags
    damaged.write_bytes(good)
    os.utime(damaged, ns=(stamp, stamp))
    assert np.array_equal(layer.add_mag_as_copy(mag).read(), mag.read())


class Watching:
    """An executor that does each call at once, and notes what the layer is after it."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.seen: list[tuple[BoundingBox, tuple[Mag, ...]]] = []

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        try:
            answer.set_result(call(*arguments))
        except WkpipeError as error:
            answer.set_exception(error)
        self.seen.append((self.layer.bounding_box, tuple(self.layer.mags)))
        return answer


def test_the_box_grows_with_the_mag(tmp_path: Path) -> None:
    """A copy that fails leaves the box as it was; one that succeeds changes box and mags at once, and the other mags stay proven."""
    small, large = BoundingBox((0, 0, 0), (16, 16, 16)), BoundingBox((0, 0, 0), (224, 160, 80))
    layer = new_dataset(tmp_path).add_layer("em", "color", bounding_box=small)
    first = layer.add_mag(1, chunk_shape=32, shard_shape=32)
    first.write(np.full((16, 16, 16), 5, np.uint8))
    layer.downsample_mag(Mag(1), Mag(2))
    source = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((8, 0, 0), (48, 40, 20)))
    damaged = source.path / max(identities(source))
    good, stamp = damaged.read_bytes(), damaged.stat().st_mtime_ns
    damaged.write_bytes(good[:-9] + bytes(9))
    os.utime(damaged, ns=(stamp, stamp))
    watching = Watching(layer)
    with pytest.raises(DamagedShard):
        layer.add_mag_as_copy(source, mag=4, executor=watching)
    assert {*watching.seen} == {(small, (Mag(1), Mag(2)))}
    assert (first.read() == 5).all()
    assert not verify_dataset(layer.dataset.path).problems
    damaged.write_bytes(good)
    os.utime(damaged, ns=(stamp, stamp))
    layer.add_mag_as_copy(source, mag=4, executor=(watching := Watching(layer)))
    assert {*watching.seen} <= {(small, (Mag(1), Mag(2))), (large, (Mag(1), Mag(2), Mag(4)))}
    assert watching.seen[-1][0] == large
    assert np.array_equal(layer.get_mag(4).read()[:, 8:], source.read())
    assert first.read().shape == (1, *large.size)
    assert (first.read()[:, :16, :16, :16] == 5).all()
    assert first.read().sum() == 5 * 16**3
    stale = {problem.kind for problem in verify_dataset(layer.dataset.path).problems}
    assert stale <= {Kind.STALE}, "the mag that is made of the grown one"


def test_a_grown_source_takes_the_box_of_its_copy_along(tmp_path: Path) -> None:
    """Voxels that are nothing but fill value are no work, but the box still grows."""
    source = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (32, 32, 16)))
    copy = new_dataset(tmp_path).add_layer_as_copy(source.layer)
    source.layer.bounding_box = BoundingBox((0, 0, 0), (60, 32, 16))
    copy.add_mag_as_copy(source, exists_ok=True)
    assert copy.bounding_box == source.layer.bounding_box
    assert np.array_equal(copy.get_mag(1).read(), source.read())
    assert not verify_dataset(copy.dataset.path).problems


def test_a_copy_may_be_another_mag_and_need_not_extend_the_box(tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((8, 4, 2), (32, 32, 16)))
    target = new_dataset(tmp_path)
    layer = target.add_layer("em", "color")
    assert layer.add_mag_as_copy(mag, mag="2-2-1").bounding_box == BoundingBox((16, 8, 2), (64, 64, 16))
    assert np.array_equal(layer.get_mag("2-2-1").read(), mag.read())
    small = target.add_layer("small", "color", bounding_box=BoundingBox((0, 0, 0), (20, 20, 20)))
    copy = small.add_mag_as_copy(str(mag.path), extend_layer_bounding_box=False)
    assert small.bounding_box == BoundingBox((0, 0, 0), (20, 20, 20))
    wanted = np.zeros((1, 20, 20, 20), np.uint8)
    wanted[:, 8:, 4:, 2:18] = mag.read()[:, :12, :16]
    assert np.array_equal(copy.read(), wanted)


def test_all_mags_and_properties_of_a_dataset_are_copied(tmp_path: Path) -> None:
    raw = new_dataset(tmp_path, "raw")
    source_mag(raw, BoundingBox((0, 0, 0), (64, 64, 16)), "wkw").layer.downsample(coarsest_mag=4)
    cells = raw.add_layer("cells", "segmentation", dtype="uint32", largest_segment_id=77, mappings=["a"])
    raw.add_layer("left-out", "color")
    copy = raw.copy_dataset(tmp_path / "copy", data_format="zarr3", layers_to_ignore=["left-out"])
    assert (copy.name, copy.voxel_size, [*copy.layers]) == ("copy", raw.voxel_size, ["em", "cells"])
    for mag, view in raw.get_layer("em").mags.items():
        assert np.array_equal(copy.get_layer("em").get_mag(mag).read(), view.read())
    assert copy.get_segmentation_layer("cells").largest_segment_id == cells.largest_segment_id
    assert verify_dataset(tmp_path / "copy").problems == ()
    first = identities(copy.get_layer("em").get_mag(1))
    source = raw.get_layer("em")
    source.add_mag_as_copy(source.get_mag(1), mag=8, extend_layer_bounding_box=False)
    again = raw.copy_dataset(tmp_path / "copy", data_format="zarr3", layers_to_ignore=["left-out"], exists_ok=True)
    assert identities(again.get_layer("em").get_mag(1)) == first
    assert np.array_equal(again.get_layer("em").get_mag(8).read(), source.get_mag(8).read())


REFUSED: dict[str, tuple[type[Exception], Callable[[Dataset, Dataset], object]]] = {
    "mag exists": (IndexError, lambda raw, brain: raw.get_layer("em").add_mag_as_copy(raw.get_layer("em").get_mag(1))),
    "other mag": (AlreadyExists, lambda raw, brain: raw.get_layer("em").add_mag_as_copy(raw.path / "em" / "1", exists_ok=True)),
    "dtype": (AssertionError, lambda raw, brain: brain.get_layer("cells").add_mag_as_copy(raw.get_layer("em").get_mag(1))),
    "no dataset": (DatasetNotFound, lambda raw, brain: brain.get_layer("em").add_mag_as_copy("nowhere/em/1")),
    "no layer": (LayerNotFound, lambda raw, brain: brain.get_layer("em").add_mag_as_copy(raw.path / "nothing" / "1")),
    "no mag": (MagNotFound, lambda raw, brain: brain.get_layer("em").add_mag_as_copy(raw.path / "em" / "2")),
    "no path": (WrongType, lambda raw, brain: brain.get_layer("em").add_mag_as_copy(1)),  # type: ignore[arg-type]
    "chunk": (InputRefused, lambda raw, brain: brain.get_layer("em").add_mag_as_copy(raw.path / "em" / "1", chunk_shape=33)),
    "two shapes": (
        InputRefused,
        lambda raw, brain: brain.get_layer("em").add_mag_as_copy(raw.path / "em" / "1", shard_shape=32, chunks_per_shard=2),
    ),
    "layer exists": (IndexError, lambda raw, brain: brain.add_layer_as_copy(raw.get_layer("em"))),
    "format": (NotWritable, lambda raw, brain: brain.add_layer_as_copy(raw.get_layer("em"), "new", data_format="n5")),
    "other format": (
        ExistsDifferently,
        lambda raw, brain: brain.add_layer_as_copy(raw.get_layer("em"), data_format="wkw", exists_ok=True),
    ),
    "name": (InputRefused, lambda raw, brain: brain.add_layer_as_copy(raw.get_layer("em"), "a/b")),
    "dataset exists": (DatasetExists, lambda raw, brain: raw.copy_dataset(brain.path)),
    "inside": (InputRefused, lambda raw, brain: raw.copy_dataset(raw.path / "copy")),
    "mag inside": (InputRefused, lambda raw, brain: raw.get_layer("em").get_mag(1).rechunk(target_path=raw.path / "em" / "copy")),
    "voxel size": (DatasetDiffers, lambda raw, brain: raw.copy_dataset(brain.path, voxel_size=(1, 1, 1), exists_ok=True)),
    "ignored": (LayerNotFound, lambda raw, brain: raw.copy_dataset(raw.path.parent / "new", layers_to_ignore=["none"])),
    "second layer": (InputRefused, lambda raw, brain: raw.copy_dataset(raw.path.parent / "new", data_format="wkw", shard_shape=(8, 8, 16))),
    "read-only": (RuntimeError, lambda raw, brain: Dataset.open(brain.path, read_only=True).add_layer_as_copy(raw.get_layer("em"), "new")),
}


@pytest.mark.filterwarnings("ignore:chunks_per_shard is deprecated")
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_call_leaves_nothing(case: str, tmp_path: Path) -> None:
    raw, brain = new_dataset(tmp_path, "raw"), new_dataset(tmp_path)
    source_mag(raw, BoundingBox((0, 0, 0), (16, 16, 16)))
    brain.add_layer("em", "color")
    brain.add_layer("cells", "segmentation", dtype="uint32")
    before = entries(tmp_path), (brain.path / "datasource-properties.json").read_bytes()
    kind, call = REFUSED[case]
    with pytest.raises(kind):
        call(raw, brain)
    assert (entries(tmp_path), (brain.path / "datasource-properties.json").read_bytes()) == before


def test_a_copy_that_is_stored_in_another_way_is_not_replaced(tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (32, 32, 16)))
    layer = new_dataset(tmp_path).add_layer("em", "color")
    layer.add_mag_as_copy(mag)
    with pytest.raises(ExistsDifferently):
        layer.add_mag_as_copy(mag, chunk_shape=16, exists_ok=True)
    layer.get_mag(1).write(np.zeros((16, 16, 16), np.uint8))
    with pytest.raises(AlreadyExists, match="not a copy"):
        layer.add_mag_as_copy(mag, exists_ok=True)


@pytest.mark.slow
def test_jobs_copy_what_the_library_copies(tmp_path: Path) -> None:
    raw = new_dataset(tmp_path, "raw")
    source_mag(raw, BoundingBox((3, 5, 7), (29, 11, 9)), "wkw", num_channels=2)
    expected = new_dataset(tmp_path).add_layer_as_copy(raw.get_layer("em"), data_format="zarr3").get_mag(1)
    target = new_dataset(tmp_path, "by-jobs")
    plan = make_copy_plan(request_of(raw, target), Sizing(cores=2, least_seconds=0, target_seconds=0.02, threads=2))
    assert [task.rule for task in plan.tasks][:2] == ["copy", "copy"]
    run = Run(plan)
    with run.begun():
        for task in plan.tasks:
            command = [sys.executable, "-P", "-m", "wkpipe", "step", str(run.directory), task.name]
            subprocess.run(command, env={**os.environ, VARIABLE: run.seal.variable}, check=True)
    found = target.get_layer("em").get_mag(1)
    files = {str(path.relative_to(expected.path)) for path in expected.path.rglob("*") if path.is_file()}
    assert files == {str(path.relative_to(found.path)) for path in found.path.rglob("*") if path.is_file()}
    assert all((expected.path / name).read_bytes() == (found.path / name).read_bytes() for name in files if name != "zarr.json")


@pytest.mark.parametrize("name", ["add_copy_mag", "add_fs_copy_mag"])
def test_old_names_warn(name: str, tmp_path: Path) -> None:
    mag = source_mag(new_dataset(tmp_path, "raw"), BoundingBox((0, 0, 0), (16, 16, 16)))
    layer = new_dataset(tmp_path).add_layer("em", "color")
    with pytest.deprecated_call(match=f"{name} is deprecated"):
        copy = getattr(layer, name)(mag)
    assert np.array_equal(copy.read(), mag.read())
