"""Find files that belong to nothing: in a mag's directory, and what ended runs left in the state directory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import TryAgain
from wkpipe.formats.base import ArraySpec, DataFormat, Position
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.steps.verify.unit import unit_name
from wkpipe.stored.channels import Channels
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import Locations

METADATA_FILES = {
    DataFormat.ZARR3: frozenset({"zarr.json"}),
    DataFormat.ZARR: frozenset({".zarray", ".zattrs"}),
    DataFormat.WKW: frozenset({"header.wkw"}),
}

_STAND_IN = 10**17  # a position that no array has; it marks in a name where the positions stand


@dataclass(frozen=True)
class StrayFile:
    """A file that is not part of the layer's data; `unit` is the one outside of the box that it belongs to, if any."""

    path: Path
    key: str
    unit: Position | None

    @property
    def shard(self) -> str:
        return self.key if self.unit is None else unit_name(self.unit)


def stray_files(mag: MagOnDisk) -> Iterator[StrayFile]:
    """Yield the files in a mag's directory that are no metadata and belong to no unit of the layer's box.

    Files of other channels of the array, which other layers may have, are not strays. Only where wkpipe knows
    the names of all files itself: formats that it merely reads may have others.
    """
    array = mag.array
    if not isinstance(array, ChunkedArray):
        return
    position_of = _position_parser(array)
    spec, channels = array.spec, Channels.of(mag.layer, mag.entry)
    known, units = METADATA_FILES[array.spec.data_format], set(mag.units)
    per_unit = array.spec.chunks_per_unit if not array.spec.is_sharded else (1,) * len(array.spec.axes)
    for key in _keys(array.path):
        if key in known:
            continue
        position = position_of(key)
        unit = None if position is None else tuple(p // n for p, n in zip(position, per_unit, strict=True))
        if unit is None or (unit not in units and (channels.has(spec, unit) or not _is_in_grid(spec, unit))):
            yield StrayFile(array.path / key, key, unit)


def _is_in_grid(spec: ArraySpec, unit: Position) -> bool:
    return all(at < count for at, count in zip(unit, spec.unit_grid, strict=True))


def _position_parser(array: ChunkedArray) -> Callable[[str], Position | None]:
    """Return the inverse of the array's names: from a path below its directory to the position in the grid of files."""
    count = len(array.spec.axes)
    template = re.escape(array.names.key([_STAND_IN + axis for axis in range(count)]))
    # An axis that the names leave out (the channels of WKW) has only position 0.
    named = [axis for axis in range(count) if str(_STAND_IN + axis) in template]
    for axis in named:
        template = template.replace(str(_STAND_IN + axis), f"(?P<a{axis}>0|[1-9][0-9]{{0,16}})")
    pattern = re.compile(template)

    def position_of(key: str) -> Position | None:
        match = pattern.fullmatch(key)
        return None if match is None else tuple(int(match[f"a{axis}"]) if axis in named else 0 for axis in range(count))

    return position_of


def _keys(root: Path) -> Iterator[str]:
    """Yield the paths of all files below a directory, a directory at a time, in the order of their names."""
    for directory, subdirectories, files in os.walk(root):
        subdirectories.sort()
        below = os.path.relpath(directory, root)
        for name in sorted(files):
            yield name if below == "." else f"{below}/{name}"


def leftovers(locations: Locations) -> tuple[int, int]:
    """Return number and bytes of the temporary files of state and data."""
    count = size = 0
    for directory in dict.fromkeys((locations.temporary, locations.data_temporary)):
        for key in _keys(directory):
            try:
                size += (directory / key).stat().st_size
                count += 1
            except FileNotFoundError:  # committed by a run meanwhile
                continue
    return count, size


def live_run(locations: Locations) -> str:
    """Say which process works on the dataset now; empty if none does, as far as can be seen from here."""
    try:
        return str(DatasetLease(locations).live_holder() or "")
    except TryAgain:
        return "a process whose lease cannot be read"
