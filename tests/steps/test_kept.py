"""Stale units of coarser mags: what did not change is copied, and the files are the same as if everything was made again."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps.helpers import Layer, data_files, noise, plan_of, shards, write_dataset
from wkpipe import BoundingBox, Dataset
from wkpipe.errors import ForeignMag
from wkpipe.geometry import Mag
from wkpipe.runs.run import Run
from wkpipe.steps import source_mag, unchanged, unit_stream
from wkpipe.steps.kept import Kept
from wkpipe.steps.task import run_task
from wkpipe.storage.change import MOST_CHANGES
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import UnitProof
from wkpipe.storage.record import OUTDATED
from wkpipe.stored.locations import Locations

MAGS = ("2", "4", "8")
CHUNK_SOURCE_BYTES = 16**3
"""Of a chunk of 8³ voxels of one byte, made from mag 1."""

SHAPES: dict[str, Any] = {"chunk_shape": (8, 8, 8), "shard_shape": (32, 32, 32)}


@pytest.fixture(autouse=True)
def _small_cubes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_stream, "bytes_of_cubes", lambda _: 1 << 14)
    monkeypatch.setattr(unchanged, "PART_BYTES", 1)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that gets the numbers of chunks, and of those that are made again, of each unit of which something is kept."""
    found: list[tuple[int, int]] = []
    check = Kept.check

    def noted(kept: Kept) -> None:
        found.append((sum(cube.grid.prod() for cube in kept.cubes), sum(cube.grid.prod() for cube in kept.again)))
        check(kept)

    monkeypatch.setattr(Kept, "check", noted)
    return found


def layer_of(data_format: str, dtype: str = "uint8", size: int = 70) -> Layer:
    return Layer(noise((1, size, size - 10, size - 20), dtype, 5), (5, 3, 9), data_format=data_format, shard=(32, 32, 32))


def downsample(root: Path, workers: int = 1, is_kept: bool = True, **values: Any) -> None:
    plan = plan_of(root, **SHAPES, **values)
    with pytest.MonkeyPatch.context() as patch, Run(plan).begun() as epoch:
        if not is_kept:
            patch.setattr(source_mag, "kept_part", lambda *_: None)
        for task in plan.tasks:
            run_task(plan, dataclasses.replace(task, threads=workers), epoch, fork=workers > 1)


def write(root: Path, first: tuple[int, ...], size: tuple[int, ...], value: int, mag: int = 1) -> None:
    view = Dataset.open(root).get_layer("layer").get_mag(mag)
    view.write(np.full(size, value, view.get_dtype()), absolute_bounding_box=BoundingBox(first, size), allow_unaligned=True)


def proofs_of(root: Path, mag: str) -> dict[tuple[int, ...], UnitProof]:
    records = Ledger.load(Locations.of(root).ledger("layer", Mag(mag))).records
    return {unit: dataclasses.replace(record.proof, stamp="") for unit, record in records.items()}


def check_as_if_made_again(root: Path, workers: int = 1, **values: Any) -> None:
    """Downsample, and compare with a copy of which nothing is kept."""
    copy = root.parent / "copy" / root.name
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(root, copy, copy_function=shutil.copy2)
    downsample(root, workers, **values)
    downsample(copy, is_kept=False, **values)
    assert data_files(root) == data_files(copy)
    for mag in MAGS:
        assert proofs_of(root, mag) == proofs_of(copy, mag)
    assert plan_of(root, **SHAPES, **values).is_empty


POSITIONS = st.tuples(st.integers(0, 60), st.integers(0, 50), st.integers(0, 40))
SIZES = st.tuples(*[st.integers(1, 20)] * 3)
WRITES = st.lists(st.tuples(POSITIONS, SIZES, st.integers(0, 3)), min_size=1, max_size=3)


@pytest.mark.slow
@pytest.mark.sampled(every=2)
@settings(max_examples=5)
@given(
    rounds=st.lists(WRITES, min_size=1, max_size=3),
    mode=st.sampled_from(["median", "bicubic", "nearest"]),
    workers=st.integers(1, 2),
    cubes=st.sampled_from([(4, 1), (16, 1), (16, 2), (16, 4)]),
)
@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_any_changes(temporary: Path, data_format: str, rounds: list[Any], mode: str, workers: int, cubes: tuple[int, int]) -> None:
    """`cubes`: the number of chunks in a cube, and in a part of one."""
    layer = layer_of(data_format)
    with tempfile.TemporaryDirectory(dir=temporary) as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_stream, "bytes_of_cubes", lambda _: cubes[0] * CHUNK_SOURCE_BYTES)
        patch.setattr(unchanged, "PART_BYTES", cubes[1] * CHUNK_SOURCE_BYTES)
        root = Path(directory) / "d"
        write_dataset(root, layer)
        downsample(root, interpolation_mode=mode)
        for writes in rounds:
            for first, size, value in writes:
                low = [a + t for a, t in zip(first, layer.topleft, strict=True)]
                fitting = [min(n, t + s - a) for a, n, t, s in zip(low, size, layer.topleft, layer.data.shape[1:], strict=True)]
                if min(fitting) > 0:
                    write(root, tuple(low), tuple(fitting), value)
            check_as_if_made_again(root, workers, interpolation_mode=mode)


@pytest.mark.parametrize("mode", ["median", "bicubic"])
def test_writes_in_any_order_and_at_borders_of_chunks(tmp_path: Path, used: list[tuple[int, int]], mode: str) -> None:
    """With bicubic, a voxel also depends on those beyond the border of its chunk."""
    root = tmp_path / "d"
    write_dataset(root, dataclasses.replace(layer_of("zarr3"), data=noise((1, 60, 24, 20), "uint8", 3, few=False)))
    downsample(root, interpolation_mode=mode)
    for x in (48, 32, 56):
        write(root, (x, 8, 16), (8, 8, 8), 255)
    used.clear()
    check_as_if_made_again(root, interpolation_mode=mode)
    assert used


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_several_chunks_keep_the_order_of_the_file(
    tmp_path: Path, parts: int, used: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cube of 16 chunks is 4 × 2 × 2 of them; parts of it are no cubes, and follow each other along another axis first."""
    monkeypatch.setattr(unit_stream, "bytes_of_cubes", lambda _: 16 * CHUNK_SOURCE_BYTES)
    monkeypatch.setattr(unchanged, "PART_BYTES", parts * CHUNK_SOURCE_BYTES)
    root = tmp_path / "d"
    write_dataset(root, dataclasses.replace(layer_of("zarr3"), data=noise((1, 70, 60, 50), "uint8", 3, few=False)))
    downsample(root)
    write(root, (20, 20, 20), (10, 10, 10), 2)
    used.clear()
    check_as_if_made_again(root)
    assert used


def test_cubes_that_cannot_be_split(tmp_path: Path, used: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_stream, "bytes_of_cubes", lambda _: 1)  # single chunks
    root = tmp_path / "d"
    write_dataset(root, layer_of("zarr3"))
    downsample(root)
    write(root, (20, 20, 20), (10, 10, 10), 2)
    used.clear()
    check_as_if_made_again(root)
    assert used
    assert all(0 < again < chunks for chunks, again in used), used


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_little_is_made_again_at_each_mag(tmp_path: Path, data_format: str, used: list[tuple[int, int]]) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer_of(data_format))
    downsample(root)
    write(root, (20, 20, 20), (10, 10, 10), 2)
    used.clear()
    check_as_if_made_again(root)
    assert len(used) == 2, "one unit of mag 2, one of mag 4; the only unit of mag 8 is too small"
    assert all(again * 8 <= cubes for cubes, again in used), used


def test_of_a_unit_that_another_tool_has_written_everything_counts_as_changed(tmp_path: Path, used: list[tuple[int, int]]) -> None:
    root = tmp_path / "d"
    layer = layer_of("zarr3")
    write_dataset(root, layer)
    downsample(root)
    other = tmp_path / "other" / "d"
    write_dataset(other, dataclasses.replace(layer, data=np.where(layer.data > 0, 9, layer.data).astype("u1")))
    file = shards(root, mag="1")[0]
    shutil.copy(other / file.relative_to(root), file)
    check_as_if_made_again(root)
    assert used
    assert all(0 < again < cubes for cubes, again in used), used


@pytest.mark.parametrize("damage", ["bit", "stamp", "gone", "none"])
def test_nothing_is_kept_of_a_unit_that_is_not_the_recorded_one(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer_of("zarr3"))
    downsample(root)
    write(root, (20, 20, 20), (10, 10, 10), 2)
    (file,) = [path for path in shards(root, mag="2") if path.parts[-5:] == ("c", "0", "0", "0", "0")]
    stat = file.stat()
    if damage in ("bit", "stamp"):
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + (damage == "stamp")))
    elif damage == "gone":
        file.unlink()
    copied: set[str] = set()
    check = Kept.check

    def noted(kept: Kept) -> None:
        check(kept)
        copied.add(kept._target.path.name)

    monkeypatch.setattr(Kept, "check", noted)
    sound = tmp_path / "sound" / "d"
    write_dataset(sound, layer_of("zarr3"))
    write(sound, (20, 20, 20), (10, 10, 10), 2)
    downsample(sound)
    assert not copied
    downsample(root)
    assert data_files(root) == data_files(sound)
    assert ("2" in copied) == (damage == "none")


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_run_that_ended_between_a_new_file_and_its_record(tmp_path: Path, is_noted: bool) -> None:
    """What it has begun to make again is made again; files that no run announced are another tool's."""
    root, sound = tmp_path / "d", tmp_path / "sound" / "d"
    for place in (root, sound):
        write_dataset(place, layer_of("zarr3"))
        downsample(place)
        write(place, (20, 20, 20), (10, 10, 10), 2)
    downsample(sound)
    (file,) = [path for path in shards(root, mag="2") if path.parts[-5:] == ("c", "0", "0", "0", "0")]
    shutil.copy(sound / file.relative_to(root), file)
    if is_noted:
        ledger = Locations.of(root).ledger("layer", Mag(2))
        with LedgerWriter(ledger, 1) as writer:
            writer.add(dataclasses.replace(Ledger.load(ledger).records[0, 0, 0, 0], origin=OUTDATED))
        downsample(root)
        assert data_files(root) == data_files(sound)
    else:
        with pytest.raises(ForeignMag, match="another tool has written 1 storage shard"):
            downsample(root)


def test_a_source_that_was_written_often_counts_as_changed(tmp_path: Path, used: list[tuple[int, int]]) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer_of("zarr3"))
    downsample(root)
    for value in range(1, MOST_CHANGES + 2):
        write(root, (20, 20, 20), (10, 10, 10), value)
    used.clear()
    check_as_if_made_again(root)
    assert used
    assert used[0] == (64, 8), "all that is made from this unit of mag 1"
