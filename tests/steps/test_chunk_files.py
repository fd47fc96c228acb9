"""Mags of chunk files: workers write them, and each source file is read once, also for its digest."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, run, write_dataset
from wkpipe.errors import TryAgain
from wkpipe.formats import open_array
from wkpipe.formats.noted_reads import NotedReads
from wkpipe.geometry import Mag
from wkpipe.runs.run import Run
from wkpipe.steps import unit_stream
from wkpipe.steps.task import run_task
from wkpipe.storage import local, opened
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import Record
from wkpipe.stored.locations import Locations

MAGS = ("1", "2", "4")


@pytest.fixture(params=["zarr", "zarr3"])
def layer(request: pytest.FixtureRequest) -> Layer:
    return Layer(noise((1, 30, 26, 20), "uint16", 5), (5, 3, 9), data_format=request.param, shard=None)


def downsample(root: Path, workers: int = 1, on_voxels: Callable[[int], None] = lambda _: None, **values: Any) -> None:
    """Downsample with forked workers, and a cube for each chunk."""
    plan = plan_of(root, **{"chunk_shape": (8, 8, 8), "shard_shape": (8, 8, 8)} | values)
    with pytest.MonkeyPatch.context() as patch, Run(plan).begun() as epoch:
        patch.setattr(unit_stream, "bytes_of_cubes", lambda _: 1)
        for task in plan.tasks:
            run_task(plan, dataclasses.replace(task, threads=workers), epoch, on_voxels, fork=workers > 1)


def records_of(root: Path, mag: str) -> dict[tuple[int, ...], Record]:
    return dict(Ledger.load(Locations.of(root).ledger("layer", Mag(mag))).records)


def test_workers_write_the_same_files_and_records(tmp_path: Path, layer: Layer) -> None:
    workers = 3
    roots = {count: tmp_path / str(count) / "d" for count in (1, workers)}
    for count, root in roots.items():
        write_dataset(root, layer)
        downsample(root, count)
        check_pyramid(root, layer, "median")
        assert not list(root.rglob("*.tmp"))
    assert data_files(roots[1]) == data_files(roots[workers])
    for mag in MAGS:
        proofs = [{unit: dataclasses.replace(r.proof, stamp="") for unit, r in records_of(root, mag).items()} for root in roots.values()]
        assert proofs[0] == proofs[1]
        array = open_array(roots[workers] / "layer" / mag, layer.data_format)
        assert all(record.proof == array.prove_unit(unit) for unit, record in records_of(roots[workers], mag).items())


@pytest.mark.parametrize("workers, mode", [(1, "median"), (2, "bicubic")])
def test_source_files_are_not_read_again_for_their_digests(
    tmp_path: Path, layer: Layer, workers: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer)
    files = [path for path in (root / "layer" / "1").rglob("*") if path.name.isdigit() and path.is_file()]
    times: Counter[str] = Counter()

    class Counted(opened.OpenFile):
        def __init__(self, path: str) -> None:
            times[path] += 1
            super().__init__(path)

    for module in (opened, local):
        monkeypatch.setattr(module, "OpenFile", Counted)
    downsample(root, workers, interpolation_mode=mode)
    in_this_process = [times[str(path)] for path in files]
    assert in_this_process == [1 if workers == 1 else 0] * len(files)
    array = open_array(root / "layer" / "1", layer.data_format)
    assert {unit: record.proof for unit, record in records_of(root, "1").items()} == {
        unit: array.prove_unit(unit) for unit in array.stored_units()
    }


def test_a_source_with_files_that_no_voxel_needs_is_read_whole(tmp_path: Path, layer: Layer) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer)
    used = next(path for path in (root / "layer" / "1").rglob("*") if path.name.isdigit() and path.is_file())
    beyond = used.with_name("99")
    beyond.write_bytes(used.read_bytes())
    downsample(root, 2)
    array = open_array(root / "layer" / "1", layer.data_format)
    (record,) = records_of(root, "1").values()
    assert record.proof.files == len(array.unit_keys(record.unit))
    assert record.proof == array.prove_unit(record.unit)


@pytest.mark.parametrize("is_read_already", [True, False])
def test_a_file_that_changes_meanwhile(tmp_path: Path, layer: Layer, is_read_already: bool) -> None:
    """What was read is what is recorded; a file that had changed before it was read stops the run."""
    root = tmp_path / "d"
    write_dataset(root, layer)
    files = sorted(path for path in (root / "layer" / "1").rglob("*") if path.name.isdigit() and path.is_file())
    file, other = (files[0], files[-1]) if is_read_already else (files[-1], files[0])
    calls: list[int] = []

    def change(_: int) -> None:
        calls.append(1)
        if len(calls) == (12 if is_read_already else 1):
            stat = file.stat()
            file.write_bytes(other.read_bytes())
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))

    if is_read_already:
        downsample(root, on_voxels=change)
        assert not plan_of(root).is_empty
    else:
        with pytest.raises(TryAgain, match="changed while it was being read"):
            downsample(root, on_voxels=change)
    run(root)
    array = open_array(root / "layer" / "1", layer.data_format)
    lead = tuple(slice(a, a + n) for a, n in zip((0, *layer.topleft), layer.data.shape, strict=True))
    check_pyramid(root, dataclasses.replace(layer, data=array.read([0] * 4, [s.stop for s in lead])[lead]), "median")


def test_a_file_with_two_contents_has_no_proof() -> None:
    noted = NotedReads((0, 2), (1, 3))
    noted.note((0, 3), b"a", 7)
    noted.note((0, 3), b"a", 7)
    proof = noted.proof(str)
    assert proof is not None
    assert (proof.files, proof.size) == (1, 1)
    noted.note((0, 4), b"b", 7)
    noted.note((0, 4), b"b", 8)
    assert noted.proof(str) is None
    noted.note((0, 4), b"b", 7)
    assert noted.proof(str) is None, "it stays unclear"


def test_an_empty_chunk_file_is_noted() -> None:
    noted = NotedReads((0,), (2,))
    noted.note((1,), b"", 7)
    proof = noted.proof(str)
    assert proof is not None
    assert (proof.files, proof.size) == (1, 0)
