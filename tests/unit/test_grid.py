"""Morton order covers every cell once and is the order of WKW files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.geometry.grid import morton_bits, morton_order


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_every_cell_once(grid: list[int]) -> None:
    cells = morton_order(tuple(grid))
    assert sorted(map(tuple, cells.tolist())) == list(np.ndindex(*grid))


@pytest.mark.parametrize("edge", [1, 2, 4, 8])
def test_cubes_are_in_the_order_of_wkw(edge: int) -> None:
    def code(cell: tuple[int, ...]) -> int:
        return sum(((n >> bit) & 1) << (3 * bit + axis) for bit in range(4) for axis, n in enumerate(cell))

    assert list(map(tuple, morton_order((edge,) * 3).tolist())) == sorted(np.ndindex(*(edge,) * 3), key=code)


def test_axes_that_are_used_up_are_left_out() -> None:
    assert morton_bits((1, 4, 2)) == [1, 2, 1]
    assert morton_order((1, 4, 2)).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 2, 0], [0, 3, 0], [0, 2, 1], [0, 3, 1]]


def test_the_order_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        morton_order((2, 2))[0, 0] = 5
