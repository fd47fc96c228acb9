"""Compute coarser mags again from finer ones and compare voxels: the proof that does not rest on any record."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wkpipe.errors import WkpipeError
from wkpipe.formats.base import Position, StoredArray, Voxels
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.plan.emptiness import finer_mags
from wkpipe.plan.pyramid import refreshed
from wkpipe.sampling import InterpolationMode, sample_box
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.stored.axes import spatial, xyz_last
from wkpipe.stored.channels import Channels, others_of, region_at
from wkpipe.stored.dataset import box_in_mag

SOURCE_BYTES = 4 << 20
CUBES_PER_PIECE = 8
PROBED_UNITS, PROBED_CUBES = 4, 8

MOST_STRANGE = 0.1
"""A way of downsampling from which more voxels than this differ is not the one that a mag was made by."""

_LOCAL_MODES = (
    InterpolationMode.MEDIAN,
    InterpolationMode.MODE,
    InterpolationMode.NEAREST,
    InterpolationMode.MAX,
    InterpolationMode.MIN,
)
"""The ways that other tools make alike; the results of the others depend on how their work was cut."""

Cube = tuple[Vec3Int, Vec3Int]


@dataclass(frozen=True)
class Difference:
    """The outcome for some cubes: voxels that were compared, and that differ; `first` is one of the latter (x, y, z)."""

    voxels: int = 0
    different: int = 0
    first: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class DeepCheck:
    """How one mag is computed from a finer one. Boxes are (first, end); `box` in its voxels, `bounds` in the finer mag's.

    `channels` are the layer's in the mag's array, `source_channels` the same ones in the finer mag's.
    """

    source: StoredArray
    from_mag: Mag
    factors: Vec3Int
    box: Cube
    bounds: Cube
    mode: InterpolationMode
    channels: Channels
    source_channels: Channels

    def pieces(self, target: StoredArray, unit: Position) -> Iterator[Callable[[], Difference]]:
        """Yield what compares a unit, some cubes at a time; cubes that can not be read are left out."""
        cubes = self.cubes(target, unit)
        while batch := list(itertools.islice(cubes, CUBES_PER_PIECE)):
            yield lambda batch=batch: self._compare_all(target, unit, batch)  # type: ignore[misc]

    def described(self, differences: Sequence[Difference]) -> str | None:
        """Say what differs; None where nothing does."""
        different = sum(difference.different for difference in differences)
        if not different:
            return None
        voxels = sum(difference.voxels for difference in differences)
        first = next(difference.first for difference in differences if difference.first is not None)
        return (
            f"found {different} of {voxels} voxels, as that at {','.join(map(str, first))}, "
            f"other than {self.mode.value} gives from mag {self.from_mag}"
        )

    def cubes(self, target: StoredArray, unit: Position) -> Iterator[Cube]:
        """Yield the (first, end) of the cubes that a unit's part of the box is compared in."""
        spec = target.spec
        shape = spatial(spec, spec.unit_shape)
        first = (spatial(spec, unit) * shape).pairmax(self.box[0])
        end = (spatial(spec, unit) * shape + shape).pairmin(self.box[1])
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
            yield start.pairmax(first), (start + edge).pairmin(end)

    def compare(self, target: StoredArray, unit: Position, cube: Cube) -> Difference:
        """Compare one cube.

        Raises:
            WkpipeError: it can not be read, or not be computed.
        """
        first, end = cube
        others = others_of(target.spec, unit, self.channels, self.channels)
        found = xyz_last(target.spec, target.read(*region_at(target.spec, others, first, end - first)))
        expected = self._computed(target, unit, first, end - first)
        if expected.shape != found.shape:  # channels that only one of them has
            return Difference()
        wrong = ~((found == expected) | ((found != found) & (expected != expected)))
        count = int(np.count_nonzero(wrong))
        if not count:
            return Difference(found.size)
        x, y, z = (int(n) for n in np.argwhere(wrong)[0][-3:])
        return Difference(found.size, count, (first + Vec3Int(x, y, z)).to_tuple())

    def _compare_all(self, target: StoredArray, unit: Position, cubes: Sequence[Cube]) -> Difference:
        total = Difference()
        for cube in cubes:
            try:
                found = self.compare(target, unit, cube)
            except (WkpipeError, OSError):  # reported where that unit itself is decoded
                continue
            total = Difference(total.voxels + found.voxels, total.different + found.different, total.first or found.first)
        return total

    def _computed(self, target: StoredArray, unit: Position, first: Vec3Int, shape: Vec3Int) -> Voxels:
        others = others_of(target.spec, unit, self.channels, self.source_channels)

        def read(start: Sequence[int], size: Sequence[int]) -> Voxels:
            spec = self.source.spec
            return xyz_last(spec, self.source.read(*region_at(spec, others, Vec3Int(start), Vec3Int(size))))

        return sample_box(read, first, shape, self.factors, self.bounds, self.mode).astype(target.spec.dtype, copy=False)


def deep_check(mag: MagOnDisk, units: Sequence[Position]) -> DeepCheck | None:
    """Return how a mag can be computed again: by its recipe, or as its voxels show; None where no known way fits.

    `units` are those to learn from where there is no recipe.
    """
    if mag.recipe is not None:
        recipe = mag.recipe
        if not mag.is_derived or recipe.from_mag is None or recipe.interpolation is None:
            return None
        try:
            plan = refreshed(recipe, mag.layer)
            source = mag.dataset.open_mag(mag.layer, mag.layer.mag(recipe.from_mag))
        except WkpipeError:  # reported where that mag itself is looked at
            return None
        assert plan.source_box is not None
        channels = _channels(mag, mag.entry.mag), _channels(mag, recipe.from_mag)
        return DeepCheck(source, recipe.from_mag, plan.factors, plan.box, plan.source_box, recipe.interpolation, *channels)
    return _guessed(mag, units)


def _guessed(mag: MagOnDisk, units: Sequence[Position]) -> DeepCheck | None:
    """Find the finer mag and the mode that fit best, by trying them on some cubes that hold data."""
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
    box, bounds = ((b.topleft_xyz, b.bottomright_xyz) for b in (target, finer))
    channels = _channels(mag, mag.entry.mag), _channels(mag, from_mag)
    return DeepCheck(source, from_mag, from_mag.factors_to(mag.entry.mag), box, bounds, mode, *channels)


def _channels(mag: MagOnDisk, other: Mag) -> Channels:
    return Channels.of(mag.layer, mag.layer.mag(other))


def _modes(mag: MagOnDisk) -> list[InterpolationMode]:
    """Return the modes that a mag may have been made by, the likeliest first."""
    default = InterpolationMode.parse("default", mag.layer.category)
    return [default, *(mode for mode in _LOCAL_MODES if mode != default)]
