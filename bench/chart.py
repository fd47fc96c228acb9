"""A bar chart of the rows: wall clock, CPU and memory of wkpipe and of the better one of the reference's rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from bench.report import Row

PANELS: Final = (("wall_s", "wall clock, s", 1.0, 1), ("cpu_s", "CPU, s", 1.0, 1), ("peak_memory", "peak memory, MB", 1e-6, 0))
PANEL, LABELS, VALUE, MARGIN, HEAD, BAR, GROUP = 330, 210, 70, 20, 64, 18, 52
PAPER, INK, OURS, THEIRS = (255, 255, 255), (40, 44, 52), (38, 110, 180), (226, 140, 60)


def draw_chart(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows; a contender without medians has no bar, but its reason in place of one."""
    shown = [row for row in rows if not row.is_reference or row.is_better or row.medians is None]
    workloads = list(dict.fromkeys(row.workload for row in rows))
    image = Image.new("RGB", (LABELS + len(PANELS) * PANEL + MARGIN, HEAD + len(workloads) * GROUP + MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    for x, color, text in ((MARGIN, OURS, "wkpipe"), (MARGIN + 90, THEIRS, "webknossos")):
        draw.rectangle((x, 14, x + 12, 26), fill=color)
        draw.text((x + 18, 12), text, INK, small)
    for index, workload in enumerate(workloads):
        top = HEAD + index * GROUP
        draw.text((MARGIN, top + 10), workload, INK, small)
        group = [row for row in shown if row.workload == workload]
        for number, (measure, title, unit, digits) in enumerate(PANELS):
            left = LABELS + number * PANEL
            if index == 0:
                draw.text((left, 36), title, INK, font)
            longest = max((row.medians[measure] for row in shown if row.medians), default=1.0)
            for is_reference, color in ((False, OURS), (True, THEIRS)):
                # A missing contender stands there once with each number of jobs, and for the same reason.
                row = next((row for row in group if row.is_reference == is_reference), None)
                better = next((row for row in group if row.is_reference == is_reference and row.medians), row)
                if better is None:
                    continue
                y = top + is_reference * (BAR + 2)
                if better.medians is None:
                    draw.text((left, y), (better.error or "")[:44], color, small)
                    continue
                length = better.medians[measure] / longest * (PANEL - VALUE - MARGIN)
                draw.rectangle((left, y, left + max(length, 1), y + BAR - 2), fill=color)
                draw.text((left + length + 6, y), f"{better.medians[measure] * unit:.{digits}f}", INK, small)
    image.save(path)
