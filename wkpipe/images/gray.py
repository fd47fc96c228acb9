"""Gray: images in RGB whose red, green and blue are equal.

A sample never decides that: one coloured pixel, such as a scale bar, may be anywhere. So three channels stay three unless the user says
that the images are gray; then every voxel proves it when it is converted.
"""

from __future__ import annotations

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images.content import ContentOptions
from wkpipe.images.missing import readable
from wkpipe.images.source import SourceBox
from wkpipe.images.stack import ImageStack
from wkpipe.images.values import EQUAL, Values

SAMPLED_ROWS = 64
MOST_SAMPLED = 64 << 20
"""The most bytes of voxels that are decoded for a mere hint."""


def gray_values(stack: ImageStack, options: ContentOptions) -> Values:
    """Return the function that makes one channel of three equal ones.

    Raises:
        UsageError: another option says something else about the values.
        InputRefused: a sample has colours.
    """
    where = stack.files[0].path
    if options.labels is not None or options.dtype is not None:
        other = "--dtype" if options.labels is None else "--rgb-labels"
        raise UsageError(f"--rgb gray and {other} cannot both say what RGB becomes", where=where, fix="leave out one of them")
    if not looks_gray(stack):
        raise InputRefused(where=where, found="colours in which red, green and blue differ", expected="gray", fix="leave out --rgb gray")
    return Values(EQUAL, stack.files[0].dtype)


def looks_gray(stack: ImageStack) -> bool:
    """True if red, green and blue are equal in some rows of the first image that can be read."""
    first, end = _sampled_rows(stack)
    sample = readable(stack).read(SourceBox.of((0, 0, 0, first, 0), (1, 3, 1, end, stack.sizes.x)))[0]
    return not (sample != sample[:1]).any()


def gray_note(stack: ImageStack) -> str | None:
    """Return a hint for a layer of three channels that may be gray, if it is cheap to find out; None if there is none."""
    first, end = _sampled_rows(stack)
    rows = stack.sizes.y if stack.whole_planes else max(end - first, stack.blocks.y)
    if not stack.is_rgb or rows * stack.sizes.x * 3 * stack.dtype.itemsize > MOST_SAMPLED:
        return None
    try:
        is_gray = looks_gray(stack)
    except UnreadableInput:  # the conversion reports it
        return None
    return f"layer {stack.name}: red, green and blue are equal in a sample; --rgb gray makes one channel of them" if is_gray else None


def _sampled_rows(stack: ImageStack) -> tuple[int, int]:
    first = max(0, stack.sizes.y - SAMPLED_ROWS) // 2
    return first, min(stack.sizes.y, first + SAMPLED_ROWS)
