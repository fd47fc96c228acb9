"""Frame: the part of the images that a layer shows, and how its axes are turned. Voxels are not copied for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.geometry.box import Box
from wkpipe.images.source import AxisSizes, SourceBox, Voxels

_ZYX = ("z", "y", "x")


@dataclass(frozen=True)
class Arrangement:
    """The part of images that the user wants, and how it becomes a layer.

    region: x, y, z in voxels of the images; None = all. swapped: True if x and y change places. mirrored: the names of the axes of the
    layer that are mirrored, after that, like ``xz``.
    """

    region: Box | None = None
    swapped: bool = False
    mirrored: str = ""


AS_STORED = Arrangement()


@dataclass(frozen=True)
class Frame:
    """A region of images, and how it becomes a layer: x and y change places if it is `swapped`, then axes are `mirrored`.

    first, end: z, y, x in the images. mirrored: names of axes of the layer, like ``xz``.

    >>> frame = Frame((0, 10, 20), (5, 30, 60), swapped=True, mirrored="y")
    >>> frame.sizes(AxisSizes(1, 1, 100, 100, 100))
    AxisSizes(t=1, c=1, z=5, y=40, x=20)
    """

    first: tuple[int, int, int]
    end: tuple[int, int, int]
    swapped: bool = False
    mirrored: str = ""

    def sizes(self, images: AxisSizes) -> AxisSizes:
        """Return the sizes of the layer made of images of these sizes."""
        z, y, x = (end - first for first, end in zip(self.first, self.end, strict=True))
        return images._replace(z=z, y=x, x=y) if self.swapped else images._replace(z=z, y=y, x=x)

    def in_images(self, box: SourceBox) -> SourceBox:
        """Return the box of the images that a box of the layer shows."""
        sizes = self.sizes(box.first)
        spans = {}
        for axis in _ZYX:
            low, high, size = (getattr(each, axis) for each in (box.first, box.end, sizes))
            spans[axis] = (size - high, size - low) if axis in self.mirrored else (low, high)
        if self.swapped:
            spans["x"], spans["y"] = spans["y"], spans["x"]
        first, end = ({axis: start + spans[axis][i] for axis, start in zip(_ZYX, self.first, strict=True)} for i in (0, 1))
        return SourceBox(box.first._replace(**first), box.end._replace(**end))

    def turned(self, voxels: Voxels) -> Voxels:
        """Return a view of voxels of the images, axes (…, z, y, x), with the axes of the layer."""
        if self.swapped:
            voxels = voxels.swapaxes(-1, -2)
        return np.flip(voxels, tuple(i - 3 for i, axis in enumerate(_ZYX) if axis in self.mirrored))

    def blocks(self, blocks: AxisSizes) -> tuple[AxisSizes, AxisSizes]:
        """Return the shape of the blocks of a layer made of images with these blocks, and where the first whole one begins."""
        found = {}
        for axis, first, end in zip(_ZYX, self.first, self.end, strict=True):
            block = min(getattr(blocks, axis), end - first)
            shown = {"x": "y", "y": "x"}.get(axis, axis) if self.swapped else axis
            is_one = block == end - first
            found[shown] = (block, 0 if is_one else (end if shown in self.mirrored else -first) % block)
        shape, offset = ({axis: each[i] for axis, each in found.items()} for i in (0, 1))
        return blocks._replace(**shape), AxisSizes(0, 0, **offset)

    def to_json(self) -> dict[str, Any]:
        """Return the frame as plain JSON."""
        return {"first": list(self.first), "end": list(self.end), "swapped": self.swapped, "mirrored": self.mirrored}

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Frame | None:
        """Return the frame that `to_json` wrote; None if there is none."""
        if values is None:
            return None
        return cls(_three(values["first"]), _three(values["end"]), values["swapped"], values["mirrored"])


def _three(values: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = values
    return z, y, x
