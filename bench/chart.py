"""A bar chart of the rows: wall clock, CPU and memory of all contenders (of the reference, of its better row)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from bench.report import Row

PANELS: Final = (("wall_s", "wall clock, s", 1.0, 2), ("cpu_s", "CPU, s", 1.0, 2), ("peak_memory", "peak memory, MB", 1e-6, 0))
PANEL, LABELS, VALUE, MARGIN, HEAD, BAR, GAP = 300, 360, 70, 20, 62, 16, 14
PAPER, INK = (255, 255, 255), (40, 44, 52)
COLORS: Final = {"ours": (38, 110, 180), "reference": (226, 140, 60), "peer": (90, 160, 90), "limit": (140, 140, 140)}
VARIANT: Final = (130, 175, 215)
"""The color of wkpipe with other settings than the standard ones."""


def draw_chart(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows, each workload on a scale of its own; a contender without medians shows the reason instead of bars."""
    shown = [row for row in rows if row.role != "reference" or row.is_better or (row.medians is None and not _has_better(rows, row))]
    workloads = list(dict.fromkeys(row.workload for row in shown))
    height = HEAD + len(shown) * BAR + len(workloads) * GAP + MARGIN
    image = Image.new("RGB", (LABELS + len(PANELS) * PANEL + MARGIN, height), PAPER)
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((MARGIN, 8), "wkpipe beside others; each workload on a scale of its own, shorter is better", INK, font)
    for number, (_, title, _, _) in enumerate(PANELS):
        draw.text((LABELS + number * PANEL, 34), title, INK, font)
    y = HEAD
    for workload in workloads:
        group = [row for row in shown if row.workload == workload]
        draw.text((MARGIN, y), workload, INK, small)
        for row in group:
            color = COLORS[row.role] if row.is_standard or row.role != "ours" else VARIANT
            draw.text((MARGIN + 150, y), row.contender, INK, small)
            if row.medians is None:
                draw.text((LABELS, y), (row.error or "")[:130], color, small)
            for number, (measure, _, unit, digits) in enumerate(PANELS):
                if row.medians is None or measure not in row.medians:
                    continue
                left = LABELS + number * PANEL
                longest = max(other.medians[measure] for other in group if other.medians and measure in other.medians) or 1.0
                length = row.medians[measure] / longest * (PANEL - VALUE - MARGIN)
                draw.rectangle((left, y + 1, left + max(length, 1), y + BAR - 3), fill=color)
                draw.text((left + length + 6, y), f"{row.medians[measure] * unit:.{digits}f}", INK, small)
            y += BAR
        y += GAP
    image.save(path)


def _has_better(rows: Sequence[Row], row: Row) -> bool:
    return any(other.workload == row.workload and other.is_better for other in rows)
