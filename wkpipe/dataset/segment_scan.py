"""Find the largest segment id of a mag: cube by cube in bounded memory, by threads or by the caller's executor."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator

from wkpipe.dataset.executors import SubmitsCalls, cores_here, run_each
from wkpipe.dataset.grids import Shape, check_mag_divides, positive_shape, unit_in_mag1
from wkpipe.dataset.view import View
from wkpipe.engine.ordered import ordered_map
from wkpipe.formats.base import ArraySpec, Position
from wkpipe.geometry import SPATIAL_AXES

SCAN_BYTES = 8 << 20
"""The bytes of voxels that a thread reads at once, unless a chunk is larger."""


def largest_id(view: View, chunk_shape: Shape | None, executor: SubmitsCalls | None) -> int:
    """Return the largest voxel of a view that is not empty.

    Args:
        chunk_shape: the box of one call of the executor, x, y, z in mag-1 voxels; default: a storage shard.
        executor: where the calls run; by default in threads of this process.

    Raises:
        WrongShape: the chunk shape is not possible.
        MissingShard, DamagedShard: a storage shard is gone or damaged.
    """
    shape: tuple[int, ...] = unit_in_mag1(view._array.open().spec, view.mag)
    if chunk_shape is not None:
        shape = positive_shape("chunk_shape", chunk_shape, 3)
        check_mag_divides("chunk_shape", shape, SPATIAL_AXES, view.mag)
    if executor is None:
        return max(ordered_map(functools.partial(_largest_in_cube, view), _cubes(view), cores_here()))
    parts = [view._part(part, True) for part in view._box().chunk(shape, shape)]
    with contextlib.closing(run_each(_largest_in, parts, executor, None)) as results:
        return max(results)


def _largest_in(view: View) -> int:
    return max(_largest_in_cube(view, cube) for cube in _cubes(view))


def _largest_in_cube(view: View, cube: tuple[Position, Position]) -> int:
    start, end = cube
    stored, shape = view._array.open(), tuple(b - a for a, b in zip(start, end, strict=True))
    view._array.check_present(stored, start, end)
    if stored.is_fill(start, shape):
        return int(stored.spec.fill_value)
    return int(stored.read(start, shape).max())


def _cubes(view: View) -> Iterator[tuple[Position, Position]]:
    """Yield the cubes (first, end, in array order) of a view: whole chunks of the array as far as they are inside."""
    spec = view._array.open().spec
    start, shape = view._in_array(view._box().in_mag(view.mag), spec)
    end = [a + n for a, n in zip(start, shape, strict=True)]
    steps = _steps(spec)
    for corner in itertools.product(*(range(a // n * n, b, n) for a, b, n in zip(start, end, steps, strict=True))):
        low = tuple(map(max, corner, start))
        yield low, tuple(min(c + n, b) for c, n, b in zip(corner, steps, end, strict=True))


def _steps(spec: ArraySpec) -> Position:
    """Return the shape of a cube: a chunk, doubled along x, y, z in turn while it is small."""
    steps, size = list(spec.chunk_shape), spec.chunk_bytes
    for axis in itertools.cycle([spec.axes.index(axis) for axis in SPATIAL_AXES]):
        if 2 * size > SCAN_BYTES:
            return tuple(steps)
        steps[axis], size = 2 * steps[axis], 2 * size
    raise AssertionError("the cycle does not end")
