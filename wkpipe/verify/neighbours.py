"""Without a ledger, use the other mags to find out whether a storage shard without a file is empty or lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import Position, StoredArray
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.plan.state.emptiness import finer_mags, shows_loss
from wkpipe.stored.axes import spatial, xyz_last
from wkpipe.stored.channels import Channels, Others, others_of, region_at
from wkpipe.stored.dataset import box_in_mag
from wkpipe.verify.mag import MagOnDisk


class Neighbours:
    """The next finer and the next coarser mag of a mag that has no complete ledger."""

    def __init__(self, mag: MagOnDisk) -> None:
        self._mag = mag
        self._finer = next(((entry.mag, array) for entry, array in finer_mags(mag.dataset, mag.layer, mag.entry.mag)), None)
        self._coarser = _next_coarser(mag)

    def suspects(self, stored: set[Position]) -> list[Position]:
        """Return the units without a file at places where a neighbour has files, in the mag's order."""
        shape = spatial(self._mag.array.spec, self._mag.array.spec.unit_shape)
        touched: set[tuple[int, ...]] = set()
        for neighbour in (self._finer, self._coarser):
            if neighbour is None:
                continue
            mag, array = neighbour
            edge = spatial(array.spec, array.spec.unit_shape)
            for unit in self._channels(mag).those_of(array.spec, array.stored_units()):
                # The box of the neighbour's unit: both ends in mag-1 voxels, then in units of this mag.
                first, last = spatial(array.spec, unit) * edge, spatial(array.spec, unit) * edge + edge
                first, end = first * mag.to_vec3_int(), last * mag.to_vec3_int()
                own = shape * self._mag.entry.mag.to_vec3_int()
                touched.update(itertools.product(*(range(a, b) for a, b in zip(first // own, end.ceildiv(own), strict=True))))
        spec = self._mag.array.spec
        return [unit for unit in self._mag.units if unit not in stored and spatial(spec, unit).to_tuple() in touched]

    def _channels(self, mag: Mag) -> Channels:
        return Channels.of(self._mag.layer, self._mag.layer.mag(mag))

    def _others(self, unit: Position, mag: Mag) -> Others:
        """Return the region of a unit in the array of another mag, along the axes other than x, y, z."""
        return others_of(self._mag.array.spec, unit, self._channels(self._mag.entry.mag), self._channels(mag))

    def evidence_of_loss(self, unit: Position) -> str | None:
        """Return why a unit without a file must have had one; None if it may be empty."""
        spec = self._mag.array.spec
        shape = spatial(spec, spec.unit_shape)
        box = box_in_mag(self._mag.layer.bounding_box(), self._mag.entry.mag)
        first = (spatial(spec, unit) * shape).pairmax(box.topleft_xyz)
        end = (spatial(spec, unit) * shape + shape).pairmin(box.bottomright_xyz)
        if self._finer is not None:
            mag, array = self._finer
            factors = mag.factors_to(self._mag.entry.mag)
            region = Box(first * factors, end * factors)
            if shows_loss(array, self._mag.layer, mag, self._mag.entry.mag, region, self._others(unit, mag)):
                return f"found no file, expected one because the finer mag {mag} has data there that must show in it"
        if self._coarser is not None:
            mag, array = self._coarser
            factors = self._mag.entry.mag.factors_to(mag)
            # Voxels at the border are left out, because some ways of sampling use voxels of other units too.
            inner = Vec3Int([int(a > b) for a, b in zip(first, box.topleft_xyz, strict=True)])
            outer = Vec3Int([int(a < b) for a, b in zip(end, box.bottomright_xyz, strict=True)])
            low, high = first.ceildiv(factors) + inner, end.ceildiv(factors) - outer * 2
            if self._has_data(array, self._others(unit, mag), low, high):
                return f"found no file, expected one because the coarser mag {mag}, which is made from it, has data there"
        return None

    def _has_data(self, coarser: StoredArray, others: Others, low: Vec3Int, high: Vec3Int) -> bool:
        """True if the coarser mag holds data in a box (low, high in its voxels)."""
        spec = coarser.spec
        for start, size in _cubes(low, high, 128):
            region = region_at(spec, others, start, size)
            try:
                if not coarser.is_fill(*region) and np.any(xyz_last(spec, coarser.read(*region)) != spec.fill_value):
                    return True
            except WkpipeError:  # the check of that mag reports it
                continue
        return False


def _next_coarser(mag: MagOnDisk) -> tuple[Mag, StoredArray] | None:
    for entry in sorted(mag.layer.mags, key=lambda entry: entry.mag.to_tuple()):
        if entry.mag != mag.entry.mag and all(a >= b for a, b in zip(entry.mag, mag.entry.mag, strict=True)):
            try:
                return entry.mag, mag.dataset.open_mag(mag.layer, entry)
            except WkpipeError:
                continue
    return None


def _cubes(low: Vec3Int, high: Vec3Int, edge: int) -> Iterator[tuple[Vec3Int, Vec3Int]]:
    """Yield start and size of the cubes that a box is cut into."""
    starts: Sequence[range] = [range(a, b, edge) for a, b in zip(low, high, strict=True)]
    for start in itertools.product(*starts):
        yield Vec3Int(start), (high - Vec3Int(start)).pairmin(Vec3Int.full(edge))
