"""An origin and its step, as another distribution would add them: a formula computes the voxels."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from wkpipe.engine.budget import CUBE_BYTES, writer_bytes
from wkpipe.engine.cubes import UnitGrid
from wkpipe.formats.base import Position, Voxels
from wkpipe.geometry import Vec3Int
from wkpipe.plan.mag_plan import MagPlan, Origin, identity_of
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record

DIE_AT = "WAVES_DIE_AT"
"""The number of a unit of the task at which the process is killed."""

ENTRY_POINTS = "[wkpipe.origins]\nwaves = tests.steps.waves:FromWaves\n\n[wkpipe.steps]\nwaves = tests.steps.waves:make_units\n"


@dataclass(frozen=True)
class FromWaves(Origin[None]):
    """Made up: a sum of sines of the wave length `length`."""

    length: int

    kind = "waves"

    def voxels(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Return a box of voxels (c, x, y, z)."""
        axes = np.ogrid[tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))]
        grid = sum(np.sin(2 * np.pi * axis / self.length) for axis in axes)
        return np.asarray((grid + 3) * 40, dtype=np.uint8)[np.newaxis]

    def inputs(self, plan: MagPlan, unit: Position, source: None, tokens: Mapping[Position, str]) -> str:
        return identity_of([str(self.length)])

    def peak_bytes(self, plan: MagPlan, source: None, threads: int) -> int:
        return 8 * CUBE_BYTES + writer_bytes(plan.spec, plan.box.size)

    @property
    def text(self) -> str:
        return "waves"

    @property
    def how(self) -> str:
        return "made up"

    def to_json(self) -> dict[str, Any]:
        return {"length": self.length}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["length"])


def make_units(work: Work, origin: FromWaves) -> Iterator[Record]:
    spec = work.target.spec
    inputs = origin.inputs(work.mag_plan, (), None, {})
    for number, unit in enumerate(work.range.units):
        if work.is_proven(unit, inputs):
            continue
        if os.environ.get(DIE_AT) == str(number):
            work.shared.commits.flush()  # as after some seconds
            os.kill(os.getpid(), signal.SIGKILL)
        grid = UnitGrid(spec, unit, *work.mag_plan.unit_box(unit))
        with work.target.unit_writer(unit, work.scratch) as writer:
            for cube in grid.cubes(spec.chunk_bytes, CUBE_BYTES):
                positions = grid.positions(cube)
                chunks = grid.whole_chunks(cube, origin.voxels(*grid.region(cube)))
                writer.append_all(writer.encode_grid(chunks, positions - positions[0], positions))
            proof = writer.commit()
        yield work.made(unit, proof, inputs)
