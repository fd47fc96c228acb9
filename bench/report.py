"""The report: rows of medians and ratios, as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.measure import Measurement

MEASURES: Final = ("wall_s", "cpu_s", "peak_memory")
HEADINGS: Final = (
    *("workload", "contender", "wall s (min–max)", "CPU s", "peak memory MB"),
    *("wall ×", "CPU ×", "memory ×", "voxels"),
)


@dataclass(frozen=True)
class RunResult:
    """One run of one contender on one workload."""

    workload: str
    contender: str
    is_reference: bool
    run: int
    """0 is the run whose memory was looked at; the others are timed."""
    measurement: Measurement | None
    """None where the contender is missing."""
    error: str | None
    hashes: dict[str, str]


@dataclass(frozen=True)
class Row:
    """All runs of one contender on one workload; without medians where any of them failed."""

    workload: str
    contender: str
    is_reference: bool
    runs: int
    error: str | None
    voxels: str
    medians: dict[str, float] | None = None
    wall_range: tuple[float, float] | None = None
    ratios: dict[str, float] | None = None
    """Of the reference: its medians divided by those of wkpipe."""
    is_better: bool = False
    """Of the reference's rows, this one has the shorter wall clock."""


def make_rows(results: Sequence[RunResult]) -> list[Row]:
    """Sum up runs, in the order in which workloads and contenders first appear."""
    rows: list[Row] = []
    for workload in dict.fromkeys(result.workload for result in results):
        own = [result for result in results if result.workload == workload]
        group = [
            _row([result for result in own if result.contender == contender], own)
            for contender in dict.fromkeys(result.contender for result in own)
        ]
        rows += _with_ratios(group)
    return rows


def _row(results: Sequence[RunResult], all_of_workload: Sequence[RunResult]) -> Row:
    first = results[0]
    failed = [result.error for result in results if result.error]
    row = Row(first.workload, first.contender, first.is_reference, len(results), None, compare(results, all_of_workload))
    if failed:
        missing = all(result.measurement is None for result in results)
        return replace(row, error=f"not run: {failed[0]}" if missing else f"{len(failed)} of {len(results)} runs failed: {failed[0]}")
    measured = [result.measurement for result in results if result.measurement is not None]
    timed = [m for m in measured if m.peak_memory is None]
    walls = [m.wall_s for m in timed]
    memory = [m.peak_memory for m in measured if m.peak_memory is not None]
    medians = {"wall_s": median(walls), "cpu_s": median(m.cpu_s for m in timed), "peak_memory": float(median(memory))}
    return replace(row, medians=medians, wall_range=(min(walls), max(walls)))


def compare(results: Sequence[RunResult], all_of_workload: Sequence[RunResult]) -> str:
    """Tell whether the mags of some runs, and each of their voxels, are those of the workload's first run."""
    hashed = [result.hashes for result in all_of_workload if result.hashes]
    own = [result.hashes for result in results if result.hashes]
    if len(hashed) < 2 or not own:
        return "not compared"
    expected = hashed[0]
    different = sorted({mag for hashes in own for mag in expected | hashes if expected.get(mag) != hashes.get(mag)})
    return f"DIFFERENT: {', '.join(different)}" if different else f"equal, {len(expected)} mags"


def _with_ratios(group: Sequence[Row]) -> list[Row]:
    """Compare the reference's rows with that of wkpipe."""
    (ours,) = (row for row in group if not row.is_reference)
    walls = [row.medians["wall_s"] for row in group if row.is_reference and row.medians]
    rows = []
    for row in group:
        if row.is_reference and row.medians:
            ratios = {name: value / ours.medians[name] for name, value in row.medians.items()} if ours.medians else None
            rows.append(replace(row, is_better=row.medians["wall_s"] == min(walls), ratios=ratios))
        else:
            rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table whose columns are aligned."""
    cells = [list(HEADINGS), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    if row.medians is None or row.wall_range is None:
        text = (row.error or "").replace("|", "/")
        return [row.workload, row.contender, text, "–", "–", "–", "–", "–", row.voxels]
    low, high = row.wall_range
    numbers = [
        f"{row.medians['wall_s']:.2f} ({low:.2f}–{high:.2f})",
        f"{row.medians['cpu_s']:.2f}",
        f"{row.medians['peak_memory'] / 1e6:.0f}",
    ]
    ratios = [f"{row.ratios[name]:.2f}" for name in MEASURES] if row.ratios else ["–"] * 3
    return [row.workload, row.contender + (" (better)" if row.is_better else ""), *numbers, *ratios, row.voxels]


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Return the whole report."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    machine = facts["machine"]
    lines = [
        "# Benchmark",
        "",
        f"* {facts['date']}; {versions}",
        f"* machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB",
        f"* load average before the runs: {machine['load_min']:.1f} to {machine['load_max']:.1f}",
        f"* volume: {' × '.join(map(str, facts['shape']))} voxels (color uint8, seg uint32)",
        f"* times: medians of {facts['runs']} runs; memory: of one more run, which is not timed",
        "* ratios: webknossos divided by wkpipe; more than 1 means that wkpipe needs less",
        f"* voxels: compared by hashes of every mag, as read by {facts['reader']}",
        "",
        table(rows),
    ]
    return "\n".join(lines) + "\n"


def write_json(path: Path, rows: Sequence[Row], results: Sequence[RunResult], facts: dict[str, Any]) -> None:
    """Write every run and every row."""
    content = {**facts, "rows": [asdict(row) for row in rows], "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
