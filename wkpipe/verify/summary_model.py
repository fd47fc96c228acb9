"""DatasetSummary: the result of `wkpipe.verify.summary`, as JSON and as plain text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wkpipe.errors import one_line
from wkpipe.plan.text_table import aligned, bytes_text, triple

UP_TO_DATE = "up to date"
STALE = "stale"
UNPROVEN = "unproven"
UNKNOWN = "unknown"
"""Nothing is recorded of the mag: another tool made it, and no run has looked at it yet."""


CHECKED = "compared: names and sizes of files with the ledger; `wkpipe verify` reads every byte"
"""What the summary is based on: it does not notice bytes that changed in a file."""


@dataclass(frozen=True)
class MagSummary:
    """A registered mag. Shapes are x, y, z in voxels; `files` counts storage shards, for chunk files the chunks.

    `shape` is the shape of the layer's box in this mag. `state` is ``up to date``, ``stale`` (made from data that has
    changed since), ``unproven`` (units are gone, changed or were never finished) or ``unknown`` (nothing is recorded).
    `stale_units` is the number of stale units. If the mag cannot be opened, `error` says why, and all else is empty.
    """

    mag: str
    path: str
    origin: str
    shape: tuple[int, ...] = ()
    chunk_shape: tuple[int, ...] = ()
    shard_shape: tuple[int, ...] = ()
    compression: str = ""
    files: int = 0
    all_files: int = 0
    bytes_on_disk: int = 0
    units: int = 0
    proven_units: int = 0
    stale_units: int = 0
    state: str = UNKNOWN
    error: str = ""


@dataclass(frozen=True)
class LayerSummary:
    """A layer. The box is its first corner and its size, x, y, z in mag-1 voxels."""

    name: str
    category: str
    dtype: str
    num_channels: int
    axes: tuple[str, ...]
    box: tuple[tuple[int, ...], tuple[int, ...]]
    data_format: str
    mags: tuple[MagSummary, ...]


@dataclass(frozen=True)
class UnfinishedMag:
    """A mag that a run has begun and not published yet."""

    layer: str
    mag: str
    origin: str
    done_units: int
    units: int


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset. `published` is False while a conversion has not finished its first layer; `run` names the process that works on it."""

    path: Path
    name: str
    published: bool
    voxel_size: str
    layers: tuple[LayerSummary, ...]
    unfinished: tuple[UnfinishedMag, ...]
    run: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path)}

    def table(self) -> str:
        """Return the summary as plain aligned text."""
        size = f", voxel size {self.voxel_size}" if self.voxel_size else ""
        lines = [one_line(f"{self.name}{size}  ({self.path})")]
        if not self.published:
            lines.append("no layer is published yet")
        if self.run:
            lines.append(f"being worked on by {self.run}")
        for layer in self.layers:
            lines += ["", _heading(layer), *aligned(_HEADER, [_row(mag) for mag in layer.mags])]
            lines += [f"  mag {mag.mag}: {mag.error}" for mag in layer.mags if mag.error]
        if self.unfinished:
            rows = [(mag.layer, mag.mag, mag.origin, f"{mag.done_units}/{mag.units}") for mag in self.unfinished]
            lines += ["", "unfinished; the command that began them resumes them", *aligned(("layer", "mag", "origin", "done"), rows)]
        if self.layers or self.unfinished:
            lines += ["", CHECKED]
        return "\n".join(lines)


_HEADER = ("mag", "shape", "chunk", "shard", "compression", "shards", "size", "origin", "proven", "state")


def _row(mag: MagSummary) -> tuple[str, ...]:
    if mag.error:
        return (mag.mag, "-", "-", "-", "-", "-", "-", mag.origin, "-", "broken")
    state = f"{mag.state} ({mag.stale_units} shards)" if mag.state == STALE else mag.state
    return (
        mag.mag,
        triple(mag.shape),
        triple(mag.chunk_shape),
        triple(mag.shard_shape),
        mag.compression,
        f"{mag.files}/{mag.all_files}",
        bytes_text(mag.bytes_on_disk),
        mag.origin,
        f"{mag.proven_units}/{mag.units}",
        state,
    )


def _heading(layer: LayerSummary) -> str:
    channels = f" x {layer.num_channels} channels" if layer.num_channels > 1 else ""
    extra = [axis for axis in layer.axes if axis not in ("c", "x", "y", "z")]
    axes = f", axes {','.join(layer.axes)}" if extra else ""
    box = f"box at {triple(layer.box[0], ',')} of {triple(layer.box[1])}"
    return f"{layer.name}: {layer.category}, {layer.dtype}{channels}, {layer.data_format}, {box}{axes}"
