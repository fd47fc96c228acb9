"""Axes: which of a file's dimensions are time, channel and z, and the position of a plane in the file's order of planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

UNLABELLED = "IQ"


@dataclass(frozen=True)
class PlaneOrder:
    """The sizes of a file along t, c and z, and the step along each in the file's order of planes."""

    sizes: tuple[int, int, int]
    steps: tuple[int, int, int]

    def index(self, t: int, c: int, z: int) -> int:
        """Return the position of a plane in the file's order."""
        return t * self.steps[0] + c * self.steps[1] + z * self.steps[2]


def plane_order(letters: str, shape: Sequence[int]) -> PlaneOrder:
    """Find t, c and z among the dimensions before the planes, outermost first.

    If no dimension has a label, they are z; c, z; or t, c, z. Otherwise those of size 1 do not count; a single one other than c counts
    as z whatever its name, and a dimension with any other name counts as z if there is none.

    Raises:
        ValueError: more dimensions than t, c and z; the text names the extra ones.
    """
    steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    dims = list(zip(letters, shape, steps, strict=True))
    if len(dims) > 3 or any(letter not in UNLABELLED for letter in letters):
        dims = [(letter, size, step) for letter, size, step in dims if size > 1]
    names = [letter for letter, _, _ in dims]
    if all(name in UNLABELLED for name in names) and len(names) <= 3:
        names = list("tcz"[3 - len(names) :])
    else:
        names = [name.lower() if name in "TCZ" else name for name in names]
        others = [i for i, name in enumerate(names) if name not in "tcz"]
        if "z" not in names and others:
            names[others.pop()] = "z"
        elif "z" not in names and "t" in names:
            names[names.index("t")] = "z"
        if others or len(set(names)) != len(names):
            left = ", ".join(f"{dims[i][0]} (size {dims[i][1]})" for i in others) or "one of them twice"
            raise ValueError(f"has the axes {letters} besides its planes; only t, c and z can be stored, there is no place for {left}")
    found = {name: (size, step) for name, (_, size, step) in zip(names, dims, strict=True)}
    sizes, strides = zip(*(found.get(axis, (1, 0)) for axis in "tcz"), strict=True)
    return PlaneOrder(sizes, strides)
