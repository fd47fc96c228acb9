"""The demo's sample is good: grey slices with dark membranes, and labels that agree with them and continue along z."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from demo import make_sample
from demo.make_sample import Cut, Tissue, cut_slice, draw_em, make_tissue, write_sample

SHAPE = (128, 96, 12)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return make_tissue(SHAPE, seed=3)


@pytest.fixture(scope="module")
def cut(tissue: Tissue) -> Cut:
    return cut_slice(tissue, 5)


def test_same_seed_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert write_sample(tmp_path / name, SHAPE, seed)
    files = [sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.tif"))]
    assert len(files[0]) == 2 * SHAPE[2]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files[0])
    assert any((tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes() for file in files[0])


def test_stacks_have_the_promised_types(tmp_path: Path) -> None:
    write_sample(tmp_path, SHAPE, 1)
    em, labels = (tifffile.imread(tmp_path / stack / f"{stack}_0003.tif") for stack in ("em", "labels"))
    assert (em.dtype, em.shape) == (np.dtype("uint8"), (SHAPE[1], SHAPE[0]))
    assert (labels.dtype, labels.shape) == (np.dtype("uint32"), (SHAPE[1], SHAPE[0]))


def test_sample_that_is_there_is_kept_and_a_broken_one_is_made_again(tmp_path: Path) -> None:
    assert write_sample(tmp_path, SHAPE, 1)
    before = (tmp_path / "em" / "em_0000.tif").stat().st_mtime_ns
    assert not write_sample(tmp_path, SHAPE, 1)
    assert (tmp_path / "em" / "em_0000.tif").stat().st_mtime_ns == before
    (tmp_path / "labels" / "labels_0002.tif").unlink()
    assert write_sample(tmp_path, SHAPE, 1)
    assert (tmp_path / "labels" / "labels_0002.tif").is_file()


def test_membranes_are_darker_than_cells(tissue: Tissue, cut: Cut) -> None:
    image = draw_em(tissue, cut, 5, np.random.default_rng(0))
    assert image[cut.membrane < 1].mean() + 50 < image[cut.membrane > 5].mean()


def test_cells_go_on_from_slice_to_slice(tissue: Tissue, cut: Cut) -> None:
    inside = cut.membrane > 3
    assert (cut_slice(tissue, 6).cells[inside] == cut.cells[inside]).mean() > 0.9


def test_looking_up_seeds_by_tiles_misses_none(tissue: Tissue, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_sample, "_candidates", lambda tissue, points: np.arange(len(tissue.seeds)))
    monkeypatch.setattr(make_sample, "_slab", lambda tissue, low, high: tissue)
    thorough = cut_slice(tissue, 5)
    assert np.array_equal(thorough.cells, cut.cells)
    assert np.array_equal(thorough.membrane, cut.membrane)
