"""Samples and parts: deterministic, and together everything exactly once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verify.helpers import data_files, names_of
from wkpipe.errors import UsageError
from wkpipe.geometry import Mag
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.select import Selection, parse_part, parse_share

Copies = Callable[[str], Path]
UNITS = [(0, x, y, z) for x in range(7) for y in range(5) for z in range(3)]


def test_share_and_part_are_read() -> None:
    assert [parse_share(text) for text in ("5%", "0.05", "100%", ".5", "2.5%")] == [0.05, 0.05, 1.0, 0.5, 0.025]
    assert parse_part("3/10") == (3, 10)


@pytest.mark.parametrize("text", ["", "0%", "101%", "-1%", "nan", "1e9", "five"])
def test_no_share(text: str) -> None:
    with pytest.raises(UsageError, match="--sample"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "0/10", "11/10", "3", "3/0", "a/b", "-1/2"])
def test_no_part(text: str) -> None:
    with pytest.raises(UsageError, match="--part"):
        parse_part(text)


def test_sample_depends_on_the_seed_alone() -> None:
    mag = Mag(2)
    sample = Selection(share=0.1, seed=3).units("em", mag, UNITS)
    assert len(sample) == 11
    assert sample == [unit for unit in UNITS if unit in sample], "in the order of the units"
    assert sample == Selection(share=0.1, seed=3).units("em", mag, UNITS)
    assert sample != Selection(share=0.1, seed=4).units("em", mag, UNITS)
    assert sample != Selection(share=0.1, seed=3).units("em", Mag(4), UNITS)
    assert set(sample) < set(Selection(share=0.2, seed=3).units("em", mag, UNITS)), "a larger sample holds the smaller one"
    assert len(Selection(share=0.001).units("em", mag, UNITS)) == 1


@pytest.mark.parametrize("count", [0, 1, 3, 10, 57])
@pytest.mark.parametrize("parts", [1, 2, 10, 13])
def test_parts_are_everything_once(count: int, parts: int) -> None:
    covered = [index for number in range(1, parts + 1) for index in Selection(part=(number, parts)).of_this_part(count)]
    assert covered == list(range(count))


@pytest.mark.parametrize("share", [None, 0.4])
def test_parts_find_together_what_one_run_finds(dataset: Copies, share: float | None) -> None:
    root = dataset("zarr3")
    for file in data_files(root)[::2]:
        file.unlink()
    (root / "color/2-2-1/stray").write_bytes(b"?")
    (root / "zarr.json").unlink()
    whole = verify_dataset(root, selection=Selection(share=share))
    parts = [verify_dataset(root, selection=Selection(share=share, part=(number, 4))) for number in range(1, 5)]
    assert sorted(map(str, whole.problems)) == sorted(str(problem) for part in parts for problem in part.problems)
    assert sum(part.units for part in parts) == whole.units
    assert len(whole.problems) > 3


def test_sample_looks_at_its_share_only(dataset: Copies) -> None:
    root = dataset("wkw")
    selection = Selection(share=0.25, seed=1)
    chosen = {(str(mag), unit) for mag in map(Mag, ("1", "2-2-1", "4-4-2")) for unit in selection.units("Raw", mag, _units(root, mag))}
    for file in data_files(root):
        file.unlink()
    found = {(problem.mag, problem.unit) for problem in verify_dataset(root, selection=selection).problems}
    assert found
    assert found <= chosen
    assert {str(mag) for mag, _ in found} == {"1", "2-2-1", "4-4-2"}


def _units(root: Path, mag: Mag) -> list[tuple[int, ...]]:
    from wkpipe.verify.mag import MagOnDisk, open_to_read

    dataset = open_to_read(root)
    layer = dataset.properties.layers[0]
    return list(MagOnDisk.open(dataset, layer, layer.mag(mag)).units)


def test_one_file_lost_is_named_by_just_one_part(dataset: Copies) -> None:
    root = dataset("zarr3")
    file = data_files(root)[3]
    file.unlink()
    found = [problem for number in range(1, 8) for problem in verify_dataset(root, selection=Selection(part=(number, 7))).problems]
    assert [(problem.layer, problem.mag, problem.shard) for problem in found] == [names_of(root, file)]
