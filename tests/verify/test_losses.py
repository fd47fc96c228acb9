"""Lost data never reads as zeros: units without record and file, and blocks that lost one of their chunk files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.verify.helpers import LAYERS, data_files, names_of, records_of, replace_records
from wkpipe import Dataset
from wkpipe.errors import IntegrityError, MissingShard
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.verify.dataset import verify_dataset

Copies = Callable[[str], Path]

COARSER: dict[str, dict[str, Any]] = {
    "zarr3": {"chunk_shape": 16, "shard_shape": 32, "coarsest_mag": "8-8-4"},
    "zarr": {"chunk_shape": 16, "coarsest_mag": "8-8-4"},
    "wkw": {"chunk_shape": 16, "shard_shape": 32, "coarsest_mag": "8-8-4"},
}


def plan_of(root: Path, data_format: str) -> Plan:
    """Plan one more mag than exists: the others are made from mag 1, which is only read."""
    return make_plan(load_config({"target": str(root), **COARSER[data_format]}, "test"), Sizing.local(1))


def files_of(root: Path, data_format: str, mag: str, shard: str | None = None) -> list[Path]:
    layer = LAYERS[data_format]
    return [path for path in data_files(root) if names_of(root, path)[:2] == (layer, mag) and shard in (None, names_of(root, path)[2])]


# -- record and file are gone -----------------------------------------------------------------------------------------


def lose_unit(root: Path, data_format: str, mag: str) -> str:
    """Remove record and files of the last unit with data; return its name."""
    records = records_of(root, LAYERS[data_format], mag)
    lost = max((record for record in records if not record.proof.is_fill), key=lambda record: record.unit)
    replace_records(root, LAYERS[data_format], mag, [record for record in records if record is not lost])
    name = ".".join(map(str, lost.unit))
    for path in files_of(root, data_format, mag, name):
        path.unlink()
    return name


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_a_made_source_without_record_and_file_is_an_error(dataset: Copies, data_format: str) -> None:
    root = dataset(data_format)
    plan_of(root, data_format)
    name = lose_unit(root, data_format, "1")
    with pytest.raises(MissingShard, match="has no file and no proof that it is empty") as error:
        plan_of(root, data_format)
    assert error.value.exit_code == 4
    assert f"mag 1: storage shard {name}" in str(error.value)


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_verify_misses_record_and_file(dataset: Copies, data_format: str) -> None:
    root = dataset(data_format)
    name = lose_unit(root, data_format, "1")
    assert [(problem.mag, problem.shard) for problem in verify_dataset(root).problems] == [("1", name)]


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_record_and_file_that_go_after_planning_are_an_error(dataset: Copies, data_format: str) -> None:
    root = dataset(data_format)
    plan = plan_of(root, data_format)
    lose_unit(root, data_format, "4-4-2")
    with pytest.raises(IntegrityError):
        run_here(plan)
    assert not files_of(root, data_format, "8-8-4")


# -- one chunk file of a block is gone --------------------------------------------------------------------------------


def lose_chunk(root: Path, mag: str) -> tuple[Path, int]:
    """Remove one chunk file; return its path, and the number of files that the block had."""
    files = files_of(root, "zarr", mag)
    assert len(files) > 1
    files[-1].unlink()
    return files[-1], len(files)


def test_a_source_that_lost_one_chunk_file_is_an_error(dataset: Copies) -> None:
    root = dataset("zarr")
    _, count = lose_chunk(root, "1")
    with pytest.raises(MissingShard, match=f"mag 1: 1 of the {count} chunk files that the ledger recorded for block 0.0.0.0") as error:
        plan_of(root, "zarr")
    assert error.value.exit_code == 4


def test_a_derived_block_that_lost_one_chunk_file_is_made_again(dataset: Copies) -> None:
    root = dataset("zarr")
    before = {path: path.read_bytes() for path in files_of(root, "zarr", "2-2-1")}
    lost, _ = lose_chunk(root, "2-2-1")
    plan = plan_of(root, "zarr")
    assert any("mag 2-2-1: 1 storage shards are gone and will be made again" in note for note in plan.notes)
    run_here(plan)
    assert lost.exists()
    assert {path: path.read_bytes() for path in files_of(root, "zarr", "2-2-1")} == before


def test_verify_misses_one_chunk_file(dataset: Copies) -> None:
    root = dataset("zarr")
    _, count = lose_chunk(root, "1")
    (problem,) = verify_dataset(root).problems
    assert (problem.mag, problem.shard) == ("1", "0.0.0.0")
    assert f"{count - 1} files" in problem.what
    assert f"{count} files" in problem.what


def test_the_library_does_not_read_over_one_lost_chunk_file(dataset: Copies) -> None:
    root = dataset("zarr")
    _, count = lose_chunk(root, "1")
    with pytest.raises(MissingShard, match=f"lost 1 of {count} file"):
        Dataset.open(root, read_only=True).get_layer(LAYERS["zarr"]).get_mag(1).read()


def test_a_chunk_file_that_goes_after_planning_is_an_error(dataset: Copies) -> None:
    root = dataset("zarr")
    plan = plan_of(root, "zarr")
    lose_chunk(root, "4-4-2")
    with pytest.raises(IntegrityError, match="mag 4-4-2"):
        run_here(plan)
    assert not files_of(root, "zarr", "8-8-4")
