"""Find files that belong to nothing: stray files of mags, and temporary files of runs that have ended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import TryAgain
from wkpipe.formats.base import ArraySpec, DataFormat, Position, unit_name
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.stored.channels import Channels
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import TEMPORARY, Locations
from wkpipe.verify.mag import MagOnDisk

METADATA_FILES = {
    DataFormat.ZARR3: frozenset({"zarr.json"}),
    DataFormat.ZARR: frozenset({".zarray", ".zattrs"}),
    DataFormat.WKW: frozenset({"header.wkw"}),
}

_STAND_IN = 10**17  # a position that no array has; it marks the positions in a name


@dataclass(frozen=True)
class StrayFile:
    """A file that is not part of the layer's data; `unit` is the unit outside the box that it belongs to, if any."""

    path: Path
    key: str
    unit: Position | None

    @property
    def shard(self) -> str:
        return self.key if self.unit is None else unit_name(self.unit)


def stray_files(mag: MagOnDisk) -> Iterator[StrayFile]:
    """Yield the files in a mag's directory that are not metadata and belong to no unit of the layer's box.

    Files of other channels of the array are not strays, because other layers may have them. Formats that wkpipe only reads
    have no strays, because wkpipe does not know the names of all their files.
    """
    array = mag.array
    if not isinstance(array, ChunkedArray):
        return
    position_of = _position_parser(array)
    spec, channels = array.spec, Channels.of(mag.layer, mag.entry)
    known, units = METADATA_FILES[array.spec.data_format], set(mag.units)
    per_unit = array.spec.chunks_per_unit if not array.spec.is_sharded else (1,) * len(array.spec.axes)
    for key, _ in array.place.list():
        if key in known:
            continue
        position = position_of(key)
        unit = None if position is None else tuple(p // n for p, n in zip(position, per_unit, strict=True))
        if unit is None or (unit not in units and (channels.has(spec, unit) or not _is_in_grid(spec, unit))):
            yield StrayFile(array.path / key, key, unit)


def _is_in_grid(spec: ArraySpec, unit: Position) -> bool:
    return all(at < count for at, count in zip(unit, spec.unit_grid, strict=True))


def _position_parser(array: ChunkedArray) -> Callable[[str], Position | None]:
    """Return a function from a path below the array's directory to the position in the grid of files."""
    count = len(array.spec.axes)
    template = re.escape(array.names.key([_STAND_IN + axis for axis in range(count)]))
    # An axis that is not in the names (the channels of WKW) has only position 0.
    named = [axis for axis in range(count) if str(_STAND_IN + axis) in template]
    for axis in named:
        template = template.replace(str(_STAND_IN + axis), f"(?P<a{axis}>0|[1-9][0-9]{{0,16}})")
    pattern = re.compile(template)

    def position_of(key: str) -> Position | None:
        match = pattern.fullmatch(key)
        return None if match is None else tuple(int(match[f"a{axis}"]) if axis in named else 0 for axis in range(count))

    return position_of


def leftovers(locations: Locations) -> tuple[int, int]:
    """Return the number and the bytes of the temporary files of state and data."""
    count = size = 0
    for place in {locations.store.child(TEMPORARY), locations.inside.child(TEMPORARY)}:
        for _, facts in place.list():
            size += facts.size
            count += 1
    return count, size


def live_run(locations: Locations) -> str:
    """Return a text naming the process that works on the dataset; empty if none does, as far as this host can see."""
    try:
        return str(DatasetLease(locations).live_holder() or "")
    except TryAgain:
        return "a process whose lease cannot be read"
