"""The report: rows of medians and ratios, as Markdown, as JSON, and as Markdown from stored results.

    python bench/report.py [DIRECTORY]

prints the results in DIRECTORY (bench/out) as the section Results of docs/performance.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.measure import Measurement

MEASURES: Final = ("wall_s", "cpu_s", "peak_memory")
HEADINGS: Final = (
    *("workload", "contender", "wall s (min–max)", "MB/s", "CPU s", "peak MB"),
    *("wall ×", "CPU ×", "memory ×", "runs", "voxels"),
)
NOTES: Final = """\
* wall s: median of the timed runs (range); of the whole command, or for `alone-…` of the work in its process; until the disk is synced
* MB/s: 10^6 bytes of mag 1 voxels (convert: of pixels) per second
* peak MB: PSS of the process tree, from one more run, which is not timed
* ×: the ratio to wkpipe at level 5; more than 1 means that wkpipe needs less. (better): the row of webknossos to quote
* limit: decoding every chunk of mag 1 and encoding every chunk of the coarser mags, by all cores, and nothing else; its ratios are the
  shares of it that wkpipe reaches, by wall clock and by CPU
* 10 ms: every read and write of data by wkpipe takes 10 ms more
* voxels: every new mag, compared by hashes; not those of tensorstore, whose median of an even number is not the mean, and whose mode
  takes another label if several are equally frequent"""


@dataclass(frozen=True)
class RunResult:
    """One run of one contender on one workload."""

    workload: str
    contender: str
    role: str
    """``ours``, ``reference``, ``peer`` or ``limit``."""
    is_standard: bool
    """True if all others are compared with this contender."""
    run: int
    """0 is the run that measured memory; the others are timed."""
    measurement: Measurement | None
    """None if the contender is missing."""
    error: str | None
    hashes: dict[str, str]
    facts: dict[str, Any]
    """Other facts that a worker reported."""
    is_missing: bool = False


@dataclass(frozen=True)
class Row:
    """All runs of one contender on one workload; without medians if any of them failed."""

    workload: str
    contender: str
    role: str
    is_standard: bool
    runs: int
    """Timed ones."""
    error: str | None
    voxels: str
    medians: dict[str, float] | None = None
    wall_range: tuple[float, float] | None = None
    mb_per_s: float | None = None
    ratios: dict[str, float] | None = None
    """The medians divided by those of wkpipe."""
    is_better: bool = False
    """True for the row of the reference with the shorter wall clock."""


def make_rows(results: Sequence[RunResult], sizes: dict[str, int]) -> list[Row]:
    """Summarise runs, in the order in which workloads and contenders first appear; `sizes` are the workloads' bytes."""
    rows: list[Row] = []
    for workload in dict.fromkeys(result.workload for result in results):
        own = [result for result in results if result.workload == workload]
        group = [
            _row([result for result in own if result.contender == contender], own, sizes.get(workload))
            for contender in dict.fromkeys(result.contender for result in own)
        ]
        rows += _with_ratios(group)
    return rows


def _row(results: Sequence[RunResult], all_of_workload: Sequence[RunResult], size: int | None) -> Row:
    first = results[0]
    timed = [result for result in results if result.run > 0]
    voxels = compare(results, all_of_workload)
    row = Row(first.workload, first.contender, first.role, first.is_standard, len(timed), None, voxels)
    failed = [result.error for result in results if result.error]
    if failed:
        text = f"not run: {failed[0]}" if first.is_missing else f"{len(failed)} of {len(results)} runs failed: {failed[0]}"
        return replace(row, error=text)
    measured = [result.measurement for result in results if result.measurement is not None]
    walls = [result.measurement.wall_s for result in timed if result.measurement]
    memory = [m.peak_memory for m in measured if m.peak_memory is not None]
    medians = {"wall_s": median(walls), "cpu_s": median(result.measurement.cpu_s for result in timed if result.measurement)}
    if memory:
        medians["peak_memory"] = float(median(memory))
    rate = size / medians["wall_s"] / 1e6 if size and medians["wall_s"] else None
    return replace(row, medians=medians, wall_range=(min(walls), max(walls)), mb_per_s=rate)


def compare(results: Sequence[RunResult], all_of_workload: Sequence[RunResult]) -> str:
    """Compare mags and voxels of some runs with those of the workload's first run, and return the outcome as a text."""
    hashed = [result.hashes for result in all_of_workload if result.hashes]
    own = [result.hashes for result in results if result.hashes]
    if len(hashed) < 2 or not own:
        return "not compared"
    expected = hashed[0]
    different = sorted({mag for hashes in own for mag in expected | hashes if expected.get(mag) != hashes.get(mag)})
    return f"DIFFERENT: {', '.join(different)}" if different else f"equal, {len(expected)} mags"


def _with_ratios(group: Sequence[Row]) -> list[Row]:
    """Compare all rows of a workload with that of wkpipe."""
    standard = next((row.medians for row in group if row.is_standard), None)
    walls = [row.medians["wall_s"] for row in group if row.role == "reference" and row.medians]
    rows = []
    for row in group:
        if row.medians and not row.is_standard:
            ratios = {name: value / standard[name] for name, value in row.medians.items() if standard.get(name)} if standard else None
            row = replace(row, ratios=ratios, is_better=row.role == "reference" and row.medians["wall_s"] == min(walls))
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table whose columns are aligned."""
    return aligned([HEADINGS, *(_cells(row) for row in rows)])


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line has the headings."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    if row.medians is None or row.wall_range is None:
        return [row.workload, row.contender, (row.error or "").replace("|", "/"), *["–"] * 7, row.voxels]
    low, high = row.wall_range
    memory = row.medians.get("peak_memory")
    return [
        row.workload,
        row.contender + (" (better)" if row.is_better else ""),
        f"{row.medians['wall_s']:.2f}" + (f" ({low:.2f}–{high:.2f})" if row.runs > 1 else ""),
        "–" if row.mb_per_s is None else f"{row.mb_per_s:.0f}",
        f"{row.medians['cpu_s']:.2f}",
        "–" if memory is None else f"{memory / 1e6:.0f}",
        *(f"{row.ratios[name]:.2f}" if row.ratios and name in row.ratios else "–" for name in MEASURES),
        str(row.runs),
        row.voxels,
    ]


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Return the whole report."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    machine = facts["machine"]
    lines = [
        "# Benchmark",
        "",
        f"* {facts['date']}; {versions}; `{facts['command']}`",
        f"* machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}",
        f"* load average before the runs: {machine['load_min']:.1f} to {machine['load_max']:.1f}",
        f"* synthetic volumes: {' × '.join(map(str, facts['shape']))} voxels; layers: {facts['layers']}",
        f"* read back by {facts['readers']}",
        *(f"* left out: {workload}: {reason}" for workload, reason in facts["skipped"].items()),
        NOTES,
        "",
        table(rows),
    ]
    return "\n".join(lines) + "\n"


def write_json(path: Path, rows: Sequence[Row], results: Sequence[RunResult], facts: dict[str, Any]) -> None:
    """Write every run and every row."""
    content = {**facts, "rows": [asdict(row) for row in rows], "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def stored_results(content: dict[str, Any]) -> list[RunResult]:
    """Return the runs that `write_json` has written."""
    results = []
    for stored in content["results"]:
        found = stored["measurement"]
        results.append(RunResult(**{**stored, "measurement": None if found is None else Measurement(**found)}))
    return results


def stored_markdown(directory: Path) -> str:
    """Return the report of stored results, with the tables of levels and kernels if they exist."""
    facts = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    text = markdown([Row(**row) for row in facts["rows"]], facts).replace("# Benchmark", "## Results", 1)
    for name, title in (("levels.md", "Compression levels"), ("kernels.md", "Kernels")):
        if (directory / name).exists():
            text += f"\n## {title}\n\n{(directory / name).read_text(encoding='utf-8')}"
    return text


if __name__ == "__main__":
    print(stored_markdown(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "out"), end="")
