"""Meaning: what the stored values of a layer's images become, by the category of the layer and the wishes of the user."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from wkpipe.errors import InputRefused, UsageError
from wkpipe.images.category import recognise_category
from wkpipe.images.content import INDEX, MAP, PACK, ContentOptions
from wkpipe.images.discover import inspect_series
from wkpipe.images.gray import gray_values, looks_gray
from wkpipe.images.layers import COLOR, DTYPES, SEGMENTATION, check_category
from wkpipe.images.missing import readable
from wkpipe.images.reader import PALETTE
from wkpipe.images.source import SourceBox, Voxels
from wkpipe.images.stack import ImageStack
from wkpipe.images.values import BITS, CAST, EQUAL, MAPPED, PACKED, RESCALED, Values, packed

PASS_BYTES = 64 << 20
MOST_COLOURS = 1 << 16


def interpreted(stack: ImageStack, category: str | None, options: ContentOptions) -> ImageStack:
    """Return a stack with its category, and with the function that makes its voxels from the stored values.

    Raises:
        UsageError: an option does not fit these images.
        InputRefused: the stored values can make no such layer.
    """
    _check_options(options, category)
    if (made := _by_options(stack, options)) is not None:
        stack = stack.replace(values=made)
    if stack.values is None and category == SEGMENTATION and stack.is_rgb:
        stack = stack.replace(values=_ids_of_colours(stack, options))
    elif options.labels is not None and not (options.labels == INDEX and stack.files[0].meaning.startswith(PALETTE)):
        raise UsageError(f"--rgb-labels {options.labels} is for images in colours", where=stack.files[0].path, fix="leave it out")
    _check_dtype(stack)
    if category is not None:
        check_category(stack, category)
    found = category or recognise_category(readable(stack))
    if found == SEGMENTATION:
        stack = _as_ids(stack, options, was_asked=category is not None)
    return stack.replace(category=found)


def _check_options(options: ContentOptions, category: str | None) -> None:
    if options.labels is not None and category != SEGMENTATION:
        raise UsageError("--rgb-labels is for segmentations", fix="pass --category segmentation too, or leave it out")
    if options.rescale is not None and options.dtype is None:
        raise UsageError("--rescale-min-max needs --dtype", fix="say what to rescale to, as in --dtype uint8")


def _by_options(stack: ImageStack, options: ContentOptions) -> Values | None:
    """Return the function of the stored values that options ask for, or bits need; None if there is none."""
    if options.is_gray and stack.sizes.c == 3:
        return gray_values(stack, options)
    is_bits = stack.files[0].dtype == "bool"
    if options.dtype is None:
        return Values(BITS, "uint8", high=float(options.bits or 255)) if is_bits else None
    if options.bits is not None and is_bits:
        raise UsageError("--bilevel and --dtype cannot both say what bits become", where=stack.files[0].path, fix="leave out one of them")
    return _converted(stack, options.dtype, options.rescale)


def _converted(stack: ImageStack, dtype: str, rescale: tuple[float, float] | None) -> Values:
    """Return the conversion to another type.

    Raises:
        UsageError: floats become integers, and the range is not given.
    """
    stored = np.dtype(stack.files[0].dtype)
    if rescale is not None:
        return Values(RESCALED, dtype, *rescale)
    if stored.kind in "fc" and np.dtype(dtype).kind in "iu":
        raise UsageError(
            f"--dtype {dtype} needs a range, because the images are {stored.name}",
            where=stack.files[0].path,
            fix="pass --rescale-min-max LOW,HIGH, the values that become the smallest and the largest",
        )
    return Values(CAST, dtype)


def _as_ids(stack: ImageStack, options: ContentOptions, was_asked: bool) -> ImageStack:
    """Return a stack of ids as they are stored: bits are 0 and 1, and values of 2 or 4 bits are not scaled to 8."""
    if stack.values is not None and stack.values.kind == BITS:
        return stack.replace(values=replace(stack.values, high=float(options.bits or 1)))
    if was_asked or not any("scaled" in file.layout for file in stack.files):
        return stack
    how = options.reading(True)
    return stack.replace(files=tuple(inspect_series(file.path, how)[0] if "scaled" in file.layout else file for file in stack.files))


def _ids_of_colours(stack: ImageStack, options: ContentOptions) -> Values:
    where = stack.files[0].path
    if options.labels == PACK:
        return Values(PACKED, "uint32")
    if options.labels == MAP:
        return _mapped(stack)
    if options.labels == INDEX:
        raise UsageError("--rgb-labels index needs images with a palette", where=where, found="RGB", fix="choose pack or map")
    if not looks_gray(stack):
        raise InputRefused(
            where=where,
            found="RGB",
            expected="one channel of ids for a segmentation layer",
            fix=f"use category {COLOR}, or pass --rgb-labels pack (red·65536 + green·256 + blue) or map (colours are numbered)",
        )
    return Values(EQUAL, stack.files[0].dtype)


def _mapped(stack: ImageStack) -> Values:
    """Number all colours of a stack, which is read once for this; black is 0.

    Raises:
        InputRefused: there are more colours than labels have.
    """
    found: Voxels = np.zeros(1, np.uint32)
    for voxels in _bands(stack):
        found = np.union1d(found, packed(voxels))
        if len(found) > MOST_COLOURS:
            raise InputRefused(
                f"has more than {MOST_COLOURS} colours, too many to number", where=stack.files[0].path, fix="pass --rgb-labels pack"
            )
    dtype = "uint8" if len(found) <= 256 else "uint16"
    return Values(MAPPED, dtype, colours=tuple(found.tolist()))


def _bands(stack: ImageStack) -> Iterator[Voxels]:
    """Yield all stored voxels of a stack, axes (z, y, x, c), in bands of whole blocks."""
    sizes, step = stack.sizes, stack.blocks.y
    step *= max(1, PASS_BYTES // max(1, step * sizes.x * 3))
    for t in range(sizes.t):
        for z in range(sizes.z):
            for band in range(math.ceil(sizes.y / step)):
                y, end = band * step, min(sizes.y, (band + 1) * step)
                yield stack.read(SourceBox.of((t, 0, z, y, 0), (t + 1, 3, z + 1, end, sizes.x)))[0].transpose(1, 2, 3, 0)


def _check_dtype(stack: ImageStack) -> None:
    allowed = dict.fromkeys(DTYPES[COLOR] + DTYPES[SEGMENTATION])
    if (found := stack.dtype.name) not in allowed:
        raise InputRefused(
            where=stack.files[0].path,
            found=f"{found}, which a dataset cannot hold",
            expected=", ".join(allowed),
            fix="pass --dtype float32, or --dtype uint8 (or uint16) with --rescale-min-max LOW,HIGH",
        )
