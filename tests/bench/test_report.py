"""Medians and ratios are right; failures, missing contenders and differences are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.chart import draw_chart
from bench.contenders import contenders
from bench.measure import Measurement
from bench.report import RunResult, make_rows, stored_markdown, table, write_json

OURS, ONE, TWO = "wkpipe --jobs 2", "webknossos --jobs 1", "webknossos --jobs 2"
HASHES = {"color/1": "a", "color/2-2-1": "b"}
SIZES = {"downsample": 10_000_000}


def _runs(contender: str, walls: list[float], peak: int, hashes: dict[str, str] = HASHES, error: str | None = None) -> list[RunResult]:
    """Return the run that measured memory (its times must not count), then the timed ones; the last one has the error."""
    measured = [Measurement(999, 0, 999, peak, 10, 0.5, None), *(Measurement(wall, 0.1, wall / 2, None, 0, 0.5, None) for wall in walls)]
    last = len(measured) - 1
    role = "ours" if contender == OURS else "reference"
    return [
        RunResult(
            *("downsample", contender, role, contender == OURS, n, m, error if n == last else None),
            hashes={} if error and n == last else hashes,
            facts={},
        )
        for n, m in enumerate(measured)
    ]


def test_medians_ratios_and_the_better_one_of_the_reference() -> None:
    results = [*_runs(OURS, [2, 9, 1], 100), *_runs(ONE, [8, 7, 30], 500), *_runs(TWO, [6, 6, 5], 1000)]
    ours, one, two = make_rows(results, SIZES)
    assert ours.medians == {"wall_s": 2, "cpu_s": 1, "peak_memory": 100}
    assert ours.wall_range == (1, 9)
    assert ours.mb_per_s == 5
    assert ours.ratios is None
    assert one.ratios == {"wall_s": 4, "cpu_s": 4, "peak_memory": 5}
    assert two.ratios == {"wall_s": 3, "cpu_s": 3, "peak_memory": 10}
    assert (one.is_better, two.is_better) == (False, True)
    assert {row.voxels for row in (ours, one, two)} == {"equal, 2 mags"}
    assert "2.00 (1.00–9.00)" in table([ours])
    assert f"{TWO} (better)" in table([two])


def test_contender_with_a_failed_run_has_no_numbers_but_its_reason() -> None:
    ours, one = make_rows([*_runs(OURS, [1, 1, 1], 100), *_runs(ONE, [1, 1, 1], 100, error="exit code 1: boom")], SIZES)
    assert one.error == "1 of 4 runs failed: exit code 1: boom"
    assert one.medians is None
    assert "boom" in table([ours, one])


def test_ratios_are_left_out_where_wkpipe_failed() -> None:
    ours, one = make_rows([*_runs(OURS, [1], 100, error="timed out after 5 s"), *_runs(ONE, [1], 100)], SIZES)
    assert ours.error == "1 of 2 runs failed: timed out after 5 s"
    assert one.medians is not None
    assert one.ratios is None


@pytest.mark.parametrize("hashes", [{"color/1": "a", "color/2-2-1": "c"}, {"color/1": "a"}, HASHES | {"color/4": "d"}])
def test_other_voxels_and_other_mags_are_named(hashes: dict[str, str]) -> None:
    ours, one = make_rows([*_runs(OURS, [1], 100), *_runs(ONE, [1], 100, hashes)], SIZES)
    assert ours.voxels == "equal, 2 mags"
    assert one.voxels == "DIFFERENT: color/4" if "color/4" in hashes else one.voxels == "DIFFERENT: color/2-2-1"


@pytest.mark.parametrize("python, reason", [(None, "WKPIPE_REFERENCE_PYTHON is not set"), ("/nowhere/python", "does not run")])
def test_missing_reference_is_named_in_table_and_chart(python: str | None, reason: str, tmp_path: Path) -> None:
    missing = [contender for contender in contenders(python, None) if contender.role == "reference"]
    results = _runs(OURS, [1, 2], 100)
    results += [RunResult("downsample", c.name, c.role, False, n, None, c.missing, {}, {}, True) for c in missing for n in range(3)]
    rows = make_rows(results, SIZES)
    assert [row.contender for row in rows] == [OURS, ONE, TWO]
    assert all((row.error or "").startswith("not run: ") and reason in (row.error or "") for row in rows[1:])
    assert table(rows).count(reason) == 2
    draw_chart(tmp_path / "chart.png", rows)
    with Image.open(tmp_path / "chart.png") as image:
        assert image.width > image.height


def test_rows_without_memory_and_the_stored_report(tmp_path: Path) -> None:
    results = [result for result in [*_runs(OURS, [1], 100), *_runs(ONE, [2], 100)] if result.run]
    rows = make_rows(results, SIZES)
    assert rows[1].ratios == {"wall_s": 2, "cpu_s": 2}
    facts = {
        **dict.fromkeys(("date", "command", "layers", "readers"), "–"),
        "versions": {},
        "shape": [1, 1, 1],
        "skipped": {"downsample-labels": "no labels"},
        "machine": {"cpu": "–", "cores": 2, "memory_gb": 1, "system": "–", "load_min": 0.0, "load_max": 0.0},
    }
    write_json(tmp_path / "results.json", rows, results, facts)
    (tmp_path / "levels.md").write_text("the levels\n", encoding="utf-8")
    text = stored_markdown(tmp_path)
    assert table(rows) in text
    assert "no labels" in text
    assert text.endswith("## Compression levels\n\nthe levels\n")
