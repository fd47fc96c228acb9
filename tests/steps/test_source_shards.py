"""The storage shards of another tool's mag are read once: for the voxels, and for their digests."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, write_dataset
from tests.steps.test_chunk_files import downsample, records_of
from wkpipe.errors import MissingShard, TryAgain
from wkpipe.formats import open_array
from wkpipe.formats.noted_reads import noted_bytes_of_shards
from wkpipe.formats.sharded import ShardedArray
from wkpipe.geometry import Mag
from wkpipe.plan.origins import budget
from wkpipe.storage.proof import UNKNOWN_CRC


@pytest.fixture(params=["wkw", "zarr3"])
def layer(request: pytest.FixtureRequest) -> Layer:
    return Layer(noise((1, 32, 32, 16), "uint16", 5), (0, 0, 0), data_format=request.param)


def shards_of(root: Path) -> list[Path]:
    known = {".wkw", ""}
    return sorted(p for p in (root / "layer" / "1").rglob("*") if p.is_file() and p.suffix in known and p.name != "header.wkw")


@pytest.mark.parametrize("workers", [1, 2])
def test_source_shards_are_not_read_again_for_their_digests(
    tmp_path: Path, layer: Layer, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "d"
    write_dataset(root, layer)

    def prove_unit(self: ShardedArray, unit: Sequence[int]) -> None:
        pytest.fail(f"{self.path}: {unit} is read again")

    with monkeypatch.context() as patch:
        patch.setattr(ShardedArray, "prove_unit", prove_unit)
        downsample(root, workers)
    check_pyramid(root, layer, "median")
    array = open_array(root / "layer" / "1", layer.data_format)
    records = {unit: record.proof for unit, record in records_of(root, "1").items() if not record.proof.is_fill}
    assert set(records) == set(array.stored_units())
    for unit, proof in records.items():
        whole = array.prove_unit(unit)
        assert whole is not None
        assert proof == dataclasses.replace(whole, crc32c=UNKNOWN_CRC)
    before = data_files(root)
    for path in shards_of(root):
        os.utime(path)
    downsample(root)
    assert data_files(root) == before, "touched files have the recorded content"
    assert plan_of(root, chunk_shape=(8, 8, 8), shard_shape=(8, 8, 8)).is_empty


@pytest.mark.parametrize("when", [1, 3])
def test_a_shard_that_changes_meanwhile(tmp_path: Path, layer: Layer, when: int) -> None:
    """A shard that is replaced while its mag is read stops the run, and nothing of it is recorded as read."""
    root = tmp_path / "d"
    write_dataset(root, layer)
    file, other = shards_of(root)[0], shards_of(root)[-1]
    assert file != other
    calls: list[int] = []

    def change(_: int) -> None:
        calls.append(1)
        if len(calls) == when:
            status = file.stat()
            content = other.read_bytes()
            file.unlink()
            file.write_bytes(content)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))

    with pytest.raises((TryAgain, MissingShard), match=r"changed (while it was being read|since this run began)"):
        downsample(root, on_voxels=change)
    assert len(calls) >= when
    assert not any(record.proof.digest for record in records_of(root, "1").values())


def test_the_memory_of_noted_reads_is_predicted(tmp_path: Path, layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "d", layer)
    plan = plan_of(tmp_path / "d").mag_plan("layer", Mag("2"))
    source = open_array(tmp_path / "d" / "layer" / "1", layer.data_format).spec
    peak = plan.origin.peak_bytes(plan, source, 1)
    monkeypatch.setattr(budget, "noted_bytes_of_shards", lambda *_: 0)
    shards, chunks = 2 * 2 * 1, 2 * 2 * 2
    assert peak - plan.origin.peak_bytes(plan, source, 1) == noted_bytes_of_shards(source, shards) == 24 * shards * chunks
