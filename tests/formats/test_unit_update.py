"""The chunks of an updated unit, in the order in which they are stored."""

from __future__ import annotations

import itertools

import pytest

from wkpipe.formats import make_spec
from wkpipe.formats.base import DataFormat
from wkpipe.formats.unit_update import chunk_positions
from wkpipe.geometry.grid import morton_order


@pytest.mark.parametrize("axes", ["cxyz", "czyx", "txyzc", "xyz"])
def test_every_chunk_once_and_in_morton_order(axes: str) -> None:
    corner = [5 if axis == "t" else 3 if axis == "c" else 100 for axis in axes]
    spec = make_spec(DataFormat.ZARR3, tuple(axes), corner, "uint8", 3 if "c" in axes else 1, (8, 8, 16), (64, 32, 32))
    positions = [tuple(chunk) for block in chunk_positions(spec) for chunk in block.tolist()]
    assert sorted(positions) == sorted(itertools.product(*map(range, spec.chunks_per_unit)))
    cells = [tuple(position[axes.index(axis)] for axis in "xyz") for position in positions]
    assert cells == list(map(tuple, morton_order((8, 4, 2)).tolist()))
