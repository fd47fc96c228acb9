"""Arranged: layers that show a part of their images, or show them turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from wkpipe.errors import InputRefused, one_line
from wkpipe.geometry import Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.images.frame import Arrangement, Frame
from wkpipe.images.stack import ImageStack


@dataclass(frozen=True)
class Arranged:
    """What a plan says about which part of the images a layer shows, how, and where.

    >>> Arranged("em", ("mirrored along x", "at 64,0,0")).text
    'layer em: mirrored along x; at 64,0,0'
    """

    layer: str
    said: tuple[str, ...]

    @property
    def text(self) -> str:
        """What is said as one line."""
        return one_line(f"layer {self.layer}: {'; '.join(self.said)}")

    def to_json(self) -> dict[str, Any]:
        """Return what is said as plain JSON, as a dataset's state keeps it."""
        return {"layer": self.layer, "arranged": list(self.said)}


def cropped(stack: ImageStack, wish: Arrangement) -> ImageStack:
    """Return the layer of the wanted region of images.

    Raises:
        InputRefused: the region is not inside the images.
    """
    whole = _whole(stack)
    if wish.region in (None, whole):
        return stack
    if wish.region.intersected_with(whole) != wish.region:
        raise InputRefused(
            f"the box {_text(wish.region)} is not inside the images",
            where=f"layer {stack.name}",
            found=f"{_sizes(whole)} voxels",
            expected="a box of voxels of the images, counted from 0",
            fix="choose another --bbox",
        )
    (x0, y0, z0), (x1, y1, z1) = wish.region
    return stack.replace(frame=Frame((z0, y0, x0), (z1, y1, x1)))


def turned(stack: ImageStack, wish: Arrangement) -> ImageStack:
    """Return the layer of images whose x and y are swapped, and whose axes are mirrored, as wanted."""
    if not wish.swapped and not wish.mirrored:
        return stack
    sizes = stack.image_sizes
    frame = stack.frame or Frame((0, 0, 0), (sizes.z, sizes.y, sizes.x))
    return stack.replace(frame=replace(frame, swapped=wish.swapped, mirrored=wish.mirrored))


def frame_texts(stack: ImageStack) -> Sequence[str]:
    """Return what to say about the frame of a layer; nothing if it shows all images as they are."""
    frame = stack.frame
    if frame is None:
        return []
    region, whole = Box(Vec3Int(reversed(frame.first)), Vec3Int(reversed(frame.end))), _whole(stack)
    said = [] if region == whole else [f"voxels {_text(region)} of images of {_sizes(whole)}"]
    said += ["x and y swapped"] if frame.swapped else []
    return [*said, f"mirrored along {' and '.join(frame.mirrored)}"] if frame.mirrored else said


def _whole(stack: ImageStack) -> Box:
    sizes = stack.image_sizes
    return Box(Vec3Int.zeros(), Vec3Int(sizes.x, sizes.y, sizes.z))


def _text(box: Box) -> str:
    return ",".join(map(str, (*box.first, *box.size)))


def _sizes(box: Box) -> str:
    return " × ".join(map(str, box.size))
