"""The plan as a table for people: what ``--dry-run`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.formats.base import Compression
from wkpipe.plan.plan import Plan
from wkpipe.plan.resources import voxel_bytes


def plan_table(plan: Plan) -> str:
    """Return a line per mag: layer, mag, shape in voxels, compression, shards to do of all, jobs, memory of a job, bytes decoded."""
    rows: list[Sequence[str]] = [("layer", "mag", "from", "shape", "dtype", "compression", "shards", "jobs", "memory/job", "decoded")]
    for layer in plan.layers:
        for mag in layer.mags:
            parts = [(task, part) for task in plan.tasks for part in task.parts if (part.layer, part.mag) == (layer.name, mag.mag)]
            units = mag.units()
            shape = mag.box[1] - mag.box[0]
            size = shape.prod() * voxel_bytes(mag.spec)
            source = "images" if mag.from_mag is None else f"{mag.from_mag} {mag.interpolation}"
            todo = sum(len(part.units) for _, part in parts)
            memory = max((task.mem_mb for task, _ in parts), default=0)
            rows.append(
                (
                    layer.name,
                    str(mag.mag),
                    source,
                    " × ".join(map(str, shape)),
                    mag.spec.dtype.name,
                    _compression(mag.spec.compression),
                    f"{todo} of {len(units)}",
                    str(len({task.name for task, _ in parts})),
                    f"{memory} MB" if memory else "-",
                    _size(size),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = f"{len(plan.tasks)} jobs, {plan.units_to_do} storage shards to do" if plan.tasks else "nothing to do"
    return "\n".join([*lines, total])


def _compression(compression: Compression) -> str:
    return compression.kind if compression.level is None else f"{compression.kind} {compression.level}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
