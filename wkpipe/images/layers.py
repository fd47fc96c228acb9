"""From a group of files to its layers: all slices must fit together, and channels that are not RGB become layers of their own."""

from __future__ import annotations

import colorsys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wkpipe.errors import InputRefused, UsageError
from wkpipe.images.discover import FileGroup, inspect_file
from wkpipe.images.reader import ImageFile
from wkpipe.images.stack import ImageStack

COLOR, SEGMENTATION = "color", "segmentation"
DTYPES = {
    COLOR: ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"),
    SEGMENTATION: ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
}
INSPECTION_THREADS = 8
GOLDEN = 0.618033988749895


def stacks_of_group(group: FileGroup, source: Path, first: ImageFile | None = None) -> list[ImageStack]:
    """Inspect all files of a group and return its layers, their category not yet recognised (color, or the only one possible).

    `source` is the directory that file names are relative to in fingerprints; `first` are facts already known of the first file.

    Raises:
        UnreadableInput: a file is truncated or broken.
        InputRefused: the files do not fit together, or have a dtype that no layer can have.
    """
    first = first or inspect_file(group.files[0])
    _check_dtype(first)
    files = [first]
    # threads hide the latency of network file systems; results come in order, so the first offending file is always the same
    pool = ThreadPoolExecutor(INSPECTION_THREADS)
    try:
        for file in pool.map(inspect_file, group.files[1:]):
            _check_fits(file, first)
            files.append(file)
    finally:
        pool.shutdown(cancel_futures=True)
    z_is_file = first.sizes.z == 1 and first.sizes.t == 1
    category = COLOR if first.dtype in DTYPES[COLOR] else SEGMENTATION
    count = first.sizes.c
    if count == 1 or first.is_rgb:
        return [ImageStack(group.name, category, source, tuple(files), z_is_file, tuple(range(count)))]
    return [
        ImageStack(f"{group.name}__channel{i}", category, source, tuple(files), z_is_file, (i,), channel_color(i)) for i in range(count)
    ]


def channel_color(index: int) -> tuple[int, int, int]:
    """Return the colour that a viewer should show a channel in: red, green, blue, then hues far from each other."""
    if index < 3:
        return ((255, 0, 0), (0, 255, 0), (0, 0, 255))[index]
    red, green, blue = colorsys.hsv_to_rgb((index - 3) * GOLDEN % 1, 0.85, 1)
    return round(red * 255), round(green * 255), round(blue * 255)


def check_category(stack: ImageStack, category: str) -> None:
    """Refuse a category that the user asked for where the data can not have it.

    Raises:
        UsageError: there is no such category.
        InputRefused: the dtype or the number of channels does not allow it.
    """
    if category not in DTYPES:
        raise UsageError(f"category {category!r} is not valid: expected {COLOR} or {SEGMENTATION}")
    found = stack.files[0].dtype
    if found not in DTYPES[category]:
        allowed = ", ".join(DTYPES[category])
        other = SEGMENTATION if category == COLOR else COLOR
        raise InputRefused(
            f"{stack.files[0].path}: found {found}, expected {allowed} for a {category} layer; use category {other} or convert the images"
        )
    if category == SEGMENTATION and len(stack.channels) > 1:
        raise InputRefused(f"{stack.files[0].path}: found RGB, expected one channel of ids for a segmentation layer; use category {COLOR}")


def _check_dtype(file: ImageFile) -> None:
    allowed = dict.fromkeys(DTYPES[COLOR] + DTYPES[SEGMENTATION])
    if file.dtype not in allowed:
        mend = "convert the images to float32 or to integers" if file.dtype[0] in "fc" else "convert the images to uint8"
        raise InputRefused(f"{file.path}: found {file.dtype}, which a dataset can not hold, expected {', '.join(allowed)}; {mend}")
    if 0 in file.sizes:
        raise InputRefused(f"{file.path}: the image is empty ({file.sizes.x}×{file.sizes.y} pixels); remove it")


def _check_fits(file: ImageFile, first: ImageFile) -> None:
    """Compare a slice with the first one of its layer."""
    a, b = file.sizes, first.sizes
    mend = ""
    if (a.z, a.t) != (b.z, b.t):
        found, expected = f"{a.z * a.t} planes", "one plane"
        mend = "a folder of slices holds 2-D images only; move this file out, or convert it on its own"
    elif (a.y, a.x) != (b.y, b.x):
        found, expected = f"{a.x}×{a.y} pixels", f"{b.x}×{b.y}"
        mend = "crop or pad the slices to one size, or sort them into a folder per size"
    elif file.dtype != first.dtype:
        found, expected = file.dtype, first.dtype
        mend = "convert the slices to one data type"
    elif a.c != b.c:
        found, expected = f"{a.c} channels", str(b.c)
        mend = "save all slices with the same channels"
    elif file.is_rgb != first.is_rgb:
        found, expected = ("RGB", "separate channels") if file.is_rgb else ("separate channels", "RGB")
        mend = "save all slices with the same colour model"
    if mend:
        raise InputRefused(f"{file.path}: found {found}, expected {expected} like {first.path.name}; {mend}")
