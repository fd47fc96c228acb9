"""MagPlan: how every voxel of one mag of one layer comes about, and what units it consists of."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from wkpipe.errors import InputRefused
from wkpipe.formats import open_array
from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.grid import morton_order
from wkpipe.images import ImageStack
from wkpipe.plan.spec_json import spec_from_json, spec_to_json
from wkpipe.sampling import InterpolationMode, halo
from wkpipe.server.remote import RemoteDataset
from wkpipe.stored.axes import spatial, with_spatial
from wkpipe.stored.channels import Channels, Others, others_of
from wkpipe.stored.locations import Locations

CONVERT = "convert"
DOWNSAMPLE = "downsample"
DOWNLOAD = "download"

Corners = tuple[Vec3Int, Vec3Int]

Source: TypeAlias = ArraySpec | ImageStack | RemoteDataset
"""What a mag is made from: a finer mag's array, images, or a dataset on a server."""


@dataclass(frozen=True)
class MagPlan:
    """One mag to be made (or kept up to date). Boxes are (first, end) in x, y, z.

    `box` is the region to be written, in voxels of `mag`. For a downsampled mag, `source_box` is the region of the
    finer mag `from_mag` whose voxels are trusted, in voxels of `from_mag`; what lies outside is mirrored. `from_channel`
    is the channel of the finer mag's array that the first channel of this one is made from. For a converted mag,
    `source` describes how the images are laid out; for a downloaded one it names server and dataset.
    """

    layer: str
    mag: Mag
    spec: ArraySpec
    box: Corners
    kind: str
    from_mag: Mag | None = None
    source_box: Corners | None = None
    interpolation: InterpolationMode | None = None
    source: Mapping[str, Any] | None = None
    from_channel: int = 0

    @property
    def channels(self) -> Channels:
        """The channels of this mag's array: all are the layer's."""
        return Channels(0, self.spec.shape[self.spec.axes.index("c")] if "c" in self.spec.axes else 1)

    @property
    def source_channels(self) -> Channels:
        """The channels of the finer mag's array that this one is made from."""
        return Channels(self.from_channel, self.channels.count)

    def source_others(self, unit: Position) -> Others:
        """Return the place, along the axes other than x, y, z, of what a unit is computed from in the finer mag's array."""
        return others_of(self.spec, unit, self.channels, self.source_channels)

    @property
    def factors(self) -> Vec3Int:
        """How many source voxels one voxel spans."""
        return self.from_mag.factors_to(self.mag) if self.from_mag else Vec3Int.ones()

    @functools.cached_property
    def params(self) -> str:
        """The hash of all that defines voxels and layout; the same hash and inputs mean the same bytes."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # -- units --------------------------------------------------------------------------------------------------

    def units(self) -> list[Position]:
        """Return all units that the box touches, in the order in which they are worked on.

        Converted mags go slice by slice (z, then y, then x), as the images lie; downsampled ones in Morton order,
        so that neighbours stay together and a run of units needs few units of the finer mag; downloaded ones likewise.
        """
        first, grid = self._grid()
        if not grid.is_positive():
            return []
        check_count(f"layer {self.layer}, mag {self.mag}", grid)
        if self.kind == CONVERT:
            slices = itertools.product(*(range(low, low + n) for low, n in zip(reversed(first), reversed(grid), strict=True)))
            return units_at(self.spec, [(x, y, z) for z, y, x in slices])
        return units_at(self.spec, (morton_order(grid.to_tuple()) + first.to_tuple()).tolist())

    def unit_count(self) -> int:
        """Return how many units the box touches, at once: it lists none."""
        _, grid = self._grid()
        others = (n for axis, n in zip(self.spec.axes, self.spec.unit_grid, strict=True) if axis not in "xyz")
        return grid.prod() * math.prod(others) if grid.is_positive() else 0

    def _grid(self) -> Corners:
        """Return the first unit that the box touches and how many there are, along x, y, z."""
        shape = spatial(self.spec, self.spec.unit_shape)
        first = self.box[0] // shape
        return first, self.box[1].ceildiv(shape) - first

    def unit_box(self, unit: Position) -> Corners:
        """Return the part of the box that lies in a unit, in voxels of this mag."""
        shape = spatial(self.spec, self.spec.unit_shape)
        first = spatial(self.spec, unit) * shape
        return first.pairmax(self.box[0]), (first + shape).pairmin(self.box[1])

    def hull(self, first: Vec3Int, end: Vec3Int) -> Corners:
        """Return the box of source voxels (in voxels of `from_mag`) that a target box (first, end) is computed from."""
        assert self.source_box is not None
        assert self.interpolation is not None
        margin = halo(self.interpolation, self.factors)
        first, end = first * self.factors - margin[0], end * self.factors + margin[1]
        low, high = self.source_box
        # Mirrored voxels lie as far inside the border as the wanted ones lie outside of it.
        mirrored_end = (low * 2 - first).pairmin(high)
        mirrored_first = (high * 2 - end).pairmax(low)
        return first.pairmax(low).pairmin(mirrored_first.pairmax(low)), end.pairmin(high).pairmax(mirrored_end.pairmin(high))

    def source_units(self, unit: Position, source: ArraySpec) -> list[Position]:
        """Return the units of the finer mag's array that a unit is computed from."""
        # Along every axis they depend on the unit's place along this axis alone: few places, of a million units maybe.
        known = self._source_ranges.setdefault((source.axes, source.unit_shape), {})
        places = [(axis, unit[self.spec.axes.index(axis)]) for axis in source.axes]
        try:
            return list(itertools.product(*[known[place] for place in places]))
        except KeyError:
            ranges = self._ranges_of_source(unit, source)
            known.update(zip(places, ranges, strict=True))
            return list(itertools.product(*ranges))

    @functools.cached_property
    def _source_ranges(self) -> dict[tuple[tuple[str, ...], Position], dict[tuple[str, int], range]]:
        return {}

    def _ranges_of_source(self, unit: Position, source: ArraySpec) -> list[range]:
        first, end = self.hull(*self.unit_box(unit))
        low, high = dict(zip("xyz", first, strict=True)), dict(zip("xyz", end, strict=True))
        for axis, (start, size) in self.source_others(unit).items():
            low[axis], high[axis] = start, start + size
        return [range(low[axis] // size, -(-high[axis] // size)) for axis, size in zip(source.axes, source.unit_shape, strict=True)]

    # -- serialised ---------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "layer": self.layer,
            "mag": self.mag.to_list(),
            "spec": spec_to_json(self.spec),
            "box": [list(corner) for corner in self.box],
            "kind": self.kind,
        }
        if self.from_mag is not None and self.source_box is not None and self.interpolation is not None:
            values |= {
                "from_mag": self.from_mag.to_list(),
                "source_box": [list(corner) for corner in self.source_box],
                "interpolation": self.interpolation.value,
            }
        if self.from_channel:
            values["from_channel"] = self.from_channel
        if self.source is not None:
            values["source"] = dict(self.source)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MagPlan:
        derived = "from_mag" in values
        return cls(
            layer=values["layer"],
            mag=Mag(values["mag"]),
            spec=spec_from_json(values["spec"]),
            box=_corners(values["box"]),
            kind=values["kind"],
            from_mag=Mag(values["from_mag"]) if derived else None,
            source_box=_corners(values["source_box"]) if derived else None,
            interpolation=InterpolationMode(values["interpolation"]) if derived else None,
            source=values.get("source"),
            from_channel=values.get("from_channel", 0),
        )


def planned_array(plan: MagPlan, locations: Locations) -> StoredArray:
    """Open the array of a mag that a plan makes; its metadata are there since the run began."""
    return open_array(locations.array(plan.layer, plan.mag), plan.spec.data_format, plan.spec.axes, shape=plan.spec.shape)


def _corners(values: Sequence[Sequence[int]]) -> Corners:
    return Vec3Int(values[0]), Vec3Int(values[1])


def units_at(spec: ArraySpec, cells: Sequence[Sequence[int]], channels: Channels | None = None) -> list[Position]:
    """Return the units at positions x, y, z (in units), for every position on the other axes; `channels` bounds those on c."""
    others = [range(n) if axis not in "xyz" else range(1) for axis, n in zip(spec.axes, spec.unit_grid, strict=True)]
    if channels is not None and "c" in spec.axes:
        others[spec.axes.index("c")] = channels.unit_range(spec)
    if math.prod(map(len, others)) * len(cells) > MOST_UNITS:
        raise InputRefused(f"an array of shape {spec.shape} has too many storage shards, at most {MOST_UNITS} are possible")
    return [with_spatial(spec, other, cell) for other in itertools.product(*others) for cell in cells]


MOST_UNITS = 1 << 22
"""4 million storage shards, 4 PB of uint8 at the default size: each takes some µs and 0.4 kB to plan."""


def check_count(where: str, grid: Vec3Int) -> None:
    """Refuse a box that no real dataset has, before its units are listed.

    Raises:
        InputRefused: more units than could ever be worked on.
    """
    if grid.prod() > MOST_UNITS:
        raise InputRefused(
            f"{where}: its box spans {grid.prod():.3g} storage shards, at most {MOST_UNITS} are possible; check the layer's box"
        )


def identity_of(tokens: Sequence[str]) -> str:
    """Return the identity of a unit's inputs from the tokens of what it is made from, in their order."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()[:16]


def download_identity(plan: MagPlan) -> str:
    """Return the identity of what a mag is downloaded from. A server tells no more of it: it has no checksums and no versions."""
    assert plan.source is not None
    return identity_of([*(f"{key}={value}" for key, value in sorted(plan.source.items())), plan.layer, str(plan.mag)])


def image_identity(plan: MagPlan, stack: ImageStack, unit: Position) -> str:
    """Return the identity of the images that a converted unit is made from."""
    first, end = plan.unit_box(unit)
    return identity_of([stack.fingerprint(first.z, end.z)])
