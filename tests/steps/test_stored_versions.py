"""This version finishes datasets of earlier versions of wkpipe, with recipes and ledgers as stored then.

Version 1 of the ledger had no digests and ids; version 2 has them.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.steps.helpers import data_files, plan_of, run, tree
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset

STORED = Path(__file__).parents[1] / "stored"
WHERE = "/srv/lab"
"""The path where the datasets were made, which their records of the images contain."""

MANY = Sizing(cores=3, least_seconds=0, target_seconds=1e-5)


@pytest.fixture
def version() -> int:
    return 1


@pytest.fixture
def lab(tmp_path: Path, version: int) -> Path:
    """The datasets of a version: one whole and one half made of each format, with the times of their files."""
    with zipfile.ZipFile(STORED / f"version_{version}.zip") as stored:
        stored.extractall(tmp_path)
    times = json.loads((tmp_path / "mtimes.json").read_text())
    for conversion in tmp_path.rglob("conversion.json"):
        conversion.write_text(conversion.read_text().replace(WHERE, str(tmp_path)))
    for name, mtime_ns in times.items():
        os.utime(tmp_path / name, ns=(mtime_ns, mtime_ns))
    return tmp_path


def values_of(lab: Path, data_format: str) -> dict[str, object]:
    values: dict[str, object] = {"source": str(lab / "em"), "voxel_size": [10, 10, 10], "data_format": data_format}
    values |= {"chunk_shape": [16] * 3, "coarsest_mag": "4"}
    return values if data_format == "zarr" else values | {"shard_shape": [32] * 3}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("data_format", ["zarr3", "wkw", "zarr"])
def test_a_half_made_dataset_is_finished(lab: Path, data_format: str) -> None:
    half, whole = lab / f"half_{data_format}", lab / f"whole_{data_format}"
    done = {name: facts for name, facts in tree(half / "em").items() if Path(name).is_file()}
    assert done
    plan = plan_of(half, MANY, **values_of(lab, data_format))
    assert plan.units_to_do < sum(len(mag.units()) for mag in plan.layers[0].mags)
    assert plan.units_to_prove == 0
    assert run_here(plan) == plan.units_to_do
    after = tree(half / "em")
    assert {name: after[name] for name in done} == done
    properties = "datasource-properties.json"
    want, got = data_files(whole), data_files(half)
    assert {name for name in want if name != properties and want[name] != got[name]} == set()
    assert verify_dataset(half).is_sound
    assert plan_of(half, MANY, **values_of(lab, data_format)).is_empty


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("data_format", ["zarr3", "wkw", "zarr"])
def test_a_whole_dataset_is_sound_and_up_to_date(lab: Path, data_format: str) -> None:
    whole = lab / f"whole_{data_format}"
    before = tree(whole)
    assert plan_of(whole, MANY, **values_of(lab, data_format)).is_empty
    assert plan_of(whole, MANY, coarsest_mag="4").is_empty
    assert verify_dataset(whole).is_sound
    assert tree(whole) == before


@pytest.mark.parametrize("data_format", ["zarr3", "wkw", "zarr"])
def test_without_its_times_nothing_of_a_made_mag_is_proven(lab: Path, data_format: str) -> None:
    """An old checksum equals nothing: the finest mag is read, and units made from it are made again, with the same bytes."""
    whole, copy = lab / f"whole_{data_format}", lab / "copy"
    shutil.copytree(whole, copy, copy_function=shutil.copyfile)
    want = data_files(whole)
    old = tokens(copy)
    plan = plan_of(copy, MANY, coarsest_mag="4")
    coarser = [mag for mag in plan.layers[0].mags if mag.mag != Mag(1)]
    assert run_here(plan) == plan.units_to_do == sum(len(mag.units()) for mag in coarser)
    assert {name for name, content in data_files(copy).items() if want[name] != content} == set()
    assert not set(old.values()) & set(tokens(copy).values())
    assert plan_of(copy, MANY, coarsest_mag="4").is_empty
    # From now on it has digests: another copy is proven, and nothing is made again.
    again = lab / "again"
    shutil.copytree(copy, again, copy_function=shutil.copyfile)
    assert run_here(plan_of(again, MANY, coarsest_mag="4")) == 0


def tokens(root: Path) -> dict[tuple[int, ...], str]:
    return {unit: record.token for unit, record in Ledger.load(Locations.of(root).ledger("em", Mag(1))).records.items()}


def test_converting_without_the_times_makes_all_again(lab: Path) -> None:
    whole = lab / "whole_zarr3"
    want = data_files(whole)
    for path in (whole / "em").rglob("c/*/*/*/*"):
        os.utime(path)
    plan = run(whole, MANY, **values_of(lab, "zarr3"))
    assert plan.units_to_do == sum(len(mag.units()) for mag in plan.layers[0].mags)
    assert data_files(whole) == want


@pytest.mark.parametrize("version", [2])
@pytest.mark.parametrize("data_format", ["zarr3", "wkw", "zarr"])
def test_a_copy_of_version_2_is_proven_by_its_digests(lab: Path, data_format: str) -> None:
    copy = lab / "copy"
    shutil.copytree(lab / f"whole_{data_format}", copy, copy_function=shutil.copyfile)
    plan = plan_of(copy, MANY, coarsest_mag="4")
    assert plan.units_to_prove > 0
    assert run_here(plan) == 0
    assert plan_of(copy, MANY, coarsest_mag="4").is_empty
