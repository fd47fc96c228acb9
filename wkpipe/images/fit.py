"""Fit: the files of a layer must have one form; the odd one out is the one that differs from the majority."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from wkpipe.errors import InputRefused
from wkpipe.images.reader import ImageFile

MOST_NAMED = 3


class _Aspect(NamedTuple):
    """Something that all slices have in common: how it is read and written, and what to do if it differs."""

    of: Callable[[ImageFile], str]
    fix: str


_PLANES = _Aspect(
    lambda file: "one plane" if file.sizes.z * file.sizes.t == 1 else f"{file.sizes.z * file.sizes.t} planes",
    "a folder of slices can have 2-D images only: move this file out, or convert it on its own",
)
_PIXELS = _Aspect(
    lambda file: f"{file.sizes.x}×{file.sizes.y} pixels",
    "pass --padding fill to pad the smaller ones with 0, or sort them into a folder per size",
)
_OTHERS = (
    _Aspect(lambda file: file.dtype, "convert the slices to one data type"),
    _Aspect(lambda file: f"{file.sizes.c} channel{'' if file.sizes.c == 1 else 's'}", "save all slices with the same channels"),
    _Aspect(lambda file: "RGB" if file.is_rgb else "separate channels", "save all slices with the same colour model"),
    _Aspect(lambda file: file.meaning, "save all slices with the same photometric interpretation, and one palette"),
)


def check_fit(files: Sequence[ImageFile], with_planes: bool = True, with_pixels: bool = True) -> None:
    """Check that files have one form, and voxels.

    Without `with_planes`, they may have different depths; without `with_pixels`, different widths and heights.

    Raises:
        InputRefused: a file differs from the majority, or there is none; or one is empty.
    """
    for aspect in (*([_PLANES] if with_planes else []), *([_PIXELS] if with_pixels else []), *_OTHERS):
        groups: dict[str, list[ImageFile]] = {}
        for file in files:
            groups.setdefault(aspect.of(file), []).append(file)
        if len(groups) > 1:
            raise _refusal(groups, aspect)
    palettes = sorted(files, key=lambda file: len(file.about.palette))
    for file in files:
        check_file(file)
        if not palettes[-1].about.palette.startswith(file.about.palette):  # writers leave out colours that an image does not use
            raise InputRefused(
                where=file.path,
                found="another palette",
                expected=f"that of {palettes[-1].path.name}",
                fix="save all slices with one palette, or pass --rgb-labels pack",
            )


def padding_text(files: Sequence[ImageFile]) -> str:
    """Return which of the files of a layer are padded because others are larger; empty if none is."""
    rows, columns = (max(file.sizes[axis] for file in files) for axis in (3, 4))
    small = [file for file in files if file.sizes[3:] != (rows, columns)]
    if not small:
        return ""
    shown = [f"{file.path.name}: {file.sizes.x} × {file.sizes.y}" for file in small[:MOST_NAMED]]
    more = ["…"] if len(small) > MOST_NAMED else []
    are = "is" if len(small) == 1 else "are"
    return f"{len(small)} of {len(files)} files {are} smaller than {columns} × {rows} and padded with 0 ({', '.join(shown + more)})"


def check_file(file: ImageFile) -> None:
    """Check that an image has voxels.

    Raises:
        InputRefused: it has not.
    """
    if 0 in file.sizes:
        raise InputRefused(f"the image is empty ({file.sizes.x}×{file.sizes.y} pixels)", where=file.path, fix="remove it")


def _refusal(groups: dict[str, list[ImageFile]], aspect: _Aspect) -> InputRefused:
    """Return the error that names the first file that is not of the majority, or examples if there is none."""
    by_size = sorted(groups.items(), key=lambda item: -len(item[1]))
    (expected, most), (found, odd), *_ = by_size
    if len(most) > len(odd):
        others = [file for _, files in by_size[1:] for file in files]
        more = f" ({len(others)} files differ)" if len(others) > 1 else ""
        return InputRefused(where=odd[0].path, found=found + more, expected=f"{expected} like {most[0].path.name}", fix=aspect.fix)
    shown = ", ".join(f"{what} ({files[0].path.name}{', …' if len(files) > 1 else ''})" for what, files in by_size[:4])
    return InputRefused(where=odd[0].path.parent, found=f"no majority among {shown}", expected="slices of one form", fix=aspect.fix)
