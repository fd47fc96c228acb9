"""Make a unit from another mag as a stream: stored chunks in, cubes of voxels, encoded chunks out; its bytes do not depend on threads."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

import numpy as np

from wkpipe.engine.budget import LEAST_CUBES, Ahead, slot_bytes, source_bytes
from wkpipe.engine.cubes import Cube, UnitGrid
from wkpipe.engine.ordered import ordered_map
from wkpipe.engine.read_ahead import ReadAhead
from wkpipe.engine.workers import ForkedWork, forked_map
from wkpipe.formats.base import EncodedChunks, Ints, Position, StoredArray, UnitProof, UnitWriter, Voxels
from wkpipe.formats.unit_writer import parts_of_head, stowed_head
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.budget import ahead_in, bytes_of_cubes
from wkpipe.storage.scratch import Scratch

COPIED_BYTES: Final = 4 << 20
"""Voxels of chunks that are copied at once as they are stored."""


class HasBytes(Protocol):
    """What was read for a cube."""

    @property
    def nbytes(self) -> int:
        """The number of stored bytes that were read."""


class KeptCubes(Protocol):
    """The cubes of a unit, in file order, of which some are kept as they are stored."""

    @property
    def cubes(self) -> Sequence[Cube]: ...

    def has(self, cube: Cube) -> bool:
        """True if a cube is kept."""

    def stored(self, positions: Ints) -> EncodedChunks:
        """Return chunks as they are stored."""

    def check(self) -> None:
        """Raise an error if what was stored is not what it should be."""


Raw = TypeVar("Raw", bound=HasBytes)


class CubeMaker(abc.ABC, Generic[Raw]):
    """How the cubes of one unit are made; `Raw` is what is read for a cube."""

    def __init__(self, plan: MagPlan, target: StoredArray, unit: Position) -> None:
        self._plan, self.spec = plan, target.spec
        self._grid = UnitGrid(self.spec, unit, *plan.unit_box(unit))

    @property
    def ahead(self) -> Ahead:
        """How far a worker may read ahead."""
        return ahead_in(self._plan)

    @property
    def chunk_voxels(self) -> int:
        """The number of voxels of a chunk."""
        return self._grid.chunk.prod()

    def cubes(self) -> Iterator[Cube]:
        """Yield the cubes of the unit that overlap the box, in file order."""
        return cubes_of_unit(self._plan, self._grid)

    def positions(self, cube: Cube) -> Ints:
        """Return the positions (chunks, axes) of a cube's chunks in the unit, in file order."""
        return self._grid.positions(cube)

    @abc.abstractmethod
    def fetch(self, cube: Cube) -> Raw | None:
        """Read the source of a cube; None if the cube is empty."""

    def encoded(self, cube: Cube, fetched: Raw, positions: Ints) -> EncodedChunks | None:  # noqa: ARG002
        """Compute and encode a cube with the native engine; None if `voxels` must compute it."""
        return None

    @abc.abstractmethod
    def voxels(self, cube: Cube, fetched: Raw) -> Voxels:
        """Compute a cube: whole chunks in array order, Fortran-contiguous, zero outside the box."""


def cubes_of_unit(plan: MagPlan, grid: UnitGrid) -> Iterator[Cube]:
    """Yield the cubes of a unit that overlap its box, in file order."""
    return grid.cubes(source_bytes(plan.spec, plan.factors), bytes_of_cubes(plan))


def streamed_unit(
    maker: CubeMaker[Raw],
    target: StoredArray,
    unit: Position,
    threads: int,
    scratch: Scratch,
    on_voxels: Callable[[int], None],
    fork: bool,
    kept: KeptCubes | None = None,
) -> UnitProof:
    """Make one unit of `target` and commit it; its chunks are in Morton order.

    `on_voxels` is called with the number of voxels since its last call. With `fork`, `threads` processes do the work, which
    keeps more cores busy; only for processes without threads of their own. What is `kept` of the unit as it
    is is copied.

    Raises:
        DamagedShard: a source shard cannot be decoded.
        NotWritable: the disk is full or read-only.
    """
    with target.unit_writer(unit, scratch) as writer:
        writer.come_in_order()

        def compute(cube: Cube, fetched: Raw | None) -> EncodedChunks:
            positions = maker.positions(cube)
            if fetched is None:
                return EncodedChunks.fill(positions)
            if (encoded := maker.encoded(cube, fetched, positions)) is not None:
                return encoded
            return writer.encode_grid(maker.voxels(cube, fetched), positions - positions[0], positions)

        # Closed at once if the disk is full, so that no worker continues.
        cubes = list(maker.cubes()) if kept is None else kept.cubes
        again = cubes if kept is None else [cube for cube in cubes if not kept.has(cube)]
        with contextlib.closing(_appended(maker, writer, compute, again, threads, fork)) as appended:
            done = appended if kept is None else _with_kept(maker, writer, kept, appended)
            for chunks in done:
                on_voxels(chunks * maker.chunk_voxels)
        return writer.commit()


def _with_kept(maker: CubeMaker[Raw], writer: UnitWriter, kept: KeptCubes, appended: Iterator[int]) -> Iterator[int]:
    """Append all cubes of a unit in file order: kept ones as they are stored, the others with `appended`; yield numbers of chunks."""
    at_once = max(1, COPIED_BYTES // maker.spec.chunk_bytes)
    for is_kept, run in itertools.groupby(kept.cubes, kept.has):
        if not is_kept:
            yield from (next(appended) for _ in run)
            continue
        positions = np.concatenate([maker.positions(cube) for cube in run])
        for start in range(0, len(positions), at_once):
            part = positions[start : start + at_once]
            writer.append_all(kept.stored(part))
            yield len(part)
    yield from appended  # no cube is left, but workers may still write
    kept.check()


def _appended(
    maker: CubeMaker[Raw],
    writer: UnitWriter,
    compute: Callable[[Cube, Raw | None], EncodedChunks],
    cubes: Sequence[Cube],
    threads: int,
    fork: bool,
) -> Generator[int, None, None]:
    """Compute and append cubes in file order; yield the number of chunks of each."""
    workers = min(threads, len(cubes) // LEAST_CUBES)
    if workers >= 2 and fork:
        yield from _appended_by_processes(maker, writer, compute, cubes, workers)
        return
    if workers < 2:
        left = iter(cubes)
        computed = (encoded for _, encoded in ReadAhead(lambda _: next(left, None), maker.fetch, compute, maker.ahead))
    else:
        computed = ordered_map(lambda cube: compute(cube, maker.fetch(cube)), cubes, workers)
    with contextlib.closing(computed):
        for encoded in computed:
            writer.append_all(encoded)
            yield len(encoded.sizes)


def _appended_by_processes(
    maker: CubeMaker[Raw], writer: UnitWriter, compute: Callable[[Cube, Raw | None], EncodedChunks], cubes: Sequence[Cube], workers: int
) -> Generator[int, None, None]:
    def stowed(cube: Cube, fetched: Raw | None) -> tuple[bytes, bytes]:
        encoded = compute(cube, fetched)
        receipt, body = writer.stow(encoded)
        return stowed_head(encoded, receipt), body

    chunks = max(cube.grid.prod() for cube in cubes)
    work = ForkedWork(maker.fetch, stowed, writer.begin_stowing(), writer.filled)
    results = forked_map(work, cubes, workers, slot_bytes(maker.spec, chunks), maker.ahead)
    with contextlib.closing(results):
        for result in results:
            positions = maker.positions(result.item)
            result.offset = writer.append_stowed(positions, *parts_of_head(result.head, len(positions)), result.body)
            yield len(positions)
