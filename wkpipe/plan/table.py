"""The plan as a table for people, which ``--dry-run`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.formats.base import Compression
from wkpipe.plan.cost.resources import voxel_bytes
from wkpipe.plan.cost.space import size_text
from wkpipe.plan.cut.task import PROVE
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.reasons import reason_lines


def plan_table(plan: Plan) -> str:
    """Return the plan as a table with a line per mag; above it what of the source is used, below it the shards that are made again.

    A line has layer, mag, shape in voxels, compression, how many of all shards are pending and why, jobs, memory of a job, and
    bytes decoded. Shards made again are those that existed before, or that replace others.
    """
    rows: list[Sequence[str]] = [
        ("layer", "mag", "from", "shape", "dtype", "compression", "shards", "jobs", "memory/job", "decoded", "reason")
    ]
    reasons = {(found.layer, found.mag): str(found) for found in plan.reasons}
    for layer in plan.layers:
        for mag in layer.mags:
            parts = [
                (task, mag_range)
                for task in plan.tasks
                if task.rule != PROVE
                for mag_range in task.ranges
                if (mag_range.layer, mag_range.mag) == (layer.name, mag.mag)
            ]
            units = mag.units()
            shape = mag.box.size
            size = shape.prod() * voxel_bytes(mag.spec)
            todo = sum(len(mag_range.units) for _, mag_range in parts)
            memory = max((task.mem_mb for task, _ in parts), default=0)
            rows.append(
                (
                    layer.name,
                    str(mag.mag),
                    mag.origin.text,
                    " × ".join(map(str, shape)),
                    mag.spec.dtype.name,
                    _compression(mag.spec.compression),
                    f"{todo} of {len(units)}",
                    str(len({task.name for task, _ in parts})),
                    f"{memory} MB" if memory else "-",
                    size_text(size),
                    reasons.get((layer.name, mag.mag), "-"),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = f"{len(plan.tasks)} jobs, {plan.units_to_do} storage shards to do" if plan.tasks else "nothing to do"
    if proving := plan.of_rule(PROVE):
        seconds = sum(task.runtime_s * task.threads for task in proving)
        total += (
            f"; {plan.units_to_prove} are proven first, in {len(proving)} of the jobs (about {seconds:.0f} s of one core): "
            "those that are unchanged are not made again"
        )
    if plan.tasks and plan.space is not None:
        total += f", about {size_text(plan.space.expected)} on disk"
    return "\n".join([*(account.text for account in plan.accounts), *lines, total, *upload_lines(plan), *reason_lines(plan.reasons)])


def upload_lines(plan: Plan) -> list[str]:
    """Return a line on what the run uploads and where, or that it is uploaded already."""
    if plan.upload is None:
        return []
    if plan.uploaded is not None:
        return [f"uploaded already: {plan.uploaded.url}"]
    folder = "" if plan.upload.folder is None else f", folder {plan.upload.folder}"
    return [f"upload: to {plan.upload.url} as {plan.upload.name}{folder}"]


def _compression(compression: Compression) -> str:
    return compression.kind if compression.level is None else f"{compression.kind} {compression.level}"
