"""Compute mags again from those that they were made from, and compare voxels: a proof that needs no record."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import Position, StoredArray, Voxels
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_other_mag import FromOtherMag
from wkpipe.plan.state.emptiness import finer_mags
from wkpipe.plan.wishes.pyramid import refreshed
from wkpipe.sampling import InterpolationMode, sample_box, upsample_box
from wkpipe.sampling.borders import Read
from wkpipe.stored.axes import spatial, xyz_last
from wkpipe.stored.channels import Channels, others_of, region_at
from wkpipe.stored.dataset import box_in_mag
from wkpipe.verify.mag import MagOnDisk

SOURCE_BYTES = 4 << 20
CUBES_PER_PIECE = 8
PROBED_UNITS, PROBED_CUBES = 4, 8

MOST_STRANGE = 0.1
"""If a larger share of the voxels differs, the mag was made in another way of downsampling."""

_LOCAL_MODES = (
    InterpolationMode.MEDIAN,
    InterpolationMode.MODE,
    InterpolationMode.NEAREST,
    InterpolationMode.MAX,
    InterpolationMode.MIN,
)
"""The modes in which other tools give the same voxels; in other modes, the voxels depend on how the work was cut."""


@dataclass(frozen=True)
class Difference:
    """The result for some cubes: the numbers of compared and of different voxels; `first` is a different one (x, y, z)."""

    voxels: int = 0
    different: int = 0
    first: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class DeepCheck:
    """How to compute a mag from another one; `box` is in its voxels, and `factors` source voxels per axis become one of them.

    `sample` computes a box (first, shape) with a function that reads source voxels; `how` names it. `channels` are the layer's
    in the mag's array, `source_channels` the same ones in the source mag's.
    """

    source: StoredArray
    from_mag: Mag
    factors: Vec3Int
    box: Box
    sample: Callable[[Read, Vec3Int, Vec3Int], Voxels]
    how: str
    channels: Channels
    source_channels: Channels

    def pieces(self, target: StoredArray, unit: Position) -> Iterator[Callable[[], Difference]]:
        """Yield functions that compare the cubes of a unit, some at a time; cubes that cannot be read are left out."""
        cubes = self.cubes(target, unit)
        while batch := list(itertools.islice(cubes, CUBES_PER_PIECE)):
            yield lambda batch=batch: self._compare_all(target, unit, batch)  # type: ignore[misc]

    def described(self, differences: Sequence[Difference]) -> str | None:
        """Return a text of what differs; None if nothing does."""
        different = sum(difference.different for difference in differences)
        if not different:
            return None
        voxels = sum(difference.voxels for difference in differences)
        first = next(difference.first for difference in differences if difference.first is not None)
        return (
            f"found {different} of {voxels} voxels, such as the one at {','.join(map(str, first))}, "
            f"other than {self.how} gives from mag {self.from_mag}"
        )

    def cubes(self, target: StoredArray, unit: Position) -> Iterator[Box]:
        """Yield the cubes in which a unit's part of the box is compared."""
        spec = target.spec
        shape = spatial(spec, spec.unit_shape)
        first = (spatial(spec, unit) * shape).pairmax(self.box.first)
        end = (spatial(spec, unit) * shape + shape).pairmin(self.box.end)
        others = math.prod(n for axis, n in zip(spec.axes, spec.unit_shape, strict=True) if axis not in "xyz")
        most = max(1, SOURCE_BYTES // (self.factors.prod() * others * spec.dtype.itemsize))
        edge = spatial(spec, spec.chunk_shape)
        while edge.prod() > most and edge.prod() > 1:
            edge = Vec3Int([n // 2 if n == max(edge) else n for n in edge])
        while edge.prod() * 2 <= most and any(n < s for n, s in zip(edge, shape, strict=True)):
            axis = min((axis for axis in range(3) if edge[axis] < shape[axis]), key=lambda axis: edge[axis])
            edge = Vec3Int([n * 2 if i == axis else n for i, n in enumerate(edge)])
        for z, y, x in itertools.product(*(range(a // e, -(-b // e)) for a, b, e in reversed(list(zip(first, end, edge, strict=True))))):
            start = Vec3Int(x, y, z) * edge
            yield Box(start, start + edge).intersected_with(Box(first, end))

    def compare(self, target: StoredArray, unit: Position, cube: Box) -> Difference:
        """Compare one cube.

        Raises:
            WkpipeError: the cube cannot be read or computed.
        """
        first, end = cube
        others = others_of(target.spec, unit, self.channels, self.channels)
        found = xyz_last(target.spec, target.read(*region_at(target.spec, others, first, end - first)))
        expected = self._computed(target, unit, first, end - first)
        if expected.shape != found.shape:  # only one of them has some of the channels
            return Difference()
        wrong = ~((found == expected) | ((found != found) & (expected != expected)))
        count = int(np.count_nonzero(wrong))
        if not count:
            return Difference(found.size)
        x, y, z = (int(n) for n in np.argwhere(wrong)[0][-3:])
        return Difference(found.size, count, (first + Vec3Int(x, y, z)).to_tuple())

    def _compare_all(self, target: StoredArray, unit: Position, cubes: Sequence[Box]) -> Difference:
        total = Difference()
        for cube in cubes:
            try:
                found = self.compare(target, unit, cube)
            except (WkpipeError, OSError):  # the decoding of that unit reports it
                continue
            total = Difference(total.voxels + found.voxels, total.different + found.different, total.first or found.first)
        return total

    def _computed(self, target: StoredArray, unit: Position, first: Vec3Int, shape: Vec3Int) -> Voxels:
        others = others_of(target.spec, unit, self.channels, self.source_channels)

        def read(start: Sequence[int], size: Sequence[int]) -> Voxels:
            spec = self.source.spec
            return xyz_last(spec, self.source.read(*region_at(spec, others, Vec3Int(start), Vec3Int(size))))

        return self.sample(read, first, shape).astype(target.spec.dtype, copy=False)


def deep_check(mag: MagOnDisk, units: Sequence[Position]) -> DeepCheck | None:
    """Return how to compute a mag again, from its recipe or its voxels; None if no known way fits.

    Without a recipe, the way is found by trying it on `units`.
    """
    if mag.recipe is not None:
        recipe = mag.recipe
        if not mag.is_derived or not isinstance(origin := recipe.origin, FromOtherMag):
            return None
        try:
            plan = refreshed(recipe, origin, mag.layer)
            source = mag.dataset.open_mag(mag.layer, mag.layer.mag(origin.mag))
        except WkpipeError:  # the check of that mag reports it
            return None
        if isinstance(origin, FromMag):
            return _check_of(mag, origin.mag, source, origin.interpolation)
        return _upsampling_of(mag, plan, origin, source) if isinstance(origin, FromCoarser) else None
    return _guessed(mag, units)


def _guessed(mag: MagOnDisk, units: Sequence[Position]) -> DeepCheck | None:
    """Find the finer mag and the mode that fit best by trying them on some cubes with data."""
    finer = list(finer_mags(mag.dataset, mag.layer, mag.entry.mag))
    checks = [_check_of(mag, entry.mag, array, mode) for entry, array in (finer[:1] + finer[1:][-1:]) for mode in _modes(mag)]
    if not checks:
        return None
    wrong = [0.0] * len(checks)
    probed = 0
    for unit in units[:: max(1, len(units) // PROBED_UNITS)]:
        cubes = list(checks[0].cubes(mag.array, unit))
        for cube in cubes[:: max(1, len(cubes) // PROBED_CUBES)]:
            if probed >= PROBED_UNITS * PROBED_CUBES:
                break
            probed += 1
            for index, check in enumerate(checks):
                try:
                    difference = check.compare(mag.array, unit, cube)
                except (WkpipeError, OSError):
                    continue
                wrong[index] += difference.different / max(1, difference.voxels)
    best = min(range(len(checks)), key=wrong.__getitem__)
    return checks[best] if wrong[best] <= MOST_STRANGE * probed else None


def _check_of(mag: MagOnDisk, from_mag: Mag, source: StoredArray, mode: InterpolationMode) -> DeepCheck:
    target, finer = (box_in_mag(mag.layer.bounding_box(), m) for m in (mag.entry.mag, from_mag))
    bounds, factors = Box.of(finer), from_mag.factors_to(mag.entry.mag)
    channels = _channels(mag, mag.entry.mag), _channels(mag, from_mag)

    def sample(read: Read, first: Vec3Int, shape: Vec3Int) -> Voxels:
        return sample_box(read, first, shape, factors, bounds, mode)

    return DeepCheck(source, from_mag, factors, Box.of(target), sample, mode.value, *channels)


def _upsampling_of(mag: MagOnDisk, plan: MagPlan, origin: FromCoarser, source: StoredArray) -> DeepCheck:
    repeats = origin.repeats(plan.mag)
    channels = _channels(mag, mag.entry.mag), _channels(mag, origin.mag)

    def sample(read: Read, first: Vec3Int, shape: Vec3Int) -> Voxels:
        return upsample_box(read, first, shape, repeats)

    return DeepCheck(source, origin.mag, plan.factors, plan.box, sample, "upsampling", *channels)


def _channels(mag: MagOnDisk, other: Mag) -> Channels:
    return Channels.of(mag.layer, mag.layer.mag(other))


def _modes(mag: MagOnDisk) -> list[InterpolationMode]:
    """Return the modes in which a mag may have been made, the likeliest first."""
    default = InterpolationMode.parse("default", mag.layer.category)
    return [default, *(mode for mode in _LOCAL_MODES if mode != default)]
